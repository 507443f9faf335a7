"""An extension of one's own: ``XTENANT``."""

from twisted_smtpserver import Extension, Rejection, Reply


class Tenants(Extension):
    """``XTENANT=name`` in MAIL, and ``XSTATUS name``, for a server that many share."""

    keyword = "XTENANT"

    def __init__(self, quotas):
        self.quotas = quotas
        self.mailParameters = {"XTENANT": self.parseTenant}
        self.verbs = {"XSTATUS": self.status}

    def advertise(self, session):
        return " ".join(sorted(self.quotas)) if session.secure else None

    def parseTenant(self, value):
        if value not in self.quotas:
            raise Rejection("XTENANT must be the name of a tenant")
        return value

    def onMail(self, address, envelope, session):
        tenant = address.values.get("XTENANT")
        if tenant and address.values.get("SIZE", 0) > self.quotas[tenant]:
            raise Rejection("That is too large for this tenant", code=552, enhanced="5.3.4")

    def status(self, dialogue, argument):
        quota = self.quotas.get(argument.decode("ascii", "replace"))
        if quota is None:
            return Reply(550, "5.1.1", "No such tenant")
        return Reply(250, "2.0.0", f"{quota} octets for each message")

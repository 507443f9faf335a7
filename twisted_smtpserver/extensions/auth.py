"""AUTH (RFC 4954): which mechanisms are offered when, and the command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from twisted_smtpserver import replies
from twisted_smtpserver.auth.exchange import authenticate, availableMechanisms
from twisted_smtpserver.dialogue.dialogue import Dialogue, Verb
from twisted_smtpserver.dialogue.outcome import Outcome
from twisted_smtpserver.errors import ConfigurationError, Rejection
from twisted_smtpserver.extensions.base import Extension, ParameterParser, forParameters
from twisted_smtpserver.hooks import findHook
from twisted_smtpserver.options import Options, unknownName
from twisted_smtpserver.sasl import MECHANISMS, FakeSecrets
from twisted_smtpserver.sasl.scramsecret import PROCESS_FAKES, PROCESS_KEY
from twisted_smtpserver.session import Address, Envelope, Session
from twisted_smtpserver.wire.path import parseReversePath
from twisted_smtpserver.wire.xtext import decodeXtext


def parseSubmitter(value: str | bool) -> str:
    """
    The parser of MAIL's ``AUTH=`` (RFC 4954 §5): who submitted the message, or ``<>``.

    :returns: the mailbox, xtext decoded; ``""`` for ``<>``.
    """
    if value == "<>":
        return ""
    mailbox = decodeXtext(value) if isinstance(value, str) else None
    path = parseReversePath(f"<{mailbox}>".encode("ascii")) if mailbox else None
    # The whole of it must be the mailbox, without route, bracket or parameters.
    if not mailbox or not isinstance(path, tuple) or path[0].raw != mailbox or mailbox[0] == "@":
        raise Rejection("AUTH needs a mailbox in xtext, or <>")
    return mailbox


class Auth(Extension):
    """
    RFC 4954: authentication.

    :param handler: the server's handler: without its ``onAuth`` there is no AUTH.
    :param methods: the mechanisms' names.
    :param insecure: offer it in clear, too.
    :param fakes: what users who don't exist seem to have stored, for SCRAM.
    :raises ConfigurationError: for a name that no mechanism has.
    """

    keyword = "AUTH"
    mailParameters: Mapping[str, ParameterParser] = MappingProxyType({"AUTH": parseSubmitter})

    def __init__(
        self,
        handler: object,
        methods: Sequence[str],
        insecure: bool = False,
        fakes: FakeSecrets = PROCESS_FAKES,
    ) -> None:
        for method in methods:
            if method not in MECHANISMS:
                raise ConfigurationError(unknownName(method, MECHANISMS, "mechanism"))
        self._handler = handler
        self._methods = methods
        self._insecure = insecure
        self._fakes = fakes
        self.verbs: dict[str, Verb] = {"AUTH": self._auth}

    @classmethod
    def fromOptions(cls, options: Options, handler: object) -> Auth:
        """See :meth:`~twisted_smtpserver.extensions.base.Extension.fromOptions`."""
        key = options.scramSaltKey or PROCESS_KEY
        fakes = FakeSecrets(key, options.scramIterations)
        return cls(handler, options.authMethods, options.allowInsecureAuth, fakes)

    def advertise(self, session: Session) -> str | None:
        """The mechanisms, if the handler checks logins and the connection is protected."""
        if not self._isOffered or not (session.secure or self._insecure):
            return None
        return " ".join(availableMechanisms(self._handler, session, self._methods)) or None

    @forParameters
    def onMail(self, address: Address, envelope: Envelope, session: Session) -> None:
        """RFC 4954 §5: without a login, any value counts as ``AUTH=<>``."""
        if session.user is None and "AUTH" in address.values:
            address.values["AUTH"] = ""

    @property
    def _isOffered(self) -> bool:
        return findHook(self._handler, "onAuth") is not None

    def _auth(self, dialogue: Dialogue, argument: bytes) -> Outcome:
        if dialogue.hook("onAuth") is None:
            return replies.NOT_IMPLEMENTED
        began = dialogue.seconds()
        if dialogue.session.user is not None:
            return replies.AUTH_ALREADY
        if not dialogue.session.secure and not self._insecure:
            return replies.AUTH_NEEDS_TLS
        words = argument.split(b" ")
        if len(words) > 2 or b"" in words:
            return replies.AUTH_SYNTAX
        name = words[0].decode("ascii", "replace").upper()
        mechanisms = availableMechanisms(self._handler, dialogue.session, self._methods)
        if name not in mechanisms:
            return replies.AUTH_UNKNOWN_MECHANISM
        initial = words[1] if len(words) == 2 else None
        return authenticate(
            dialogue, name, initial, offered=mechanisms, fakes=self._fakes, began=began
        )

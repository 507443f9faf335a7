"""
Answers by mail: each notification has a Reply-To address of its own, and what comes back to it
becomes a comment. Run it with ``twistd -n smtpserver --handler replies.makeReplies``.
"""

import hashlib
import hmac
import re

from twisted_smtpserver import Rejection, SMTPHandler

KEY = b"at least 32 octets that nobody else knows"
DOMAIN = "reply.example.com"

_QUOTED = re.compile(r"^(>|On\b.*\bwrote:$|Am\b.*\bschrieb\b.*:$|-+ ?Original Message ?-+$|From: )")


def replyTo(topic, user):
    """The Reply-To address of a notification."""
    return f"{topic}+{user}+{_sign(topic, user)}@{DOMAIN}"


def _sign(topic, user):
    return hmac.new(KEY, f"{topic}+{user}".encode(), hashlib.sha256).hexdigest()[:20]


def check(address):
    """Whose answer to what comes to an address; refuses those that we didn't give out."""
    topic, _, rest = address.local.lower().partition("+")
    user, _, signature = rest.partition("+")
    if address.domain != DOMAIN or not hmac.compare_digest(
        _sign(topic, user).encode(), signature.encode()
    ):
        raise Rejection("No such address", code=550, enhanced="5.1.1")
    return topic, user


def newText(text):
    """What was written, without what it answers and without the signature."""
    lines = []
    for line in text.splitlines():
        if line == "-- " or _QUOTED.match(line):
            break
        lines.append(line.rstrip())
    return "\n".join(lines).strip()


class Replies(SMTPHandler):
    def __init__(self, addComment):
        self.addComment = addComment

    def onRcptTo(self, address, session):
        check(address)  # what isn't ours is refused before anything is transferred

    async def onData(self, stream, session):
        mail = await stream.parsed(limit=2**20)
        if mail.headers.get("Auto-Submitted", "no") != "no":
            return  # out of office (RFC 3834): taken, and thrown away
        text = newText(mail.text)
        if not text:
            raise Rejection("There is no text in this mail", code=550, enhanced="5.6.0")
        for address in session.envelope.recipients:
            self.addComment(*check(address), text)


def makeReplies():
    return Replies(lambda topic, user, text: print(f"{user} on {topic}: {text}"))

"""
SMTP replies: one immutable value, one catalog, one formatter.

Everything the server says goes through :meth:`Reply.encode`, which makes it impossible for a text,
wherever it came from, to end a line early, to leave ASCII without the client's consent or to grow
past the length that RFC 5321 §4.5.3.1.5 allows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Octets in a reply line, its CRLF included (RFC 5321 §4.5.3.1.5).
MAX_REPLY_LINE = 512

#: Octets in a line of an AUTH exchange, its CRLF included (RFC 4954 §4).
MAX_CHALLENGE_LINE = 12288

#: The reply code of a challenge.
CHALLENGE = 334

#: C0 and C1 controls, DEL, and the two Unicode line separators, as a class of regular expressions.
#: They would end or repaint a line wherever the text is shown.
CONTROLS = "[\x00-\x1f\x7f-\x9f\u2028\u2029]"

# RFC 5321 §4.2 allows printable characters and HT; a tab helps nobody.
_UNPRINTABLE = re.compile(CONTROLS)

#: The enhanced status code (subject and detail) for a reply code that came without one (RFC 5248,
#: RFC 3463); the class is the code's own first digit (RFC 2034 §4).
_DEFAULT_DETAIL = {
    421: "3.2",
    450: "2.0",
    451: "3.0",
    452: "3.1",
    454: "7.0",
    455: "5.4",
    500: "5.2",
    501: "5.4",
    502: "5.1",
    503: "5.1",
    504: "5.4",
    530: "7.0",
    535: "7.8",
    538: "7.11",
    550: "7.1",
    551: "1.6",
    552: "2.2",
    553: "1.3",
    555: "5.4",
}


def printable(text: str) -> str:
    """
    Replace every control character, so that a text stays on the line it is written to.

    :param text: any text.
    :returns: the text with a space in the place of each control character.
    """
    return _UNPRINTABLE.sub(" ", text)


def defaultEnhanced(code: int, isSender: bool = False) -> str:
    """
    The enhanced status code for a reply that was given none.

    :param code: a reply code, 200–599.
    :param isSender: whether it answers MAIL: the address that is wrong is the sender's then (RFC
        3463 §3.2).
    :returns: for example ``"5.5.1"`` for 503; ``"X.0.0"`` where nothing better is known.
    """
    if code == 553 and isSender:
        return "5.1.7"
    return f"{code // 100}.{_DEFAULT_DETAIL.get(code, '0.0')}"


@dataclass(frozen=True, init=False, slots=True)
class Reply:
    """
    One SMTP reply (RFC 5321 §4.2), of one line or several.

    :ivar code: the three-digit reply code.
    :ivar enhanced: the enhanced status code (RFC 3463), or ``None`` for the replies that have none:
        the greeting, the answer to a hello, and 3yz.
    :ivar lines: the texts, one for each line.
    :ivar wire: the octets for a client that didn't ask for UTF-8; see :meth:`encode`.
    """

    code: int
    enhanced: str | None
    lines: tuple[str, ...]
    wire: bytes

    def __init__(self, code: int, enhanced: str | None, *lines: str) -> None:
        set_ = object.__setattr__  # the way to fill a frozen instance
        set_(self, "code", code)
        set_(self, "enhanced", enhanced)
        set_(self, "lines", lines or ("",))
        # Most replies are constants of the catalog: encoding them once saves it for each command.
        set_(self, "wire", self._format(utf8=False))

    @property
    def isPositive(self) -> bool:
        """Whether the command succeeded or may go on (2yz, 3yz)."""
        return self.code < 400

    @property
    def text(self) -> str:
        """All lines' texts, joined by spaces, without control characters: fit for a log."""
        return printable(" ".join(self.lines))

    @property
    def plain(self) -> Reply:
        """The same without the enhanced status code."""
        return self if self.enhanced is None else Reply(self.code, None, *self.lines)

    def encode(self, utf8: bool = False) -> bytes:
        """
        The octets that go to the client.

        :param utf8: whether this client asked for UTF-8 replies (RFC 6531 §3.7.4.1).
        :returns: complete lines, CRLF included, none longer than :data:`MAX_REPLY_LINE`.
        """
        return self._format(utf8=True) if utf8 else self.wire

    def _format(self, utf8: bool) -> bytes:
        prefix = f"{self.enhanced} ".encode("ascii") if self.enhanced else b""
        # A challenge is one line, however long (RFC 4954 §4).
        most = MAX_CHALLENGE_LINE if self.code == CHALLENGE else MAX_REPLY_LINE
        room = most - len(b"250 \r\n") - len(prefix)
        charset = "utf-8" if utf8 else "ascii"
        texts = [
            piece
            for line in self.lines
            for piece in _wrap(printable(line).encode(charset, "replace"), room)
        ]
        code = b"%d" % self.code
        body = [b"%s-%s%s\r\n" % (code, prefix, text) for text in texts[:-1]]
        body.append(b"%s %s%s\r\n" % (code, prefix, texts[-1]))
        return b"".join(body)


def _wrap(text: bytes, room: int) -> list[bytes]:
    """Cut a text into pieces of at most ``room`` octets, at a space if there is one."""
    pieces = []
    while len(text) > room:
        cut = text.rfind(b" ", 1, room + 1)
        if cut < 0:
            cut = room
            while text[cut] & 0xC0 == 0x80:  # never inside a UTF-8 sequence
                cut -= 1
        pieces.append(text[:cut])
        text = text[cut:].removeprefix(b" ")
    return [*pieces, text]


# -- The catalog ----------------------------------------------------------------------------------
# Where a section is named, it is the one that asks for this code at this place.

OK = Reply(250, "2.0.0", "OK")
RESET = Reply(250, "2.0.0", "Flushed")
SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
MESSAGE_ACCEPTED = Reply(250, "2.6.0", "Message accepted")
GOODBYE = Reply(221, "2.0.0", "Bye")
HELP = Reply(214, "2.0.0", "This is an SMTP server; see RFC 5321")
CANNOT_VERIFY = Reply(
    252, "2.1.5", "Cannot verify the user, but will accept mail and try to deliver"
)
START_INPUT = Reply(354, None, "End data with <CR><LF>.<CR><LF>")
READY_FOR_TLS = Reply(220, "2.0.0", "Ready to start TLS")
AUTHENTICATED = Reply(235, "2.7.0", "Authentication successful")

# RFC 5321 §4.2.4: 500 for what is not understood, 502 for what is known but not offered.
UNRECOGNIZED = Reply(500, "5.5.2", "Command not recognized")
MALFORMED_LINE = Reply(500, "5.5.2", "Commands must be printable text")
LINE_TOO_LONG = Reply(500, "5.5.2", "Line too long")
AUTH_LINE_TOO_LONG = Reply(500, "5.5.6", "Authentication exchange line is too long")  # RFC 4954 §4
BARE_NEWLINE_IN_COMMAND = Reply(500, "5.5.2", "Lines end in CRLF")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
LMTP_ONLY = Reply(500, "5.5.1", "This is LMTP: send LHLO")  # RFC 2033 §4.1
NOT_LMTP = Reply(500, "5.5.1", "This is not LMTP: send EHLO")
NO_ARGUMENT_ALLOWED = Reply(501, "5.5.4", "No parameters allowed")
ARGUMENT_NEEDED = Reply(501, "5.5.4", "A parameter is needed")
BAD_HELLO = Reply(501, "5.5.4", "Hello needs a domain name or an address literal")
HELLO_FIRST = Reply(503, "5.5.1", "Send EHLO or HELO first")
MAIL_FIRST = Reply(503, "5.5.1", "Send MAIL first")
RCPT_FIRST = Reply(503, "5.5.1", "No valid recipients: send RCPT first")
NESTED_MAIL = Reply(503, "5.5.1", "A transaction is under way: finish it or send RSET")
IN_TRANSACTION = Reply(503, "5.5.1", "Not allowed during a mail transaction")
BDAT_UNDER_WAY = Reply(503, "5.5.1", "BDAT has begun: only BDAT or RSET can follow")  # RFC 3030 §3
NOT_WELCOME = Reply(503, "5.5.1", "No service for you here: send QUIT")  # RFC 5321 §3.1
TLS_ALREADY = Reply(503, "5.5.1", "TLS is already active")
AUTH_ALREADY = Reply(503, "5.5.1", "You are already authenticated")  # RFC 4954 §4
TLS_NEEDED = Reply(530, "5.7.0", "Must issue a STARTTLS command first")  # RFC 3207 §4
AUTH_NEEDED = Reply(530, "5.7.0", "Authentication required")  # RFC 4954 §6
AUTH_NEEDS_TLS = Reply(538, "5.7.11", "Encryption required for authentication")
AUTH_FAILED = Reply(535, "5.7.8", "Authentication credentials invalid")  # RFC 4954 §6
AUTH_CANCELED = Reply(501, "5.7.0", "Authentication canceled")  # RFC 4954 §4
AUTH_BAD_BASE64 = Reply(501, "5.5.2", "Cannot decode the response: not base64")  # RFC 4954 §4
AUTH_MALFORMED = Reply(501, "5.5.2", "The response is not what the mechanism asks for")
AUTH_UNKNOWN_MECHANISM = Reply(504, "5.5.4", "Unrecognized authentication type")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients")  # RFC 5321 §4.5.3.1.10
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "Parameter not recognized or not implemented")
TOO_LARGE = Reply(552, "5.3.4", "Message exceeds the fixed maximum message size")  # RFC 1870 §6.2
TOO_COMPLEX = Reply(554, "5.6.0", "Message is too complex to be parsed")
# Most senders that get this reply have called sendmail(…, message.as_bytes()) in Python.
BARE_NEWLINE = Reply(
    550,
    "5.6.0",
    "Message contains bare CR or LF: lines must end in CRLF (RFC 5321 section 2.3.8)."
    " In Python, use send_message(), or as_bytes(policy=email.policy.SMTP)",
)

# 421 may answer any command and always closes (RFC 5321 §3.8).
SHUTTING_DOWN = Reply(421, "4.3.2", "Service shutting down, closing connection")
TOO_MANY_CLIENTS = Reply(421, "4.3.2", "Too many connections, try again later")
IDLE_TOO_LONG = Reply(421, "4.4.2", "Idle for too long, closing connection")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors, closing connection")
TOO_MUCH_JUNK = Reply(421, "4.7.0", "Too many commands without a message, closing connection")
TOO_MANY_UNAUTHENTICATED = Reply(421, "4.7.0", "Too many commands before authentication")
TOO_MANY_AUTH_FAILURES = Reply(421, "4.7.0", "Too many failed logins, closing connection")
EARLY_TALKER = Reply(421, "4.7.0", "You spoke before the greeting, closing connection")
NOT_HTTP = Reply(554, "5.7.0", "This is SMTP, not HTTP")
NOT_TLS = Reply(554, "5.7.0", "This is SMTP: send STARTTLS before the TLS handshake")
HANDLER_TIMED_OUT = Reply(451, "4.3.0", "Processing took too long, try again later")
NO_RESULT = Reply(451, "4.3.0", "Local error in processing")

# Of the extensions, and of the bounds (limits).
TOO_SLOW = Reply(421, "4.4.2", "Message arrives too slowly, closing connection")
SESSION_TOO_LONG = Reply(421, "4.4.2", "Session has lasted too long, closing connection")
# RFC 9422 §4.1 has the client end the session at this point, so we do.
TOO_MANY_MESSAGES = Reply(421, "4.7.0", "Too many messages in one session, closing connection")
# Not 5yz, and not always 421: the accepted recipients must get their message, and the client may
# try the others again (RFC 5321 §4.5.3.1.10).
ENOUGH_REFUSED = Reply(452, "4.5.3", "Too many refused recipients, send to those accepted")
TOO_MANY_REFUSED = Reply(421, "4.7.0", "Too many refused recipients, closing connection")
TOO_MANY_FROM_ADDRESS = Reply(421, "4.7.0", "Too many connections from your address")
MAIL_NEEDS_UTF8 = Reply(550, "5.6.7", "Non-ASCII sender: MAIL needs SMTPUTF8")  # RFC 6531 §3.5
RCPT_NEEDS_UTF8 = Reply(553, "5.6.7", "Non-ASCII recipient: MAIL needs SMTPUTF8")
VRFY_NOT_UTF8 = Reply(501, "5.5.4", "The name is not UTF-8")
VRFY_VALUE = Reply(501, "5.5.4", "SMTPUTF8 takes no value")  # RFC 6531 §3.7.4.2
BINARY_NEEDS_BDAT = Reply(503, "5.5.1", "BODY=BINARYMIME needs BDAT")  # RFC 3030 §3
AUTH_SYNTAX = Reply(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]")
# What a parameter's parser refuses with unless it says otherwise (RFC 5321 §4.2.3, RFC 5248).
BAD_PARAMETER = Reply(501, "5.5.4", "Parameter has a bad value")
# For peers that aren't trusted to use XCLIENT or XFORWARD; the codes are Postfix's.
NOT_TRUSTED = Reply(550, "5.7.0", "Insufficient authorization")
AFTER_XCLIENT = Reply(503, "5.5.1", "Not allowed after XCLIENT")
REPLIES_FOLLOW = Reply(353, None, "The replies for the recipients follow")
ACCEPTED_FOR_SOME = Reply(250, "2.6.0", "Message accepted for some recipients")
# What follows a BDAT of unknown size can't be told from commands: a server that reads on after this
# reply lets the author of the message write commands, too.
MALFORMED_CHUNK = Reply(501, "5.5.4", "Syntax: BDAT size [LAST]")
MALFORMED_PARAMETER = Reply(501, "5.5.4", "Parameter syntax: KEYWORD or KEYWORD=value")
DUPLICATE_PARAMETER = Reply(501, "5.5.4", "A parameter was given more than once")
MALFORMED_ATTRIBUTE = Reply(501, "5.5.4", "Attribute syntax: NAME=value, the value in xtext")
DUPLICATE_ATTRIBUTE = Reply(501, "5.5.4", "An attribute was given more than once")
UNKNOWN_ATTRIBUTE = Reply(501, "5.5.4", "Attribute not recognized")

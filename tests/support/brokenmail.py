"""
Mail that nobody should send, and somebody does: by name, each made to fit one way to fail.
"""

from __future__ import annotations

import base64
import string

_ENVELOPE = b"From: joe@example.org\r\nTo: jane@example.com\r\nSubject: hi\r\n"


def multipart(*parts: bytes, boundary: bytes = b"b") -> bytes:
    """
    A message of parts.

    :param parts: each with its header section.
    :param boundary: what stands between them.
    """
    lines = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    kind = b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n" % boundary
    return b"%b%b%b--%b--\r\n" % (_ENVELOPE, kind, lines, boundary)


def nested(depth: int) -> bytes:
    """Multiparts within each other."""
    opening = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level)
        for level in range(depth)
    )
    return b"%bContent-Type: text/plain\r\n\r\ndeep inside\r\n" % opening


def text(charset: str, octets: bytes) -> bytes:
    """A text that claims a charset."""
    kind = f"Content-Type: text/plain; charset={charset}\r\n\r\n".encode("utf-8", "surrogateescape")
    return _ENVELOPE + kind + octets


def encoded(encoding: str, octets: bytes) -> bytes:
    """A part that claims an encoding."""
    part = f"Content-Type: image/png\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    return multipart(part + octets)


def field(name: str, value: bytes) -> bytes:
    """A message with one field."""
    return b"%b: %b\r\n\r\nhello\r\n" % (name.encode(), value)


ALL_OCTETS = bytes(range(256))

_CHARSETS = (
    *("utf-8", "us-ascii", "iso-8859-1", "windows-1252", "koi8-r", "gb2312", "big5", "shift_jis"),
    *("iso-2022-jp", "iso-2022-kr", "hz", "utf-7", "utf-16", "utf-32", "utf-8-sig", "cp65001"),
    *("punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "base64", "zlib"),
    *("rot13", "mbcs", "x-unknown", "\x00", 'nonsense"quoted', "../../etc/passwd", "", "\udcff"),
)

CORPUS: dict[str, bytes] = {
    "nothing": b"",
    "only a newline": b"\r\n",
    "only newlines": b"\r\n" * 100,
    "no header": b"hello\r\nworld\r\n",
    "no body": b"Subject: hi",
    "NULs": b"Subject: a\x00b\r\nFrom: \x00 <a\x00@b>\r\n\r\na\x00b\r\n",
    "every octet": field("Subject", ALL_OCTETS) + ALL_OCTETS,
    "8-bit fields": "Subject: Grüße\r\nFrom: Jörg <jörg@bücher.example>\r\n\r\n".encode(),
    "8-bit fields, Latin-1": b"Subject: Gr\xfc\xdfe\r\nX-\xe4: \xf6\r\n\r\n",
    "lone surrogates in UTF-8": text("utf-8", b"\xed\xa0\x80 \xed\xbf\xbf"),
    "lone surrogates in UTF-7": text("utf-7", b"+2AA- +3/8-"),
    "lone surrogates in UTF-16": text("utf-16-le", b"\x00\xd8a\x00"),
    "duplicate fields": b"Subject: 1\r\nSubject: 2\r\nFrom: a@b\r\nFrom: c@d\r\n\r\n",
    "first line is a continuation": b" what?\r\nSubject: hi\r\n\r\nhello\r\n",
    "from a mailbox file": b"From joe Mon Jan  1 00:00:00 2024\r\nSubject: hi\r\n\r\nhello\r\n",
    "field without a name": b": x\r\nSubject: hi\r\n\r\nhello\r\n",
    "no blank line": b"Subject: hi\r\nhello\r\n",
    "nested 1,000 deep": nested(1000),
    "messages 1,000 deep": b"Content-Type: message/rfc822\r\n\r\n" * 1000,
    "multipart without a boundary": b"Content-Type: multipart/mixed\r\n\r\nhello\r\n",
    "empty boundary": b'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\n\r\nx\r\n----\r\n',
    "boundary never comes": b"Content-Type: multipart/mixed; boundary=b\r\n\r\nhello\r\n",
    "boundary is never closed": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx",
    "two multiparts with one boundary": multipart(multipart(b"\r\nx")),
    "5,000 parts": multipart(*[b"\r\nx"] * 5000),
    "50,000 fields": b"a:b\r\n" * 50000,
    "a field of a megabyte": field("Subject", b"x" * 2**20),
    "a folded field of a megabyte": field("Subject", b"x\r\n " * 2**18),
    "100,000 semicolons": b"Content-Type: multipart/mixed" + b";" * 100000 + b"\r\n\r\nx",
    "1,000 parameters": b"Content-Type: text/plain"
    + b"".join(b"; p%d=v" % number for number in range(1000))
    + b"\r\n\r\nhello\r\n",
    "1,200 comments": b"Content-Type: " + b"(" * 1200 + b"\r\n\r\nhello\r\n",
    "comments in To": field("To", b"(" * 5000 + b"a@b"),
    "20,000 addresses": field("To", b"a@b, " * 20000),
    "addresses of nothing": field("To", b",;:<>()@" * 1000),
    "quotes": field("From", b'"' * 1001 + b"\\" * 1001),
    "angles": field("From", b"<" * 5000),
    "routes": field("From", b"<@a,@b:c@d>, undisclosed-recipients:;"),
    "RFC 2231": multipart(
        b"Content-Disposition: attachment; filename*1*=b%FC; filename*0*=iso-8859-1'en'%E4; "
        b"filename*3=c; filename*x=y; filename*=''%zz%\r\n\r\nx"
    ),
    "RFC 2231, a charset that isn't": multipart(
        b"Content-Disposition: attachment; filename*=punycode''%E4-%E4\r\n\r\nx"
    ),
    "path for a name": multipart(b'Content-Disposition: attachment; filename="../../x"\r\n\r\nx'),
    "encoded words, cut in two": field("Subject", b"=?utf-8?q?=C3?= =?utf-8?q?=A4?="),
    "encoded words, broken": field("Subject", b"=?utf-8?b?w6?= =?utf-8?q?=C?= =?utf-8?x?y?= =?a?="),
    "encoded words, hidden newline": field("Subject", b"=?utf-8?q?a=0D=0ABcc:_x?="),
    "encoded words, 10,000": field("Subject", b"=?utf-8?q?a?= b " * 10000),
    "dates": field("Date", b"Fri, 99 Foo 99999 99:99:99 +9999"),
    "a date in the year 0": field("Date", b"Mon, 1 Jan 0001 00:00:00 +2359"),
    "content IDs": multipart(b"Content-ID: <<>>\r\n\r\nx", b"Content-ID: >a<\r\n\r\nx"),
    "base64, garbage": encoded("base64", b"=\x00!" + ALL_OCTETS + b"=" * 100),
    "base64, one letter": encoded("base64", b"QUJDR"),
    "base64, no end": encoded("base64", base64.b64encode(ALL_OCTETS * 1000)[:-3]),
    "quoted-printable, garbage": encoded("quoted-printable", b"=ZZ==\r\n=" + ALL_OCTETS + b"="),
    "uuencode": encoded("x-uuencode", b"begin 644 x\n#86)C\n`\nend\n"),
    "uuencode, garbage": encoded("uuencode", b"begin 644 x\n" + ALL_OCTETS + b"\nM\n"),
    "uuencode, not begun": encoded("uuencode", b"hello"),
    "yEnc": encoded(
        "8bit", b"=ybegin line=128 size=3 name=x\r\n\x8b\x8c=\x6a\r\n=yend size=3 crc32=0\r\n"
    ),
    "an encoding that isn't": encoded("x-" + string.printable[:60], ALL_OCTETS),
    "delivery status": multipart(
        b"Content-Type: message/delivery-status\r\n\r\n"
        b"Reporting-MTA: dns; x\r\n\r\nAction: failed\r\n"
    ),
    "delivery status, no fields": multipart(
        b"Content-Type: message/delivery-status\r\n\r\n\r\n\r\nhello\r\n\r\n"
    ),
    **{f"charset {name!r}": text(name, ALL_OCTETS * 3) for name in _CHARSETS},
}

"""
Header fields as the standard library has them (``message["To"].addresses``), parsed in linear time.

The library's own parser takes up to 30 µs for each character, quadratic time for some fields, and
ends in a RecursionError, IndexError or AttributeError for others. It gets a few fields that are
short and have a structure; the rest is parsed here, when it is read, or before if it is long.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Generator, Iterator, Mapping
from email import errors
from email.headerregistry import Address, BaseHeader, Group, HeaderRegistry
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from twisted_smtpserver.message.dates import parseDate
from twisted_smtpserver.message.mailboxes import Mailbox, parsingMailboxes
from twisted_smtpserver.message.parameters import parseContentType, parseParameterized
from twisted_smtpserver.message.slices import finish
from twisted_smtpserver.message.words import decodeWords, plainText

#: Up to how many characters the standard library parses a field: it folds none that fits on a line.
MAX_LIBRARY_FIELD = 78

#: Up to how many it parses of all fields of a message.
MAX_LIBRARY_FIELDS = 300

#: From how many characters on addresses are parsed before anybody reads them.
LONG_ADDRESSES = 1000

# A word and the blanks before it.
_WORD = re.compile(r"[ \t]*[^ \t]+|[ \t]+")
_FOLD_AT = 78
_CHARACTERS = 15  # of up to four octets, in one encoded word (RFC 2047 §2)
# Addresses that are dealt with at once.
_MANY = 200
# As the library unfolds a field before it gets here.
_LINE_ENDS = re.compile(r"[\r\n]")
_TO_ESCAPE = re.compile(r'(["\\])')


class LongHeader(BaseHeader):
    """A field whose source is kept, and folded as it is where the library would parse it again."""

    def init(  # type: ignore[override]  # there are no parse trees here
        self, name: str, *, source: str, **keywords: Any
    ) -> None:
        """
        :param name: the field's.
        :param source: its value, unfolded.
        :param keywords: for the library.
        """
        super().init(name, parse_tree=None, **keywords)  # type: ignore[arg-type]  # fold() needs it
        self._source = source

    def fold(self, *, policy: Any) -> str:
        """
        Write the field (RFC 5322 §2.2.3), with encoded words for what isn't ASCII.

        :param policy: the email package's.
        """
        lines = [f"{self.name}:"]
        source = " ".join(self._source.split("\r\n")).strip()
        for word in _WORD.findall(f" {source}") if policy.utf8 else _encoded(f" {source}"):
            if len(lines[-1]) + len(word) > _FOLD_AT and word[:1] in " \t":
                lines.append(word)
            else:
                lines[-1] += word
        linesep: str = policy.linesep
        return linesep.join(lines) + linesep


def _encoded(text: str) -> Iterator[str]:
    """The words, each of those that aren't ASCII as encoded words."""
    wasEncoded = False
    for word in _WORD.findall(text):
        if word.isascii():
            wasEncoded = False
            yield word
            continue
        clear = plainText(word if wasEncoded else word.lstrip())
        for start in range(0, len(clear), _CHARACTERS):
            octets = clear[start : start + _CHARACTERS].encode("utf-8")
            yield f" =?utf-8?b?{base64.b64encode(octets).decode()}?="
        wasEncoded = True


class LongUnstructured:
    """Text, of which encoded words are decoded (RFC 2047)."""

    max_count: int | None = None

    @classmethod
    def parse(cls, value: str, keywords: dict[str, Any]) -> None:
        """
        :param value: the field's.
        :param keywords: filled in.
        """
        keywords["source"] = value
        keywords["decoded"] = decodeWords(value)


class LongAddresses:
    """See :class:`email.headerregistry.AddressHeader`; groups are taken apart."""

    max_count: int | None = None

    @classmethod
    def parse(cls, value: str, keywords: dict[str, Any]) -> None:
        """
        :param value: the field's.
        :param keywords: filled in.
        """
        parsed = value if isinstance(value, _Parsed) else finish(_Parsed(value).run())
        keywords["source"] = value
        keywords["addresses"] = tuple(parsed.addresses)
        keywords["decoded"] = ", ".join(parsed.texts)

    def init(self, name: str, *, addresses: tuple[Address, ...], **keywords: Any) -> None:
        """
        :param name: the field's.
        :param addresses: what is in it.
        :param keywords: for the library.
        """
        super().init(name, **keywords)  # type: ignore[misc]  # the library's is another base
        self.addresses = addresses

    @property
    def groups(self) -> tuple[Group, ...]:
        """One for each address."""
        return tuple(Group(None, [address]) for address in self.addresses)

    @property
    def address(self) -> Address:
        """
        The only address.

        :raises ValueError: if there isn't exactly one.
        """
        if len(self.addresses) != 1:
            raise ValueError(f"{len(self.addresses)} addresses, not one")
        return self.addresses[0]


class _Parsed(str):
    """
    The value of a field of addresses.

    :ivar addresses: what is in it, after :meth:`run`.
    :ivar texts: the same as texts.
    """

    __slots__ = ("addresses", "texts")

    def __init__(self, _: str) -> None:
        self.addresses: list[Address] = []
        self.texts: list[str] = []

    def run(self) -> Generator[None, None, _Parsed]:
        """Parse it in slices."""
        mailboxes = yield from parsingMailboxes(self)
        for start in range(0, len(mailboxes), _MANY):
            yield
            addresses = list(map(_address, mailboxes[start : start + _MANY]))
            self.addresses += addresses
            self.texts += map(str, addresses)
        return self


def _address(mailbox: Mailbox) -> Address:
    local, _, domain = mailbox.address.rpartition("@")
    return Address(mailbox.name, local or domain, domain if local else "")


class LongDate(LongUnstructured):
    """See :class:`email.headerregistry.DateHeader`."""

    @classmethod
    def parse(cls, value: str, keywords: dict[str, Any]) -> None:
        """
        :param value: the field's.
        :param keywords: filled in.
        """
        super().parse(value, keywords)
        keywords["datetime"] = parseDate(keywords["decoded"])
        if keywords["datetime"] is None:
            keywords["defects"].append(errors.InvalidHeaderDefect("Invalid date value or format"))

    def init(self, name: str, *, datetime: Any, **keywords: Any) -> None:
        """
        :param name: the field's.
        :param datetime: what it means, or ``None``.
        :param keywords: for the library.
        """
        super().init(name, **keywords)  # type: ignore[misc]  # the library's is another base
        self.datetime = datetime


class LongParameterized:
    """See :class:`email.headerregistry.ParameterizedMIMEHeader`."""

    max_count: int | None = 1
    parser = staticmethod(parseParameterized)

    @classmethod
    def parse(cls, value: str, keywords: dict[str, Any]) -> None:
        """
        :param value: the field's.
        :param keywords: filled in.
        """
        parsed = cls.parser(value)
        keywords["source"] = value
        keywords["params"] = parsed.parameters
        keywords["value"] = parsed.value
        # What get_content_type() and get_param() take apart once more.
        quoted = (
            f'{name}="{_TO_ESCAPE.sub(_BACKSLASHED, text)}"'
            for name, text in parsed.parameters.items()
        )
        keywords["decoded"] = "; ".join([parsed.value, *quoted])

    def init(self, name: str, *, params: dict[str, str], value: str, **keywords: Any) -> None:
        """
        :param name: the field's.
        :param params: its parameters.
        :param value: what stands before them.
        :param keywords: for the library.
        """
        super().init(name, **keywords)  # type: ignore[misc]  # the library's is another base
        self._params = params
        self._value = value

    @property
    def params(self) -> Mapping[str, str]:
        """The parameters by name in lower case."""
        return MappingProxyType(self._params)


_BACKSLASHED = r"\\\1"


class LongContentType(LongParameterized):
    """See :class:`email.headerregistry.ContentTypeHeader`."""

    parser = staticmethod(parseContentType)

    @property
    def content_type(self) -> str:
        """``text/plain``, for example."""
        return self._value

    @property
    def maintype(self) -> str:
        """``text``, for example."""
        return self._value.partition("/")[0]

    @property
    def subtype(self) -> str:
        """``plain``, for example."""
        return self._value.partition("/")[2]


class LongDisposition(LongParameterized):
    """See :class:`email.headerregistry.ContentDispositionHeader`."""

    @property
    def content_disposition(self) -> str:
        """``attachment``, for example."""
        return self._value


class LongTransferEncoding(LongParameterized):
    """See :class:`email.headerregistry.ContentTransferEncodingHeader`."""

    @property
    def cte(self) -> str:
        """``base64``, for example."""
        return self._value


class LongVersion(LongUnstructured):
    """See :class:`email.headerregistry.MIMEVersionHeader`: no version is so long."""

    version = major = minor = None


class _Registry(HeaderRegistry):
    """One that makes its classes once, and not for each field."""

    def __getitem__(self, name: str) -> Any:
        """
        :param name: a field's.
        :returns: its class.
        """
        return _made(self.base_class, self.registry.get(name.lower(), self.default_class))


@lru_cache(maxsize=64)  # there are a few kinds of fields
def _made(base: Any, kind: Any) -> Any:
    return type(kind.__name__, (kind, base), {})


def _longHeaders() -> HeaderRegistry:
    # (Any: the library's classes are mixed into its base, too, and typed as if they weren't.)
    unstructured: Any = LongUnstructured
    registry: Any = _Registry(LongHeader, unstructured, use_default_map=False)
    for name in ("from", "sender", "reply-to", "to", "cc", "bcc"):
        registry.map_to_type(name, LongAddresses)
        registry.map_to_type(f"resent-{name}", LongAddresses)
    for name in ("date", "resent-date", "orig-date"):
        registry.map_to_type(name, LongDate)
    registry.map_to_type("content-type", LongContentType)
    registry.map_to_type("content-disposition", LongDisposition)
    registry.map_to_type("content-transfer-encoding", LongTransferEncoding)
    registry.map_to_type("mime-version", LongVersion)
    made: HeaderRegistry = registry
    return made


_long = _longHeaders()
_STRUCTURED = frozenset(_long.registry)


class BoundedHeaders(_Registry):
    """
    What a message's policy makes fields with (``EmailPolicy.header_factory``). It remembers them:
    each is parsed once, however often it is read.
    """

    def __init__(self) -> None:
        super().__init__()
        self._read: dict[tuple[str, Any], Any] = {}
        self._left = MAX_LIBRARY_FIELDS

    def __call__(self, name: str, value: Any) -> Any:
        """
        :param name: the field's.
        :param value: as it is written, or an object that a program sets it to.
        :returns: a ``str`` with attributes.
        """
        if not isinstance(value, str):
            return super().__call__(name, value)
        key = (name, value)
        if key not in self._read:
            self._read[key] = self._parse(name, value)
        return self._read[key]

    def readAddresses(self, name: str, raw: str) -> Generator[None, None, None]:
        """
        Parse addresses in slices, so that it takes no time to read them later.

        :param name: the field's.
        :param raw: its value, folded.
        :returns: nothing, after a ``yield`` for each slice.
        """
        value = yield from _Parsed(_LINE_ENDS.sub("", raw)).run()
        self._read[name, str(value)] = _long(name, value)

    def _parse(self, name: str, value: str) -> Any:
        length = len(f"{name}: {value}")
        isStructured = name.lower() in _STRUCTURED
        if isStructured and length <= min(MAX_LIBRARY_FIELD, self._left):
            self._left -= length
            try:
                return super().__call__(name, value)
            except Exception:  # whatever it falls over
                pass
        return _long(name, value)

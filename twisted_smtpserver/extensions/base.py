"""The base of extensions, and the set of those a server has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping  # noqa: F401
from typing import Any, ClassVar, TypeVar

from twisted.internet.defer import Deferred  # noqa: F401
from zope.interface import implementer

from twisted_smtpserver import replies
from twisted_smtpserver.dialogue.dialogue import Verb
from twisted_smtpserver.dialogue.outcome import Outcome  # noqa: F401
from twisted_smtpserver.errors import Rejection
from twisted_smtpserver.interfaces import IExtension
from twisted_smtpserver.options import Options
from twisted_smtpserver.replies import Reply
from twisted_smtpserver.results import Accepted
from twisted_smtpserver.session import Address, Envelope, Session

# Coroutine, Deferred and Outcome are for typing.get_type_hints(): they are what a Verb returns.

ParameterParser = Callable[[Any], Any]
OnMail = TypeVar("OnMail", bound=Callable[..., Any])
Advertise = TypeVar("Advertise", bound=Callable[..., Any])
_Parsers = dict[str, list[tuple["Extension", ParameterParser]]]


def constant(advertise: Advertise) -> Advertise:
    """Mark an ``advertise`` whose answer is always the same: it is asked once."""
    # Itself, and not just True: what wraps it may copy its attributes, and answer otherwise.
    advertise.isConstant = advertise  # type: ignore[attr-defined]
    return advertise


@implementer(IExtension)
class Extension:
    """
    An extension that does nothing yet: subclass it and say what is different.

    See :class:`~twisted_smtpserver.interfaces.IExtension`.

    :cvar keyword: the EHLO keyword.
    :cvar mailParameters: parsers by keyword, for MAIL.
    :cvar rcptParameters: parsers by keyword, for RCPT.
    :cvar verbs: functions by verb.
    :cvar notOffered: what its parameters are answered while it isn't offered; 555 by default (RFC
        5321 §4.1.1.11).
    """

    keyword: ClassVar[str] = ""
    mailParameters: Mapping[str, ParameterParser] = {}
    rcptParameters: Mapping[str, ParameterParser] = {}
    verbs: Mapping[str, Verb] = {}
    notOffered: ClassVar[Reply | None] = None

    @classmethod
    def fromOptions(cls, options: Options, handler: object) -> Extension:
        """
        Make the extension for a server, when it was asked for by its name.

        :param options: the server's options.
        :param handler: the server's handler.
        """
        return cls()

    @constant
    def advertise(self, session: Session) -> str | None:
        """See :meth:`~twisted_smtpserver.interfaces.IExtension.advertise`."""
        return ""

    def onMail(self, address: Address, envelope: Envelope, session: Session) -> Accepted | None:
        """See :meth:`~twisted_smtpserver.interfaces.IExtension.onMail`."""

    def onRcpt(self, address: Address, envelope: Envelope, session: Session) -> None:
        """See :meth:`~twisted_smtpserver.interfaces.IExtension.onRcpt`."""


def flag(value: str | bool) -> bool:
    """
    The parser of a parameter that takes no value.

    :raises Rejection: 501 if it was given one.
    """
    if value is not True:
        raise Rejection("This parameter takes no value")
    return True


def forParameters(onMail: OnMail) -> OnMail:
    """Mark an ``onMail`` that has nothing to do when MAIL has no parameters: it isn't called."""
    onMail.isForParameters = True  # type: ignore[attr-defined]
    return onMail


class ExtensionSet:
    """
    The extensions of one server, ready for quick answers.

    :param extensions: in the order in which EHLO lists them; of two that parse the same parameter
        the later one counts, where it is offered.
    :param hidden: keywords that EHLO doesn't list.
    """

    def __init__(self, extensions: Iterable[Extension], hidden: Collection[str] = ()) -> None:
        self._extensions = tuple(extensions)
        self._shown = tuple(e for e in self._extensions if e.keyword not in hidden)
        # What EHLO lists: lines that are known already, and extensions to be asked.
        self._plan: list[list[str] | Extension] | None = None
        #: All keywords, offered or not.
        self.names = frozenset(extension.keyword for extension in self._extensions)
        self._mail: _Parsers = {}
        self._rcpt: _Parsers = {}
        self.verbs: dict[str, tuple[Extension, Verb]] = {}
        for extension in self._extensions:
            for keyword, parser in extension.mailParameters.items():
                self._mail.setdefault(keyword, []).insert(0, (extension, parser))
            for keyword, parser in extension.rcptParameters.items():
                self._rcpt.setdefault(keyword, []).insert(0, (extension, parser))
            for verb, function in extension.verbs.items():
                self.verbs[verb] = (extension, function)
        # Most extensions have no say in a MAIL or RCPT: don't ask them each time.
        self._onMail = tuple(e for e in self._extensions if _overrides(e, "onMail"))
        self._onPlainMail = tuple(e for e in self._onMail if not _readsOnlyParameters(e))
        self._onRcpt = tuple(e for e in self._extensions if _overrides(e, "onRcpt"))
        #: Whether any of them has a say in a MAIL without parameters, or a RCPT.
        self.seesSenders = bool(self._onPlainMail)
        self.seesRecipients = bool(self._onRcpt)

    def keywords(self, session: Session) -> list[str]:
        """
        The lines of the answer to EHLO.

        :param session: the session that asks.
        """
        if session.disabledCommands:  # which may make a difference for any of them
            return list(filter(None, (_line(e, _offer(e, session)) for e in self._shown)))
        lines: list[str] = []
        for step in self._makePlan(session) if self._plan is None else self._plan:
            if isinstance(step, list):
                lines += step
            else:
                line = _line(step, step.advertise(session))
                if line is not None:
                    lines.append(line)
        return lines

    def _makePlan(self, session: Session) -> list[list[str] | Extension]:
        plan: list[list[str] | Extension] = []
        for extension in self._shown:
            isConstant = _isConstant(extension)
            line = _line(extension, extension.advertise(session)) if isConstant else None
            if line is None:
                plan.append(extension)
            elif plan and isinstance(plan[-1], list):
                plan[-1].append(line)
            else:
                plan.append([line])
        self._plan = plan
        return plan

    def applyMail(self, address: Address, envelope: Envelope, session: Session) -> Reply | None:
        """
        Parse the parameters of a MAIL and put their values where they belong.

        :returns: the refusal; or what the acceptance is to say, if an extension knows.
        """
        acceptance = None
        try:
            if address.args:
                self._parse(self._mail, address, session)
                listeners = self._onMail
            else:
                listeners = self._onPlainMail
            for extension in listeners:
                acceptance = extension.onMail(address, envelope, session) or acceptance
        except Rejection as refusal:
            return refusal.toReply(replies.BAD_PARAMETER)
        return acceptance and acceptance.toReply(replies.SENDER_OK)

    def applyRcpt(self, address: Address, envelope: Envelope, session: Session) -> Reply | None:
        """
        The same for a RCPT.

        :returns: the refusal, if there is one.
        """
        try:
            if address.args:
                self._parse(self._rcpt, address, session)
            for extension in self._onRcpt:
                extension.onRcpt(address, envelope, session)
        except Rejection as refusal:
            return refusal.toReply(replies.BAD_PARAMETER)
        return None

    @staticmethod
    def _parse(known: _Parsers, address: Address, session: Session) -> None:
        for keyword, value in address.args.items():
            for extension, parser in known.get(keyword, ()):
                if _offer(extension, session) is not None:
                    address.values[keyword] = parser(value)
                    break
            else:
                raise _notOffered(keyword, [extension for extension, _ in known.get(keyword, ())])


def _notOffered(keyword: str, extensions: Iterable[Extension]) -> Rejection:
    """The refusal of a parameter that no extension has, or none that is offered now."""
    unknown = replies.UNKNOWN_PARAMETER
    refusal = Rejection(f"{keyword} parameter unrecognized", unknown.code, unknown.enhanced)
    for extension in extensions:
        # Not all are subclasses of Extension.
        reply = getattr(extension, "notOffered", None)
        if reply is not None:
            return Rejection(reply.text, reply.code, reply.enhanced)
    return refusal


def _offer(extension: Extension, session: Session) -> str | None:
    """The text after the keyword; ``None`` if it, or one of its verbs, can't be used now."""
    disabled = session.disabledCommands
    if disabled and not disabled.isdisjoint(extension.verbs):
        return None
    return extension.advertise(session)


def _line(extension: Extension, parameters: str | None) -> str | None:
    if parameters is None:
        return None
    return f"{extension.keyword} {parameters}" if parameters else extension.keyword


def _isConstant(extension: Extension) -> bool:
    function = getattr(extension.advertise, "__func__", None)
    return function is not None and getattr(function, "isConstant", None) is function


def _readsOnlyParameters(extension: Extension) -> bool:
    return getattr(getattr(type(extension), "onMail", None), "isForParameters", None) is True


def _overrides(extension: Extension, name: str) -> bool:
    return getattr(type(extension), name, None) is not getattr(Extension, name)

"""
The interfaces of filters.
"""

from __future__ import annotations

from zope.interface import Attribute, Interface

__all__ = ["IDataCommandFilter", "IMessageFilter"]


class IMessageFilter(Interface):
    """
    Judges messages before they are stored; given to
    :class:`~twisted_smtpserver.filters.Filtered`.

    A filter may also have any hook of a handler except ``onData``: that makes it a stage before the
    store, as in a :class:`~twisted_smtpserver.Chain`.
    """

    def onMessage(message, session):  # type: ignore[no-untyped-def]  # zope interfaces have no self
        """
        Judge a message, which has come in whole. May return a Deferred, or be an ``async def``.

        It is canceled when it takes longer than the filter's ``timeout``. It isn't canceled when
        the client leaves: the message is complete.

        :param message: the :class:`~twisted_smtpserver.filters.Message`. Its header may be changed;
            ``message.discard`` and ``message.quarantine`` may be set.
        :param session: the :class:`~twisted_smtpserver.session.Session`.
        :returns: header fields to put in front of the message: a dict of values by name, or
            complete lines in ``bytes``; ``None`` for none.
        :raises Rejection: 550 5.7.1 by default.
        """


class IDataCommandFilter(Interface):
    """May refuse DATA before the message is sent; an add-on to :class:`IMessageFilter`."""

    def onDataCommand(session):  # type: ignore[no-untyped-def]
        """
        DATA or the first BDAT came. The client hasn't been asked for the message yet.

        :param session: the :class:`~twisted_smtpserver.session.Session`.
        :raises Rejection: 550 5.7.1 by default.
        """


class ITimedFilter(Interface):
    """Has a time limit of its own; an add-on to :class:`IMessageFilter`."""

    timeout = Attribute(
        "How long ``onMessage`` may take, in seconds; ``None`` if the filter has its own limit. "
        "Without this attribute it is the ``timeout`` of Filtered."
    )

"""What several listeners have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

from twisted_smtpserver.twistd.credentials import resolveCredential
from twisted_smtpserver.twistd.flags import FLAGS
from twisted_smtpserver.twistd.handed import Handed
from twisted_smtpserver.twistd.layers import Layer

_Part = TypeVar("_Part")

#: The flags that a store is made of. Its size is the server's, and its name stands in headers.
STORE_PART = frozenset(
    {flag.name for flag in FLAGS["What to do with messages"] if not flag.option} | {"name", "size"}
)


def flagsOf(heading: str, *more: str) -> frozenset[str]:
    """
    The names of the flags under a heading of the help.

    :param heading: how the heading begins.
    :param more: further names.
    """
    return frozenset(
        {flag.name for name in FLAGS if name.startswith(heading) for flag in FLAGS[name]} | {*more}
    )


class Parts:
    """
    Makes each part of a server once: listeners with the same settings share it.

    So a rate that is given for all listeners counts the messages of all, and there is one inbox.
    """

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def get(
        self, what: str, settings: Layer, flags: Collection[str], make: Callable[[], _Part]
    ) -> _Part:
        """
        Make a part, unless there is one with the same settings.

        :param what: what kind of part it is.
        :param settings: the listener's settings.
        :param flags: the flags that it is made of.
        :param make: makes it.
        """
        texts = tuple((name, settings[name].texts) for name in sorted(flags) if name in settings)
        if (what, texts) not in self._made:
            self._made[what, texts] = make()
        made: _Part = self._made[what, texts]
        return made


def handedSecrets(groups: Iterable[Any], names: Iterable[str]) -> Handed:
    """
    Gather secrets.

    :param groups: the listeners' :class:`~twisted_smtpserver.twistd.commandline.Options`.
    :param names: the flags that name the secrets' files.
    """
    found: Handed = {}
    for group in groups:
        for name in names:
            if name in group:
                path = os.path.abspath(resolveCredential(group.group.settings[name].texts[-1]))
                found.setdefault(name, {})[path] = group[name]
    return found

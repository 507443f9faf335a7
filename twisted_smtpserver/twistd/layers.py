"""
Settings from several places, one upon the other: a file, the environment, the command line.

A setting is the text that would stand on the command line, so there is one parser for all places.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted_smtpserver.twistd.flags import BY_NAME, LISTENERS, TABLE_OF
from twisted_smtpserver.twistd.stores import STORES

#: Flags that say where to listen. A listener needs one of them.
LISTEN = frozenset({"port", *LISTENERS})

#: What is given in one of these ways replaces what a place further down gives in another.
_ALTERNATIVES = (
    tuple((name,) for name in ("maildir", "discard", "handler", *STORES)),
    (("cert", "key", "passphrase-file"), ("self-signed",), ("secured",)),
)


@dataclass(frozen=True)
class Setting:
    """
    What one place says about one flag.

    :ivar texts: the flag's values; for a switch that is on, one empty text; if off, none.
    :ivar name: what the flag is called in that place, for example ``[tls] cert``.
    :ivar place: where that is, if it is a file: its path, and the line.
    """

    texts: tuple[str, ...]
    name: str
    place: str = ""


#: What one place says, by the flags' names.
Layer = Mapping[str, Setting]


@dataclass(frozen=True)
class ConfigFile:
    """
    A file of configuration, read and not yet checked.

    :ivar path: its path.
    :ivar common: what it says for all listeners.
    :ivar listeners: what each ``[[listener]]`` says for itself, by the listener's place.
    """

    path: str
    common: Layer
    listeners: Mapping[str, Layer]


@dataclass(frozen=True)
class Group:
    """
    Listeners with the same settings.

    :ivar settings: the settings, the switches that are off left out.
    :ivar place: the listeners' place in the file; empty for those that are common.
    """

    settings: Layer
    place: str = ""

    def arguments(self) -> list[str]:
        """The command line that says the same."""
        return [
            f"--{name}={text}" if BY_NAME[name].value else f"--{name}"
            for name, setting in self.settings.items()
            for text in setting.texts
        ]

    def asJSON(self) -> dict[str, Any]:
        """The same in types that JSON has."""
        settings = {name: [s.texts, s.name, s.place] for name, s in self.settings.items()}
        return {"settings": settings, "place": self.place}

    @classmethod
    def fromJSON(cls, group: Mapping[str, Any]) -> Group:
        """
        Make the group again.

        :param group: what :meth:`asJSON` returned.
        """
        settings = {
            name: Setting(tuple(texts), called, place)
            for name, (texts, called, place) in group["settings"].items()
        }
        return cls(settings, group["place"])


def arrange(implied: Layer, file: ConfigFile | None, above: Sequence[Layer]) -> list[Group]:
    """
    Lay the places upon each other.

    :param implied: what goes without saying.
    :param file: the file, if there is one.
    :param above: the other places, the strongest last. Where one of them says where to listen, the
        file's listeners aren't used.
    :returns: what is common first, whether it has listeners or not; then a group for each
        ``[[listener]]``.
    """
    if file is None:
        return [Group(_merge([implied, *above]))]
    groups = [Group(_merge([implied, file.common, *above]))]
    if not any(LISTEN & set(layer) for layer in above):
        common = {name: file.common[name] for name in file.common if name not in LISTEN}
        groups += [
            Group(_merge([implied, common, own, *above]), place)
            for place, own in file.listeners.items()
        ]
    return groups


def _merge(layers: Iterable[Layer]) -> Layer:
    merged: dict[str, Setting] = {}
    for layer in layers:
        replaced = _replacedBy({name for name, setting in layer.items() if setting.texts})
        merged = {name: merged[name] for name in merged if not _isOf(name, replaced)}
        merged |= layer
    return {name: merged[name] for name in BY_NAME if name in merged and merged[name].texts}


def _replacedBy(given: Collection[str]) -> set[str]:
    """The flags of lower layers that mean nothing together with those that are given."""
    replaced = set(LISTEN - set(given) if LISTEN & set(given) else ())
    for ways in _ALTERNATIVES:
        if any(name in given for way in ways for name in way):
            replaced |= {name for way in ways if not set(way) & set(given) for name in way}
    return replaced


def _isOf(name: str, replaced: Collection[str]) -> bool:
    """Whether a flag is one of those, or belongs to one: ``amqp-queue`` to ``amqp``."""
    return name in replaced or any(
        name.startswith(f"{store}-") for store in STORES if store in replaced
    )


def inPlaces(text: str, group: Group, path: str | None) -> str:
    """
    Say an error in the words of the place where the mistake was made.

    :param text: the error, in flags.
    :param group: the settings that it is about.
    :param path: the file of configuration, if there is one.
    """
    places: list[str] = []

    def renamed(match: re.Match[str]) -> str:
        name = match[1]
        if name in group.settings:
            places.append(group.settings[name].place)
            return group.settings[name].name
        return f"[{TABLE_OF[name]}] {name}" if path and name in TABLE_OF else match[0]

    text = re.sub(r"--([a-z][a-z0-9-]*)", renamed, text)
    if path is None:
        return text
    place = places[0] if places else group.place or path
    return f"{place}: {text}" if place else text

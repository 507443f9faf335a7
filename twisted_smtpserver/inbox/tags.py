"""The names of tags."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: The most tags of one message, and the longest name.
MAX_TAGS = 20
MAX_TAG = 100

_NOT_IN_TAGS = re.compile(r"[^\w .@-]+")


def tagsOf(names: Iterable[object]) -> list[str]:
    """
    Make tags of what somebody wrote. As in Mailpit they have letters, digits, blanks and ``-_.@``;
    anything else becomes a blank.

    :param names: what isn't text is left out.
    :returns: each once, in order.
    """
    texts = (name[: 2 * MAX_TAG] for name in names if isinstance(name, str))
    cleaned = (" ".join(_NOT_IN_TAGS.sub(" ", text).split())[:MAX_TAG] for text in texts)
    unique = {tag.lower(): tag for tag in cleaned if tag}
    return list(unique.values())[:MAX_TAGS]

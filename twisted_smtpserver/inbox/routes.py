"""The paths of the API, and the functions that answer them."""

from __future__ import annotations

import re
from urllib.parse import unquote

from twisted_smtpserver.inbox.answers import Problem, Responder

#: A path with placeholders, such as ``/api/v1/message/{id}``, and the function for each method.
Table = dict[str, dict[str, Responder]]


class Routes:
    """
    Finds who answers a request.

    :param table: the paths, the more special ones first.
    """

    def __init__(self, table: Table) -> None:
        self._routes = [(_pattern(path), methods) for path, methods in table.items()]

    def find(self, method: str, path: str) -> tuple[Responder, dict[str, str]]:
        """
        Find who answers.

        :param method: the request's. HEAD is a GET without the body.
        :param path: percent-encoded.
        :returns: the function, and what is in the path's gaps, decoded.
        :raises Problem: if nobody does.
        """
        for pattern, methods in self._routes:
            match = pattern.fullmatch(path)
            if match is not None:
                responder = methods.get("GET" if method == "HEAD" else method)
                if responder is None:
                    allowed = ", ".join(methods)
                    raise Problem(405, f"Only {allowed} can be used here", {"Allow": allowed})
                gaps = match.groupdict().items()
                return responder, {name: unquote(text) for name, text in gaps}
        raise Problem(404, "There is nothing here")


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+?)", re.escape(path)))

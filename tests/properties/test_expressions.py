"""
Every regular expression of the package runs in linear time, whatever the peer sends.

:mod:`re` backtracks: where an expression can match the same octets in several ways, it tries them
all before it gives up. So each is made an automaton, and that must not be ambiguous: there is no
loop that can be left, on some input, for another loop that takes the same input (the criterion IDA
of Weber and Seidl, "On the degree of ambiguity of finite automata", 1991). What is searched for,
and not only matched, must stay unambiguous behind "anything": it is tried at each octet. There, a
loop after which nothing has to come is no trouble: it never fails.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import twisted_smtpserver

with warnings.catch_warnings():  # the name that all supported versions of Python have
    warnings.simplefilter("ignore", DeprecationWarning)
    import sre_parse

SEARCHING = frozenset({"search", "sub", "subn", "findall", "finditer", "split"})

# Enough to tell all classes of characters apart that our expressions have.
ALPHABET = [*map(chr, range(0x300)), "\u2028", "\u2029", "\u2067", "\ud800", "\U0010ffff"]

# What may be repeated more often than this is taken for something that may be repeated a few times:
# that has the same loops around it, and none of its own.
MANY = 40
FEW = 3

# What the automaton takes for slow, and why it isn't: these never fail once they have begun, so
# nothing is ever tried again.
KNOWN = {
    # What the first half leaves, the second takes.
    "twisted_smtpserver.message.libraryheaders._WORD",
    # Whatever isn't a parenthesis is taken, a backslash at the end, too.
    "twisted_smtpserver.message.mailboxes._IN_COMMENT",
    # A quoted string ends where the text does, if nowhere else.
    "twisted_smtpserver.message.parameters._TOKEN",
}


class Automaton:
    """
    The positions of an expression's characters, and which may follow which.

    :ivar classes: for each position the characters it takes.
    :ivar follow: for each position those that may come next.
    :ivar twice: steps that can be taken in two ways, as in ``(a*)*``.
    :ivar successes: positions after which nothing has to come, if that is enough for a match.
    """

    def __init__(self, pattern: re.Pattern[Any], isSearched: bool) -> None:
        self.classes: list[frozenset[str]] = []
        self.follow: list[set[int]] = []
        self.twice: set[int] = set()
        self.successes: set[int] = set()
        self.isSearched = isSearched
        alphabet = ALPHABET[:0x100] if isinstance(pattern.pattern, bytes) else ALPHABET
        self.flags = pattern.flags
        self.alphabet = alphabet
        tree = sre_parse.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
        if isSearched:
            anything = self.position(frozenset(alphabet))
            self.link(anything[1], anything[0])
            first, self.successes, _ = self.sequence(tree)
            self.link(anything[1], first)
        else:
            self.sequence(tree)

    def position(self, characters: frozenset[str]) -> tuple[set[int], set[int], bool]:
        self.classes.append(characters)
        self.follow.append(set())
        here = {len(self.classes) - 1}
        return here, here, False

    def link(self, lasts: set[int], firsts: set[int]) -> None:
        for last in lasts:
            if not self.follow[last].isdisjoint(firsts):
                self.twice.add(last)
            self.follow[last] |= firsts

    def sequence(self, items: Any) -> tuple[set[int], set[int], bool]:
        """The first and the last positions, and whether it may match nothing."""
        firsts: set[int] = set()
        lasts: set[int] = set()
        isEmpty = True
        for item in items:
            first, last, mayBeEmpty = self.item(*item)
            self.link(lasts, first)
            firsts |= first if isEmpty else set()
            lasts = lasts | last if mayBeEmpty else last
            isEmpty &= mayBeEmpty
        return firsts, lasts, isEmpty

    def item(self, kind: Any, value: Any) -> tuple[set[int], set[int], bool]:
        name = str(kind)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            return self.repeat(*value)
        if name == "SUBPATTERN":
            return self.sequence(value[-1])
        if name == "BRANCH":
            parts = [self.sequence(branch) for branch in value[1]]
            return (
                set().union(*(part[0] for part in parts)),
                set().union(*(part[1] for part in parts)),
                any(part[2] for part in parts),
            )
        if name == "AT" and str(value) == "AT_BEGINNING_STRING" and self.isSearched:
            return self.position(frozenset())  # there, and there only
        if name in ("AT", "ASSERT", "ASSERT_NOT"):  # forbids ways, and adds none
            return set(), set(), True
        return self.position(self.charactersOf(kind, value))

    def repeat(self, least: int, most: Any, items: Any) -> tuple[set[int], set[int], bool]:
        isEndless = most is sre_parse.MAXREPEAT
        if not isEndless and most > MANY:
            least, most = min(least, FEW), FEW
        if not isEndless and most > 1:  # xx?x? as x(x(x)?)?, so that no step is there twice
            rest = [(sre_parse.MAX_REPEAT, (max(least - 1, 0), most - 1, items))]
            required = self.sequence([*items, *rest])
            return required[0], required[1], least == 0 or required[2]
        first, last, isEmpty = self.sequence(items)
        if isEndless:
            self.link(last, first)
        return first, last, isEmpty or least == 0

    def charactersOf(self, kind: Any, value: Any) -> frozenset[str]:
        """Those that one position takes."""
        name = str(kind)
        if name == "ANY":
            isAll = bool(self.flags & re.DOTALL)
            return frozenset(self.alphabet) - (frozenset() if isAll else {"\n"})
        items = value if name == "IN" else [(kind, value)]
        isNegated = name == "NOT_LITERAL" or str(items[0][0]) == "NEGATE"
        return frozenset(
            character
            for character in self.alphabet
            if any(_takes(item, form) for item in items for form in self.forms(character))
            is not isNegated
        )

    def forms(self, character: str) -> set[str]:
        isAnyCase = bool(self.flags & re.IGNORECASE)
        return {character, character.lower(), character.upper()} if isAnyCase else {character}

    def ambiguity(self) -> tuple[int, int] | None:
        """Two loops, the second of which can be entered from the first on what both take."""
        loops = [place for place in range(len(self.follow)) if place in self.reach(place)]
        # What is reached from there on is reached by way of a match.
        harmless = {place for place in loops if self.reach(place) <= self.successes}
        for one in loops:
            for other in loops:
                if one != other and other not in harmless and self.isAmbiguous(one, other):
                    return one, other
        return None

    @property
    def isSlow(self) -> bool:
        """Whether there is an input that takes more than linear time."""
        return bool(self.twice - self.successes) or self.ambiguity() is not None

    def reach(self, place: int) -> set[int]:
        found: set[int] = set()
        waiting = [place]
        while waiting:
            for following in self.follow[waiting.pop()] - found:
                found.add(following)
                waiting.append(following)
        return found

    def isAmbiguous(self, one: int, other: int) -> bool:
        """Whether some input leads from one to one, from one to other, and from other to other."""
        end = (one, other, other)
        seen = {(one, one, other)}
        waiting = [(one, one, other)]
        while waiting:
            for step in self.steps(waiting.pop()):
                if step == end:
                    return True
                if step not in seen:
                    seen.add(step)
                    waiting.append(step)
        return False

    def steps(self, places: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
        first, second, third = places
        for a in self.follow[first]:
            for b in self.follow[second]:
                shared = self.classes[a] & self.classes[b]
                if shared:
                    for c in self.follow[third]:
                        if shared & self.classes[c]:
                            yield a, b, c


def _takes(item: tuple[Any, Any], character: str) -> bool:
    name, value = str(item[0]), item[1]
    if name == "NEGATE" or len(character) != 1:  # some small letters have two capitals
        return False
    if name in ("LITERAL", "NOT_LITERAL"):
        return ord(character) == value
    if name == "RANGE":
        return bool(value[0] <= ord(character) <= value[1])
    classes = {
        "CATEGORY_WORD": r"\w",
        "CATEGORY_DIGIT": r"\d",
        "CATEGORY_SPACE": r"\s",
        "CATEGORY_NOT_SPACE": r"\S",
    }
    return re.match(classes[str(value)], character, re.ASCII) is not None


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(twisted_smtpserver.__path__, "twisted_smtpserver."):
        try:
            module = import_module(found.name)
        except ModuleNotFoundError as error:
            # What isn't installed is an extra's.
            if str(error.name).startswith(twisted_smtpserver.__name__):
                raise
        else:
            if source(module).exists():  # the scanner's is C
                yield module


def source(module: ModuleType) -> Path:
    """A module's source; a compiled one has it beside it."""
    file = Path(str(module.__file__))
    return file.with_name(f"{file.name.partition('.')[0]}.py")


def expressions(module: ModuleType) -> Iterator[tuple[str, re.Pattern[Any], bool]]:
    """A module's expressions: name, expression, and whether it is searched for."""
    tree = ast.parse(source(module).read_text())
    searched = {
        ast.unparse(node.value).rpartition(".")[2]
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in SEARCHING
    }
    owners = [module, *(value for value in vars(module).values() if inspect.isclass(value))]
    for owner in owners:
        for name, value in vars(owner).items():
            for pattern in _patternsIn(value):
                isMethod = getattr(value, "__name__", "") in SEARCHING
                isInTable = isinstance(value, tuple | list)
                isSearched = isMethod or isInTable or name in searched
                yield f"{module.__name__}.{name}", pattern, isSearched


def _patternsIn(value: object) -> Iterator[re.Pattern[Any]]:
    """What is one itself, is a method of one, or has some in a table."""
    value = getattr(value, "__self__", value)
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        for part in value:
            yield from _patternsIn(part)
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        for name in value.__dataclass_fields__:
            yield from _patternsIn(getattr(value, name, None))


class LinearTimeTests(SynchronousTestCase):
    """No input makes an expression try again and again."""

    def test_package(self) -> None:
        """Neither an expression of ours nor a search for one is ambiguous."""
        slow = []
        count = 0
        for module in modules():
            for name, pattern, isSearched in expressions(module):
                count += 1
                automaton = Automaton(pattern, isSearched)
                if automaton.isSlow and name not in KNOWN:
                    slow.append((name, pattern.pattern))
        self.assertEqual(slow, [])
        self.assertGreater(count, 50)

    def test_notices(self) -> None:
        """Expressions that are known to be slow are found out, quick ones aren't."""
        slow = ["(a*)*b", "(ab|[ac]b)*d", "(a|aa)*b", "a*a*b", "a*[ab]*c", "(a+-?)*b", r"\s*,?\s*x"]
        quick = ["a*b", "a+(-+a+)*b", "(?:a|b)*c", "a{0,20}b", "(?:ab?)*c", '"[^"]*"', "[a-c]+@"]
        for source in slow:
            automaton = Automaton(re.compile(source), False)
            self.assertTrue(automaton.isSlow, source)
        for source in quick:
            automaton = Automaton(re.compile(source), False)
            self.assertFalse(automaton.isSlow, source)

    def test_searches(self) -> None:
        """What is quick to match may be slow to search for."""
        self.assertFalse(Automaton(re.compile("a+b"), False).isSlow)
        self.assertTrue(Automaton(re.compile("a+b"), True).isSlow)
        self.assertTrue(Automaton(re.compile("(a*)*b"), True).isSlow)
        for source in ("a+", "x?a+b?", r"(?:\A|\n)x[^\n]*\n"):
            self.assertFalse(Automaton(re.compile(source), True).isSlow, source)

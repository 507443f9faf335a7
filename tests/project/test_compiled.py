"""The modules that are compiled for wheels, in the form that is there."""

from __future__ import annotations

import ast
import copy
import gc
import pickle
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, get_type_hints
from weakref import WeakKeyDictionary

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import twisted_smtpserver
from tests.support import compiledscanner
from twisted_smtpserver import (
    Accepted,
    Address,
    AuthenticationFailed,
    ConnectionLost,
    MessageTooLarge,
    Options,
    Rejection,
    Reply,
    Session,
    SMTPHandler,
    replies,
)
from twisted_smtpserver.interfaces import IMessageStream
from twisted_smtpserver.testing import connect

ROOT = Path(__file__).parent.parent.parent
HOOK = compiledscanner.load(ROOT / "hatch_build.py")

#: Bases that take no place in an object, or make a class that isn't native.
_HARMLESS = {"Enum", "Generic", "NamedTuple", "Protocol"}


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Each module's path and code."""
    for name in HOOK.MODULES:
        yield name, ast.parse((ROOT / "twisted_smtpserver" / name).read_text())


def modules() -> Iterator[ModuleType]:
    """Each of them, imported."""
    for name in HOOK.MODULES:
        yield import_module(f"twisted_smtpserver.{name.removesuffix('.py').replace('/', '.')}")


def documented() -> Iterator[tuple[str, Any]]:
    """What the API pages name, and the public functions of the classes there."""
    for page in sorted((ROOT / "docs" / "reference").glob("api-*.rst")):
        module = ""
        for kind, given in re.findall(r"\.\. (\w+):: (\S+)$", page.read_text(), re.MULTILINE):
            if kind == "currentmodule":
                module = given
            elif kind in ("autoclass", "autoexception", "autofunction"):
                isWhole = given.startswith("twisted_smtpserver")
                name = given if isWhole else f"{module}.{given}"
                yield name, namedAny(name)
                yield from functionsOf(name, namedAny(name))


def functionsOf(name: str, kind: Any) -> Iterator[tuple[str, Any]]:
    """The public functions of a class, those of properties included."""
    for member, value in vars(kind).items() if isinstance(kind, type) else ():
        function = value.fget if isinstance(value, property) else value
        if isinstance(function, FunctionType) and not member.startswith("_"):
            yield f"{name}.{member}", function


def forgotten(function: ast.FunctionDef) -> set[str]:
    """The attributes that a function sets to ``None``, and looks at further down."""
    isNone: dict[str, dict[int, bool]] = {}  # for each attribute the lines that set it
    assignments = [each for each in ast.walk(function) if isinstance(each, ast.Assign)]
    for assignment in assignments:
        for target in assignment.targets:
            pairs = [(target, assignment.value)]
            if isinstance(target, ast.Tuple) and isinstance(assignment.value, ast.Tuple):
                pairs = list(zip(target.elts, assignment.value.elts, strict=True))
            for place, value in pairs:
                if isinstance(place, ast.Attribute):
                    lines = isNone.setdefault(ast.unparse(place), {})
                    isConstant = isinstance(value, ast.Constant) and value.value is None
                    lines[assignment.lineno] = isConstant
    return {
        ast.unparse(each)
        for each in ast.walk(function)
        if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Load)
        for lines in [isNone.get(ast.unparse(each), {})]
        for last in [max((line for line in lines if line < each.lineno), default=0)]
        if lines.get(last) and not isElsewhere(function, last, each.lineno)
    }


def isElsewhere(function: ast.FunctionDef, first: int, second: int) -> bool:
    """Whether of two lines only one can run, as they are on both sides of an ``else``."""
    return any(
        each.orelse
        and each.body[0].lineno <= first <= (each.body[-1].end_lineno or 0)
        and each.orelse[0].lineno <= second <= (each.orelse[-1].end_lineno or 0)
        for each in ast.walk(function)
        if isinstance(each, ast.If)
    )


class FormTests(SynchronousTestCase):
    """Which form there is."""

    def test_all(self) -> None:
        """All of them have the one that is told."""
        for module in modules():
            isNative = not str(module.__file__).endswith(".py")
            self.assertIs(isNative, twisted_smtpserver.isCompiled, module)


class SameTests(SynchronousTestCase):
    """What users do with the library's classes works in both forms."""

    def objects(self) -> list[Any]:
        """One of each kind that users make, or are given to keep."""
        session = Session()
        envelope = session.newEnvelope()
        envelope.mailFrom = Address(("joe", "example.org", "joe@example.org", "", False))
        return [
            *(session, envelope, envelope.mailFrom, Session().envelope),
            *(Reply(250, "2.0.0", "fine"), Accepted("fine"), Options(name="mx.example.com")),
            *(Rejection("no", 554), AuthenticationFailed("no"), ConnectionLost("gone")),
        ]

    def test_documented(self) -> None:
        """What is documented is plain Python: to subclass, replace, inspect and step into."""
        compiled = {module.__name__ for module in modules()}
        found = dict(documented())
        self.assertGreater(len(found), 300)
        self.assertEqual([name for name in found if found[name].__module__ in compiled], [])

    def test_typeHints(self) -> None:
        """Annotations can be resolved; where options are taken, type checkers alone know them."""
        wrong, unable = [], set()
        for name, each in documented():
            try:
                get_type_hints(each)
            except NameError as error:
                wrong.append((name, error.name))
            except TypeError as error:
                if "InterfaceClass" not in str(error):  # zope.interface 5 knows no "or"
                    raise
                unable.add(name)
        taking = ("connect", "makeFactory")
        names = {f"twisted_smtpserver.testing.{each}" for each in taking} - unable
        self.assertEqual(set(wrong), {(name, "Unpack") for name in names})

    def test_weakReferences(self) -> None:
        """A session's, for tables of what belongs to it."""
        session = Session()
        table = WeakKeyDictionary({session: 1})
        self.assertEqual(table[session], 1)
        del session
        gc.collect()
        self.assertEqual(len(table), 0)

    def test_copies(self) -> None:
        """Copies and pickles say the same."""
        for each in self.objects():
            for other in (copy.copy(each), copy.deepcopy(each), pickle.loads(pickle.dumps(each))):
                self.assertIs(type(other), type(each))
                self.assertEqual(repr(other), repr(each))

    def test_subclasses(self) -> None:
        """Subclasses keep what their bases have, and have attributes of their own."""
        for each in self.objects():
            kind = type(each)
            if kind is not type(Session().envelope):
                subclass: Any = type("Subclass", (kind,), {"mark": 1})
                self.assertEqual(subclass.mark, 1)
        own = type("TooLarge", (MessageTooLarge,), {})()
        self.assertEqual(own.toReply(replies.NO_RESULT).code, 552)

    def test_stream(self) -> None:
        """A handler's stream provides its interface, and takes keywords."""
        seen: list[object] = []

        class Handler(SMTPHandler):
            async def onData(self, stream: Any, session: Session) -> None:
                seen.append(verifyObject(IMessageStream, stream))
                stream.prepend(octets=b"X-Mark: yes\r\n")
                seen.append(await stream.read(limit=100))

        client = connect(Handler())
        client.send(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nhello\r\n.\r\n")
        self.assertEqual(seen, [True, b"X-Mark: yes\r\nhello\r\n"])


class SourceTests(SynchronousTestCase):
    """What would be compiled to something slow, wrong or dangerous."""

    def test_closures(self) -> None:
        """No function has another one within it: that is garbage that refers to itself."""
        for name, code in sources():
            for outer in ast.walk(code):
                if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    inner = [each for each in ast.walk(outer) if isinstance(each, ast.FunctionDef)]
                    self.assertEqual([each.name for each in inner if each is not outer], [], name)

    def test_coroutines(self) -> None:
        """There are none: what mypyc makes of ``await`` calls throw() as Python 3.12 deprecates."""
        for name, code in sources():
            found = [each for each in ast.walk(code) if isinstance(each, ast.AsyncFunctionDef)]
            self.assertEqual(found, [], name)

    def test_formats(self) -> None:
        """A format stands alone: else mypyc formats all values of the f-string by a slow way."""
        for name, code in sources():
            for each in ast.walk(code):
                if isinstance(each, ast.JoinedStr):
                    values = [part for part in each.values if isinstance(part, ast.FormattedValue)]
                    isPlain = all(part.format_spec is None for part in values)
                    self.assertTrue(isPlain or len(values) == 1, f"{name}:{each.lineno}")

    def test_forgotten(self) -> None:
        """
        No function sets an attribute to ``None`` and looks at it again: mypy takes it for ``None``
        still, and what is compiled raises if a call in between has set it.
        """
        found = [
            f"{name}: {each.name}: {attribute}"
            for name, code in sources()
            for each in ast.walk(code)
            if isinstance(each, ast.FunctionDef)
            for attribute in forgotten(each)
        ]
        self.assertEqual(found, [])

    def test_forgottenIsFound(self) -> None:
        """The test above finds what it looks for, and nothing else."""
        code = """
def bad(self):
    waiting, self.a = self.a, None
    self.call()
    if self.a is None:
        self.b = None
    elif self.b:
        return self.b
"""
        [function] = ast.parse(code).body
        assert isinstance(function, ast.FunctionDef)
        self.assertEqual(forgotten(function), {"self.a"})

    def test_classes(self) -> None:
        """
        No class is decorated, which mypyc leaves slow, or has a base that isn't compiled: with such
        a one, mypyc's own pointer lies where Python has that of the weak references.
        """
        classes = [
            (name, each)
            for name, code in sources()
            for each in ast.walk(code)
            if isinstance(each, ast.ClassDef)
        ]
        native = {each.name for _, each in classes}
        for name, each in classes:
            bases = {ast.unparse(base).partition("[")[0] for base in each.bases}
            self.assertEqual(each.decorator_list, [], f"{name}: {each.name}")
            self.assertLessEqual(bases, _HARMLESS | native, f"{name}: {each.name}")

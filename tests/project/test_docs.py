"""The documentation is true: its code runs, its commands parse, what it names exists."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from tests.support.examples import DOCS, EXAMPLES, load
from tests.support.folders import enterFolder
from twisted_smtpserver import Address, Envelope, Session, tap
from twisted_smtpserver.extensions import BUILT_IN
from twisted_smtpserver.interfaces import HOOKS, IMessageStream
from twisted_smtpserver.options import OPTION_NAMES
from twisted_smtpserver.sasl import MECHANISMS
from twisted_smtpserver.states import ALLOWED, TRANSITIONS, Phase

ROOT = DOCS.parent
TESTS = ROOT / "tests"
README = ROOT / "README.md"
PAGES = sorted(DOCS.rglob("*.rst"))

_DIRECTIVE = re.compile(r"^( *)\.\. code-block:: (\w+)\n((?:\1   .*\n|\n)+)", re.MULTILINE)
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^   \* - (.*)$", re.MULTILINE)
_LITERAL = re.compile(r"``([^`]+)``")

#: What a page has to show when it is built.
SHOWN = {
    "index": ('<tr class=ours><th scope="row">twisted_smtpserver</th>', "terminal.svg"),
    "topics/states": ("<svg",),
    "tutorial": ("highlight-python",),
    "howto/proxy": ("highlight-text",),
    "howto/deploy": ("highlight-ini",),
    "reference/options": ('<p class="cell-label">Default</p>',),
    "reference/twistd": ("<p>Speak LMTP on --port and --listen</p>", "tcp:25, tcp6:25,"),
}

#: What people look for, as the search has it: without endings. Each must be in a title.
SEARCHED = (
    *("pytest", "attach", "databas", "fastapi", "django", "asyncio", "metric", "sqlite", "flask"),
    *("webhook", "postgresql", "celeri", "tls", "lmtp", "login", "inbox", "log", "limit"),
)

#: What smtp-server 3.21.6 takes, but for its callbacks and what goes to Node's own servers.
REFERENCE_OPTIONS = """
    secure secured needsUpgrade key cert ca passphrase ciphers minVersion requestCert
    rejectUnauthorized sniOptions SNICallback handshakeTimeout name banner heloResponse size
    hideSize rejectOversized authMethods authOptional authRequiredMessage disabledCommands
    hideSTARTTLS hidePIPELINING hide8BITMIME hideSMTPUTF8 hideENHANCEDSTATUSCODES hideDSN
    hideREQUIRETLS allowInsecureAuth disableReverseLookup resolver logger component maxClients
    maxRecipients maxCommandLength maxAllowedUnauthenticatedCommands useProxy ignoredHosts
    useXClient useXForward lmtp lenientAddressParsing socketTimeout closeTimeout
"""
REFERENCE_FIELDS = """
    id localAddress localPort remoteAddress remotePort clientHostname openingCommand
    hostNameAppearsAs secure tlsOptions servername user transaction transmissionType xClient
    xForward error disabledCommands isWizard envelope.mailFrom envelope.rcptTo envelope.bodyType
    envelope.smtpUtf8 envelope.requireTLS envelope.dsn address.address address.args address.dsn
"""


def blocks(path: Path, language: str) -> Iterator[tuple[str, str]]:
    """
    The blocks of a language in a page, each with what stands before it. They begin with as many
    empty lines as it takes to have the page's line numbers in tracebacks.
    """
    text = path.read_text(encoding="utf-8")
    pattern = _DIRECTIVE if path.suffix == ".rst" else _FENCE
    for found in pattern.finditer(text):
        if found[2 if path.suffix == ".rst" else 1] != language:
            continue
        start = found.start(pattern.groups)
        code = found[pattern.groups]
        indent = len(found[1]) + 3 if path.suffix == ".rst" else 0
        lines = (line[indent:] for line in code.splitlines())
        yield text[: found.start()], "\n" * text.count("\n", 0, start) + "\n".join(lines)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of ``twistd smtpserver``, with the page it is on."""
    sources = [
        (path.name, code)
        for path in (*PAGES, README)
        for language in ("bash", "console")
        for _, code in blocks(path, language)
    ]
    unit = (EXAMPLES / "deploy" / "smtpserver.service").read_text()
    sources.append(("smtpserver.service", unit.replace("ExecStart=", "\n")))
    for name, code in sources:
        for line in code.replace("\\\n", " ").splitlines():
            if "twistd" in line and "smtpserver" in line:
                lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
                lexer.whitespace_split = True
                words = list(lexer)
                if "smtpserver" in words:
                    rest = words[words.index("smtpserver") + 1 :]
                    ends = [n for n, word in enumerate(rest) if set(word) <= set(";&|")]
                    yield name, rest[: min(ends, default=len(rest))]


class CodeTests(SynchronousTestCase):
    """What can be run in the pages and in the README."""

    def setUp(self) -> None:
        folder = enterFolder(self)
        for name in ("users", "senders", "recipients"):
            Path(name).write_text("# nobody yet\n")
        self.patch(sys, "path", [str(folder), *sys.path])

    def test_found(self) -> None:
        """Blocks are found at all, with their line numbers."""
        page = DOCS / "howto" / "web.rst"
        [(_, code)] = list(blocks(page, "bash"))
        number = page.read_text().split("\n").index("   twistd -ny beside_web.py")
        self.assertEqual(code.split("\n")[number], "twistd -ny beside_web.py")
        self.assertGreater(len(list(commands())), 10)
        self.assertGreater(sum(len(list(blocks(path, "python"))) for path in PAGES), 15)

    def test_pages(self) -> None:
        """The Python blocks of a page run, one after the other."""
        self.patch(sys, "stdout", open(os.devnull, "w"))  # noqa: SIM115
        self.addCleanup(sys.stdout.close)
        for path in PAGES:
            namespace: dict[str, object] = {"__name__": path.stem}
            for _, code in blocks(path, "python"):
                exec(compile(code, str(path), "exec"), namespace)

    def test_readme(self) -> None:
        """So do the README's; what belongs into a file is put there for those that import it."""
        namespace: dict[str, object] = {"__name__": "readme"}
        for before, code in blocks(README, "python"):
            if found := re.search(r"`(\w+\.py)`:?\s*\Z", before):
                Path(found[1]).write_text(code)
                self.addCleanup(sys.modules.pop, found[1].removesuffix(".py"), None)
            exec(compile(code, str(README), "exec"), namespace)

    def test_shell(self) -> None:
        """Shell blocks are shell."""
        for path in (*PAGES, README):
            for language in ("bash", "console"):
                for _, code in blocks(path, language):
                    done = subprocess.run(
                        ["bash", "-n"], input=code, capture_output=True, text=True, check=False
                    )
                    self.assertEqual(done.stderr, "", path)

    def test_commands(self) -> None:
        """Every command line of ``twistd smtpserver`` is one."""
        Path("passwd").write_text("joe:sesame\n")
        Path("secret").write_text("sixteen octets at least\n")
        Path("smtpserver.toml").write_text("[messages]\ndiscard = true\n")
        self.patch(sys, "stdout", open(os.devnull, "w"))  # noqa: SIM115
        self.addCleanup(sys.stdout.close)
        for name, arguments in commands():
            try:
                here = [word.replace("/etc/smtpserver/", "") for word in arguments]
                tap.Options().parseOptions(here)
            except SystemExit as end:  # from --help and its like
                self.assertEqual((name, end.code or 0), (name, 0))
            except Exception as error:
                raise AssertionError(f"{name}: {shlex.join(arguments)}: {error}") from error

    def test_parts(self) -> None:
        """What a page shows in parts, it shows all of, the imports included."""
        pattern = re.compile(
            r"^\.\. literalinclude:: (.+)\n   :(start-at|pyobject): (.+)", re.MULTILINE
        )
        for page in PAGES:
            parts: dict[str, set[str]] = {}
            for name, how, what in pattern.findall(page.read_text(encoding="utf-8")):
                parts.setdefault(name, set()).add(what if how == "pyobject" else "imports")
            for name, shown in parts.items():
                body = ast.parse((page.parent / name).read_text(encoding="utf-8")).body
                defined = {
                    node.name for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef))
                }
                self.assertEqual(shown, {*defined, "imports"}, f"{page.name}: {name}")

    def test_handlers(self) -> None:
        """The handlers that command lines name are made by the examples."""
        Path("secret").write_text("sixteen octets at least\n")
        found = set()
        for name, arguments in commands():
            if "--handler" in arguments:
                module, _, attribute = arguments[arguments.index("--handler") + 1].partition(".")
                found.add(module)
                if not (EXAMPLES / f"{module}.py").exists():  # a recipe, with tests of its own
                    [path] = EXAMPLES.rglob(f"{module}.py")
                    defined = {
                        getattr(node, "name", "") for node in ast.parse(path.read_text()).body
                    }
                    self.assertIn(attribute, defined, name)
                    continue
                handler = getattr(load(module), attribute)()
                self.assertTrue(hasattr(handler, "onData"), name)
        self.assertLessEqual({"attachments", "inbox", "lmtp", "policed", "replies"}, found)

    def test_examples(self) -> None:
        """Every example is shown on a page, and run by a test."""
        pages = "".join(path.read_text(encoding="utf-8") for path in PAGES)
        tests = "".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("*.py"))
        for path in EXAMPLES.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(EXAMPLES).as_posix()
                self.assertTrue(f"examples/{name}" in pages, f"{name}: on no page")
                stem = name.removesuffix(".py").rpartition("/")[2]
                wholeFolder = f'copy("{name.partition("/")[0]}")'  # and its own tests are run
                self.assertTrue(stem in tests or wholeFolder in tests, f"{name}: in no test")


class NameTests(SynchronousTestCase):
    """What the pages name exists."""

    def test_tests(self) -> None:
        """Every test that is named exists, and there are many."""
        named = names("test")
        self.assertGreater(len(named), 200)
        self.assertEqual(named - existingTests(), set())

    def test_sources(self) -> None:
        """So does every piece of code."""
        named = names("src")
        self.assertGreater(len(named), 100)
        for name in named:
            namedAny(f"twisted_smtpserver.{name}")


def names(role: str) -> set[str]:
    """All that the pages name by a role."""
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    return set(re.findall(rf":{role}:`([^`]+)`", text))


def existingTests() -> set[str]:
    """Every test there is, as ``folder.module.Class.method``."""
    return {
        ".".join([*path.relative_to(TESTS).with_suffix("").parts, case.name, method.name])
        for path in (*TESTS.rglob("test_*.py"), *TESTS.rglob("suite.py"))
        for case in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(case, ast.ClassDef)
        for method in case.body
        if isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


class ContractTests(SynchronousTestCase):
    """The contract's tables are complete."""

    def setUp(self) -> None:
        page = (DOCS / "reference" / "contract.rst").read_text(encoding="utf-8")
        self.sections = dict(re.findall(r"^(.+)\n-+\n((?:.*\n(?!.+\n-+\n))*)", page, re.MULTILINE))

    def named(self, section: str) -> set[str]:
        """The names in the first column of a section's table."""
        cells = " ".join(_ROW.findall(self.sections[section]))
        return set(_LITERAL.findall(cells))

    def test_rows(self) -> None:
        """Every row names code and a test, and each table has rows."""
        for title, text in self.sections.items():
            rows = re.split(r"^   \* - ", text, flags=re.MULTILINE)[2:]
            self.assertGreater(len(rows), 5, title)
            for row in rows:
                self.assertRegex(row, "(?s):src:.*:test:", title)

    def test_hooks(self) -> None:
        """Every hook."""
        self.assertEqual(self.named("Hooks"), set(HOOKS))

    def test_stream(self) -> None:
        """Everything of the stream."""
        missing = set(IMessageStream.names()) - self.named("The message stream") - {"__aiter__"}
        self.assertEqual(missing, set())

    def test_options(self) -> None:
        """Every option."""
        self.assertEqual(self.named("Options"), OPTION_NAMES)

    def test_fields(self) -> None:
        """Every field of session, envelope and address."""
        for described in (Session, Envelope, Address):
            self.assertEqual(self.named(described.__name__), fields(described))

    def test_mechanisms(self) -> None:
        """Every mechanism."""
        self.assertEqual(self.named("Mechanisms of AUTH") - {"credentials"}, set(MECHANISMS))

    def test_commands(self) -> None:
        """Every command."""
        self.assertEqual(self.named("Commands"), set(ALLOWED))

    def test_extensions(self) -> None:
        """Every extension is among the standards."""
        page = (DOCS / "reference" / "standards.rst").read_text(encoding="utf-8")
        self.assertEqual([word for word in BUILT_IN if not re.search(rf"\b{word}\b", page)], [])


def fields(described: type) -> set[str]:
    """The public attributes of a class that holds facts, without its methods."""
    slots = set(described.__slots__)  # type: ignore[attr-defined]
    properties = {name for name, value in vars(described).items() if isinstance(value, property)}
    return {name for name in slots | properties if not name.startswith("_")}


class PortingTests(SynchronousTestCase):
    """Whoever comes from smtp-server finds everything."""

    def test_complete(self) -> None:
        """Every option, hook and field of smtp-server's has a row."""
        page = (DOCS / "porting" / "smtp-server.rst").read_text(encoding="utf-8")
        cells = re.split(r"^   (?:\* |  )- ", page, flags=re.MULTILINE)
        named = set(_LITERAL.findall(" ".join(cells)))
        expected = {*REFERENCE_OPTIONS.split(), *REFERENCE_FIELDS.split()}
        self.assertEqual(expected - named, set())
        hooks = {name for name in HOOKS if re.search(rf"``{name}\(", page)}
        self.assertEqual(hooks, set(HOOKS))


class DiagramTests(SynchronousTestCase):
    """The picture of the state machine."""

    def test_complete(self) -> None:
        """Every phase and every transition is in it."""
        diagram = load("../_ext/statediagram")
        picture = diagram.svg()
        for phase in Phase:
            self.assertIn(f">{phase.name}</text>", picture)
        arrows = diagram.edges()
        self.assertEqual(picture.count("marker-end="), len(arrows))
        for (before, event), after in TRANSITIONS.items():
            self.assertIn(event.name, arrows[before, after])
            self.assertIn(f">{arrows[before, after]}</text>", picture)


if importlib.util.find_spec("sphinx"):  # CI builds the documentation in a step of its own

    class BuildTests(SynchronousTestCase):
        """The documentation can be built."""

        def test_build(self) -> None:
            """Without a warning; a reference that leads nowhere is one."""
            folder = Path(self.mktemp()).absolute()
            command = ["-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
            done = subprocess.run(
                [sys.executable, "-B", *command, "-d", f"{folder}/trees", DOCS, f"{folder}/html"],
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual((done.stderr, done.returncode), ("", 0))
            index = (folder / "html" / "searchindex.js").read_text(encoding="utf-8")
            titles = json.loads(index[index.index("{") : index.rindex("}") + 1])["titleterms"]
            self.assertEqual([stem for stem in SEARCHED if stem not in titles], [])
            for page, parts in SHOWN.items():
                html = (folder / "html" / f"{page}.html").read_text(encoding="utf-8")
                for part in parts:
                    self.assertTrue(part in html, f"{page}: {part}")

"""
Every check, each in an environment of its own: ``nox --list`` names them, ``nox -s lint`` runs one.

The workflows in .github/ run these sessions. Words after ``--`` go to the tool:
``nox -s tests-3.13 -- tests/wire -k path``.
"""

import shutil
from pathlib import Path

import nox
import nox.virtualenv

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests", "docs"]

#: The versions of pyproject.toml's classifiers.
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]

TWISTED_TRUNK = "Twisted[tls] @ https://github.com/twisted/twisted/archive/refs/heads/trunk.zip"


def install(session: nox.Session, *words: str) -> None:
    """Install what a session needs; with ``--no-venv`` it is there already."""
    if not isinstance(session.virtualenv, nox.virtualenv.PassthroughEnv):
        session.install(*words)


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style."""
    install(session, "ruff")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, strictly."""
    install(session, "-e", ".[dev]")
    session.run("mypy", *session.posargs)
    # As users have it: without a plugin, and in editors.
    plain = ["mypy", "--config-file="]
    session.run(*plain, "--strict", "--allow-untyped-calls", "tests/project/typed")
    examples = Path("docs/examples")
    for folder in sorted({path.parent for path in examples.rglob("*.py")}):
        session.run(*plain, "--ignore-missing-imports", *map(str, sorted(folder.glob("*.py"))))
    pyright = Path("tests/clients/node_modules/.bin/pyright")
    if pyright.exists():  # npm install --prefix tests/clients
        session.run(str(pyright), "--pythonpath", shutil.which("python") or "", external=True)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests by pytest."""
    install(session, "-e", ".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(name="tests-oldest", python=PYTHONS[0])
def testsOldest(session: nox.Session) -> None:
    """Run the tests with the oldest versions that are promised."""
    install(session, "--constraint", "tests/oldest.txt", "-e", ".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(name="tests-compiled", python=PYTHONS)
def testsCompiled(session: nox.Session) -> None:
    """Run the tests with the compiled form, in a copy: its modules go beside their source."""
    copy = Path(session.create_tmp()).resolve() / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    session.run("git", "clone", "--quiet", ".", str(copy), external=True)
    with session.chdir(copy):
        session.install("-e", ".[test]", env={"TWISTED_SMTPSERVER_COMPILE": "require"})
        session.run("python", "-m", "pytest", *session.posargs)


@nox.session(name="tests-trunk", python=PYTHONS[-1])
def testsTrunk(session: nox.Session) -> None:
    """Run the tests with Twisted as it will be released next."""
    install(session, "-e", ".[test]")
    install(session, "--upgrade", TWISTED_TRUNK)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def trial(session: nox.Session) -> None:
    """Run the tests by Twisted's own runner."""
    install(session, "-e", ".[test]")
    session.run("python", "-m", "twisted.trial", *(session.posargs or ["tests"]))


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the tests and see that every branch was taken."""
    install(session, "-e", ".[test]")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into docs/_build/html; a warning is an error."""
    install(session, "-e", ".[docs]")
    build = ["-W", "--keep-going", "-q", "-b", "html", *session.posargs]
    session.run("python", "-m", "sphinx", *build, "docs", "docs/_build/html")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build what is uploaded, check it, and start the server from the wheel alone."""
    install(session, "build", "twine")
    folder = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(folder))
    session.run("twine", "check", "--strict", *map(str, folder.iterdir()))
    install(session, *map(str, folder.glob("*.whl")))
    with session.chdir(folder):
        session.run("twistd", "smtpserver", "--help", silent=True)


@nox.session
def changes(session: nox.Session) -> None:
    """Show the change log as the next release will have it."""
    install(session, "towncrier")
    session.run("towncrier", "build", "--draft", "--version", "next", *session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Ask for known vulnerabilities of what users install with the library."""
    install(session, "pip-audit")
    session.run("python", ".ci/audit.py")

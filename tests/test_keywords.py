"""Tests for what type checkers know of the factory's keyword arguments."""

from __future__ import annotations

from typing import Any, get_type_hints

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.interfaces import HOOKS
from twisted_smtpserver.keywords import HookKeywords, Keywords, OptionKeywords
from twisted_smtpserver.options import OPTION_NAMES, VERSIONS, Options


class KeywordsTests(SynchronousTestCase):
    """They are the options and the hooks, and nothing else."""

    def test_options(self) -> None:
        """Each option is there, with the type that it has in Options, or a more telling one."""
        typed, known = get_type_hints(OptionKeywords), get_type_hints(Options)
        self.assertEqual(typed.keys(), OPTION_NAMES)
        others = {name for name, kind in typed.items() if kind != known[name]}
        vague = {name for name in OPTION_NAMES if known[name] is Any}
        self.assertLessEqual(others - {"minVersion"}, vague)
        self.assertEqual(typed["minVersion"].__args__, VERSIONS)

    def test_hooks(self) -> None:
        """Each hook is there, with as many arguments as it gets."""
        typed = get_type_hints(HookKeywords)
        self.assertEqual(typed.keys(), HOOKS.keys())
        for name, kind in typed.items():
            declared = HOOKS[name][name].getSignatureInfo()["positional"]
            self.assertEqual(len(kind.__args__) - 1, len(declared), name)

    def test_both(self) -> None:
        """None is required."""
        self.assertEqual(Keywords.__optional_keys__, OPTION_NAMES | HOOKS.keys())
        self.assertEqual(Keywords.__required_keys__, frozenset())

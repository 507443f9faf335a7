"""What is compiled, as Python: native classes can't be subclassed, nor their methods replaced."""

from __future__ import annotations

from types import ModuleType

import twisted_smtpserver
from tests.support.compiledscanner import ROOT, load


def pure(module: ModuleType) -> ModuleType:
    """
    A module in the Python form, whichever is installed.

    :param module: one of ours.
    """
    if not twisted_smtpserver.isCompiled:
        return module
    return load(ROOT.joinpath(*module.__name__.split(".")).with_suffix(".py"))

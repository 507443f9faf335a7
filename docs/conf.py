"""Sphinx's configuration: ``sphinx-build -W docs docs/_build/html``."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]  # a checkout need not be installed

project = "twisted_smtpserver"
author = "The twisted_smtpserver developers"
copyright = author  # noqa: A001  # Sphinx calls it so
[release] = re.findall(
    '^__version__ = "(.+)"',
    (HERE.parent / "twisted_smtpserver" / "__init__.py").read_text(),
    re.MULTILINE,
)
version = release

extensions = [
    "sphinx.ext.autodoc",
    "filetypes",
    "generated",
    "glance",
    "interfaces",
    "myst_parser",
    "names",
    "stacked",
]
source_suffix = {".rst": "restructuredtext"}
exclude_patterns = ["_build"]
language = "en"
default_role = "any"
highlight_language = "default"  # Python where it can be, as in docstrings
smartquotes_action = "qe"  # quotes and ellipses; --port keeps its two hyphens
nitpicky = True

# Other people's objects: there is no network to look them up with when the documentation is built.
nitpick_ignore_regex = [
    ("py:.*", r"(twisted|zope|OpenSSL|cryptography|email|datetime|os|collections|asyncio)\..*"),
    ("py:.*", r"(typing|types|abc|enum|dataclasses|ipaddress|OpenSSL|builtins)\..*"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the texts say it, and say it shorter

html_theme = "furo"
html_title = "twisted_smtpserver"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/icon.svg"
html_theme_options = {"navigation_with_keys": True}
html_copy_source = False
html_show_sourcelink = False

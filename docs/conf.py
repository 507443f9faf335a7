"""Sphinx's configuration: ``sphinx-build -W docs docs/_build/html``."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "twisted_smtpserver"
author = "The twisted_smtpserver developers"
copyright = author  # noqa: A001  # Sphinx calls it so
release = metadata.version("twisted-smtpserver")
version = release

extensions = ["sphinx.ext.autodoc", "generated", "interfaces"]
exclude_patterns = ["_build"]
language = "en"
default_role = "any"
nitpicky = True

# Other people's objects: there is no network to look them up with when the documentation is built.
nitpick_ignore_regex = [
    ("py:.*", r"(twisted|zope|OpenSSL|cryptography|email|datetime|os|collections|asyncio)\..*"),
    ("py:.*", r"(typing|types|abc|enum|dataclasses|ipaddress|OpenSSL|builtins)\..*"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the texts say it, and say it shorter
autodoc_class_signature = "separated"

html_theme = "alabaster"
html_theme_options = {
    "description": "SMTP and LMTP servers for Twisted applications",
    "page_width": "1060px",
    "sidebar_width": "250px",
    "fixed_sidebar": True,
}
html_copy_source = False
html_show_sourcelink = False

"""The pictures of the documentation: what is drawn is what was measured, and what was printed."""

from __future__ import annotations

import importlib.util

from twisted.trial.unittest import SynchronousTestCase

from tests.support.examples import load

PAGE = """
.. csv-table:: Processor time of the server for a message
   :header-rows: 1
   :delim: ;

   ; session, µs; one of many, µs; 100 rcpts, µs; base64, µs/MB; idle, KiB
   **twisted_smtpserver**; 284; 136; 511; 622; 2.2
   Postfix; 125; 43; 87; 4,757; 256
   aiosmtpd 1; 790; 481; 12,875; –; 10.9

Text.
"""

SAID = [
    "  Read it at  http://127.0.0.1:40221/",
    "  Send it to  127.0.0.1, port 35111",
    "17:34:27 [x#info] 06: message 06-1 from <a@b.example> to <c@d.example> (SMTP), 6 octets: 250",
]


if importlib.util.find_spec("docutils"):  # CI builds the documentation in a lane of its own

    class GlanceTests(SynchronousTestCase):
        """The benchmarks at a glance."""

        def setUp(self) -> None:
            self.glance = load("../_ext/glance")

        def test_figures(self) -> None:
            """The figures are those of the page's table; what wasn't measured is left out."""
            self.assertEqual(
                self.glance.figures(PAGE),
                {
                    "one of many": [("twisted_smtpserver", 136), ("aiosmtpd 1", 481)],
                    "100 rcpts": [("twisted_smtpserver", 511), ("aiosmtpd 1", 12875)],
                    "base64": [("twisted_smtpserver", 622)],
                    "idle": [("twisted_smtpserver", 2.2), ("aiosmtpd 1", 10.9)],
                },
            )

        def test_draw(self) -> None:
            """The longest bar has the whole width, the others their part of it."""
            html = self.glance.draw(
                {"idle": [("ours", 1.0), ("<theirs>", 4000.0), ("other", 1000.0)]}
            )
            for part in ("width:0.5%", "width:100.0%", "width:25.0%", ">4,000<", "&lt;theirs&gt;"):
                self.assertIn(part, html)


class TerminalTests(SynchronousTestCase):
    """The terminal."""

    def test_tidy(self) -> None:
        """It shows the usual ports, and of each mail what matters."""
        self.assertEqual(
            load("../pictures").tidy(SAID),
            [
                "  Read it at  http://127.0.0.1:8025/",
                "  Send it to  127.0.0.1, port 2525",
                "17:34:27  from <a@b.example> to <c@d.example>, 6 octets: 250 OK",
            ],
        )

    def test_terminal(self) -> None:
        """All lines are in it, escaped, behind the command."""
        svg = load("../pictures").terminal(["from <a@b.example>", "next"])
        self.assertIn(">$ python -m twisted_smtpserver</text>", svg)
        self.assertIn(">from &lt;a@b.example&gt;</text>", svg)
        self.assertEqual(svg.count("<text "), 3)

"""The file of recipients."""

from __future__ import annotations

import gc
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.tables.recipientfile import MAX_EXPANSION, RecipientTable
from twisted_smtpserver.tables.watched import TableError


def numbered(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def table(text: str, delimiter: str = "+") -> RecipientTable:
    return RecipientTable.parse(numbered(text), delimiter)


class RecipientTableTests(SynchronousTestCase):
    def find(self, known: RecipientTable, address: str) -> list[str] | None:
        """What an address stands for; itself, where it is taken as it is."""
        local, _, domain = address.rpartition("@")
        found = known.find(local or domain, domain if local else None)
        return found if found is None else [text for _, _, text in found] or [address]

    def assertFound(self, known: RecipientTable, expected: dict[str, str | None]) -> None:
        for address, targets in expected.items():
            words = None if targets is None else targets.split()
            local, _, domain = address.rpartition("@")
            isKnown = known.knows(local or domain, domain if local else None)
            self.assertEqual(isKnown, targets is not None, address)
            self.assertEqual(self.find(known, address), words, address)

    def refused(self, text: str, delimiter: str = "+") -> str:
        return str(self.assertRaises(TableError, table, text, delimiter))

    def test_addresses(self) -> None:
        """Those that are listed, in letters of any case; nobody else."""
        known = table("joe@example.com\nAnn@Example.COM\n")
        self.assertFound(
            known,
            {
                "joe@example.com": "joe@example.com",
                "JOE@example.com": "joe@example.com",
                "ann@example.com": "Ann@example.com",
                "eve@example.com": None,
                "joe@example.org": None,
            },
        )
        self.assertEqual(str(known), "2 lines, 1 domains")

    def test_domains(self) -> None:
        """Every address of a domain, as it was sent; or all others of it, to one."""
        known = table("@example.org\n@example.net joe@example.com\nsue@example.net\n@[192.0.2.1]\n")
        self.assertFound(
            known,
            {
                "Any.Body+tag@example.org": "Any.Body+tag@example.org",
                "anybody@example.net": "joe@example.com",
                "sue@example.net": "sue@example.net",
                "anybody@sub.example.org": None,
                "me@[192.0.2.1]": "me@[192.0.2.1]",
            },
        )

    def test_international(self) -> None:
        """A domain may be written in either form, and a local part in either composition."""
        known = table("jos\u00e9@b\u00fccher.example\n@xn--caf-dma.example\n")
        self.assertFound(
            known,
            {
                "JOSE\u0301@b\u00fccher.example": "jos\u00e9@b\u00fccher.example",
                "x@caf\u00e9.example": "x@caf\u00e9.example",
            },
        )

    def test_details(self) -> None:
        """A detail behind the separator is left out, unless its address has a line of its own."""
        text = "joe@example.com\njoe+spam@example.com eve@example.com\n"
        self.assertFound(
            table(text),
            {
                "joe+news@example.com": "joe@example.com",
                "joe+a+b@example.com": "joe@example.com",
                "joe+SPAM@example.com": "eve@example.com",
                "joe-news@example.com": None,
                "+joe@example.com": None,
                "jim+joe@example.com": None,
            },
        )
        self.assertFound(table(text, "-="), {"joe=x@example.com": "joe@example.com"})
        self.assertFound(table(text, ""), {"joe+news@example.com": None})

    def test_aliases(self) -> None:
        """Aliases to several, through other aliases; each address once, in order."""
        known = table(
            "sales@example.com  joe@example.com, team@example.com,ann@example.com\n"
            "team@example.com   ann@example.com, jim@other.example\n"
            "joe@example.com\n"
            "@example.net       sales@example.com\n"
            "one@example.com    joe+alias@example.com\n"
        )
        everybody = "joe@example.com ann@example.com jim@other.example"
        self.assertFound(
            known,
            {
                "sales@example.com": everybody,
                "x@example.net": everybody,
                "one@example.com": "joe@example.com",
                "ann@example.com": None,
            },
        )

    def test_catchAll(self) -> None:
        """A catch-all is for whom clients name; an alias's targets don't fall into it."""
        known = table("@example.com joe@example.com\nsales@example.com ann@example.com\n")
        self.assertFound(
            known, {"sales@example.com": "ann@example.com", "ann@example.com": "joe@example.com"}
        )

    def test_self(self) -> None:
        """An alias that names itself keeps its copy."""
        known = table("joe@example.com joe@example.com, archive@example.com\n")
        self.assertFound(known, {"joe@example.com": "joe@example.com archive@example.com"})

    def test_loops(self) -> None:
        """One that leads nowhere but to itself is refused; a loop with a way out ends."""
        loop = "a@x.example b@x.example\nb@x.example c@x.example\nc@x.example a@x.example\n"
        self.assertEqual(self.refused(loop), "line 1: the alias leads back to itself")
        known = table("a@x.example b@x.example, d@x.example\nb@x.example a@x.example\n")
        self.assertFound(known, {"a@x.example": "d@x.example", "b@x.example": "d@x.example"})

    def test_bounded(self) -> None:
        """An alias leads to a bounded number of addresses, by a bounded number of steps."""
        many = ",".join(f"u{number}@x.example" for number in range(MAX_EXPANSION))
        self.assertEqual(len(table(f"all@x.example {many}").find("all", "x.example") or ()), 1000)
        refusal = f"line 1: there are more than {MAX_EXPANSION} targets"
        self.assertEqual(self.refused(f"all@x.example {many},one@x.example"), refusal)
        two = f"all@x.example more@x.example, one@x.example\nmore@x.example {many}\n"
        expected = f"line 1: it leads to more than {MAX_EXPANSION} addresses"
        self.assertEqual(self.refused(two), expected)
        chain = "".join(f"a{n}@x.example a{n + 1}@x.example\n" for n in range(MAX_EXPANSION + 1))
        self.assertEqual(self.refused(chain), expected)

    def test_postmaster(self) -> None:
        """Mail to postmaster is always taken, of each domain and without one (§4.5.1)."""
        known = table("joe@example.com\n@example.org joe@example.com")
        self.assertFound(
            known,
            {
                "Postmaster": "Postmaster",
                "PostMaster@example.com": "PostMaster@example.com",
                "postmaster@example.org": "joe@example.com",
                "postmaster@else.example": None,
            },
        )
        self.assertFalse(known.namesPostmaster)
        known = table("joe@example.com\nPOSTMASTER joe@example.com")
        self.assertFound(
            known,
            {
                "postmaster": "joe@example.com",
                "postmaster@example.com": "joe@example.com",
                "postmaster@else.example": None,
            },
        )
        self.assertTrue(known.namesPostmaster)
        self.assertTrue(table("postmaster@example.com joe@example.com").namesPostmaster)

    def test_everybody(self) -> None:
        """Every other address, as it is or to one."""
        known = table("*\nann@example.com joe@example.com")
        self.assertFound(
            known, {"Eve@else.example": "Eve@else.example", "ann@example.com": "joe@example.com"}
        )
        self.assertTrue(known.namesPostmaster)
        self.assertFound(table("* joe@example.com"), {"eve@else.example": "joe@example.com"})

    def test_dispose(self) -> None:
        """An old table is emptied."""
        known = table("*\n@example.com")
        known.dispose()
        self.assertEqual(str(known), "0 lines, 0 domains")

    def test_text(self) -> None:
        """What is kept is text: the garbage collector looks at nothing, however long the file."""
        known = table("joe@example.com\nann@example.com joe@example.com, eve@example.org")
        self.assertFalse(any(map(gc.is_tracked, known._entries.values())))

    def test_quoted(self) -> None:
        """A local part may be quoted, blanks and commas and all."""
        known = table('"joe, jr."@example.com\n"a b"@example.com joe@example.com\n')
        found = known.find("joe, jr.", "example.com")
        self.assertEqual([text for _, _, text in found or ()], ['"joe, jr."@example.com'])
        self.assertEqual(self.find(known, "a b@example.com"), ["joe@example.com"])

    def test_refused(self) -> None:
        """What is wrong is said with the line's number, and nothing of the line."""
        address = "line 2: an address must be written as joe@example.com"
        for line, reason in {
            "joe": address,
            "joe@": address,
            "joe@example.com joe": address,
            "joe@example.com @example.com": address,
            "joe@example.com> x@example.com": address,
            "@a.example,@b.example:joe@example.com": "line 2: a line must be: address, blanks",
            "<joe@example.com>": address,
            "@under_score": "line 2: a domain must be written as @example.com (",
            "@[1.2]": "line 2: a domain must be written as @example.com (",
            "FIRST@example.com": "line 2: line 1 has the same address",
            ",": "line 2: a line must be: address, blanks, targets separated by commas",
        }.items():
            refusal = self.refused(f"first@example.com\n{line}\n")
            self.assertTrue(refusal.startswith(reason), f"{line}: {refusal}")

"""Three commands that need more of the conversation than a line: a challenge, octets, a restart."""

from __future__ import annotations

from typing import Any

from twisted_smtpserver import Extension, Reply

#: The most octets that XNOTE takes: the client names the number.
MOST_OCTETS = 4096


class Conversing(Extension):
    """
    XSECRET asks for a word, XNOTE takes octets as they are, XAGAIN starts over.

    :param word: the word that XSECRET wants to hear.
    """

    keyword = "XCONVERSING"

    def __init__(self, word: bytes) -> None:
        self._word = word
        self.verbs = {"XSECRET": self._secret, "XNOTE": self._note, "XAGAIN": self._again}

    def _secret(self, dialogue: Any, argument: bytes) -> Any:
        dialogue.takeLine(lambda line: self._answered(dialogue, line))
        return Reply(334, None, "What is the word?")

    def _answered(self, dialogue: Any, line: bytes) -> Any:
        if line == self._word:
            dialogue.session.data["knowsTheWord"] = True
            return Reply(250, "2.0.0", "You may pass")
        # A second, so that nobody tries all words.
        return dialogue.later(1, Reply(550, "5.7.1", "That is not the word"))

    def _note(self, dialogue: Any, argument: bytes) -> Any:
        # int() would take blanks, signs and thousands of digits, and not in linear time.
        count = int(argument) if argument.isdigit() and len(argument) < 6 else 0
        if not 0 < count <= MOST_OCTETS:
            # Nobody knows whether octets follow, and how many: they mustn't be run as commands.
            dialogue.closeAfterReply("malformed XNOTE")
            return Reply(501, "5.5.4", f"XNOTE takes a number of up to {MOST_OCTETS} octets")
        pieces: list[bytes] = []

        def done() -> Reply:
            dialogue.session.data["note"] = b"".join(pieces)
            return Reply(250, "2.0.0", f"{count} octets noted")

        return dialogue.receiveOctets(count, pieces.append, done)

    def _again(self, dialogue: Any, argument: bytes) -> Any:
        return dialogue.startOver(lambda: None, lambda _: dialogue.greeting())

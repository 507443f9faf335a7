"""Tests for :mod:`twisted_smtpserver.sasl.scram`."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_smtpserver.sasl import (
    Ask,
    Challenge,
    Credentials,
    Done,
    Failed,
    FakeSecrets,
    Reason,
    SaslContext,
    ScramQuery,
    ScramSecret,
    Step,
    scram,
    scramSecret,
)
from twisted_smtpserver.sasl.scram import ScramSha256, ScramSha256Plus

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
PENCIL = scramSecret("pencil", SALT)
CHANNEL = bytes(range(32))
CONTEXT = SaslContext("mx.example.com", fakes=FakeSecrets(b"k" * 32))
BOUND = replace(CONTEXT, channelBinding=CHANNEL, plusOffered=True)
MALFORMED = Failed(Reason.MALFORMED)
REFUSED = Failed(Reason.CREDENTIALS)


class Client:
    """A SCRAM-SHA-256 client, written from RFC 5802 and sharing nothing with the server's code."""

    def __init__(
        self, name: str, password: str, header: str = "n,,", channel: bytes = b"", nonce: str = "cn"
    ) -> None:
        self.password = password.encode()
        self.header = header
        self.channel = channel
        self.bare = f"n={name.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        self.nonce = nonce

    def first(self) -> bytes:
        """The client's first message."""
        return f"{self.header}{self.bare}".encode()

    def final(self, serverFirst: bytes, nonce: str | None = None) -> bytes:
        """The client's proof, for the server's first message and perhaps for another nonce."""
        fields = dict(part.split("=", 1) for part in serverFirst.decode().split(","))
        assert fields["r"].startswith(self.nonce) and len(fields["r"]) >= len(self.nonce) + 24
        salted = self._iterated(base64.b64decode(fields["s"]), int(fields["i"]))
        binding = base64.b64encode(self.header.encode() + self.channel).decode()
        unproved = f"c={binding},r={nonce or fields['r']}"
        message = f"{self.bare},{serverFirst.decode()},{unproved}".encode()
        clientKey = self._mac(salted, b"Client Key")
        signature = self._mac(hashlib.new("sha256", clientKey).digest(), message)
        self.expected = self._mac(self._mac(salted, b"Server Key"), message)
        proof = int.from_bytes(clientKey, "big") ^ int.from_bytes(signature, "big")
        return f"{unproved},p={base64.b64encode(proof.to_bytes(32, 'big')).decode()}".encode()

    def trusts(self, serverFinal: bytes) -> bool:
        """Whether the server's last message proves that it knows the secret."""
        return serverFinal == b"v=" + base64.b64encode(self.expected)

    @staticmethod
    def _mac(key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text, hashlib.sha256).digest()

    def _iterated(self, salt: bytes, iterations: int) -> bytes:
        """``Hi`` of RFC 5802 §2.2, round by round."""
        block = self._mac(self.password, salt + b"\0\0\0\1")
        result = int.from_bytes(block, "big")
        for _ in range(iterations - 1):
            block = self._mac(self.password, block)
            result ^= int.from_bytes(block, "big")
        return result.to_bytes(32, "big")


def begin(mechanism: ScramSha256, first: bytes, secret: ScramSecret | None = PENCIL) -> bytes:
    """Play until the server's first message, and return that."""
    asked = mechanism.step(first)
    assert isinstance(asked, Ask), asked
    step = mechanism.answer(secret)
    assert isinstance(step, Challenge)
    return step.data


def exchange(mechanism: ScramSha256, client: Client, secret: ScramSecret | None = PENCIL) -> Step:
    """Play until the step that follows the client's proof."""
    return mechanism.step(client.final(begin(mechanism, client.first(), secret)))


class ExchangeTests(SynchronousTestCase):
    """Whole exchanges."""

    def test_example(self) -> None:
        """The exchange of RFC 7677 §3, octet by octet."""
        self.patch(scram, "_serverNonce", lambda context: b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
        mechanism = ScramSha256(CONTEXT)
        self.assertEqual(
            mechanism.step(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"),
            Ask(ScramQuery("user", "SCRAM-SHA-256")),
        )
        nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        self.assertEqual(
            mechanism.answer(PENCIL),
            Challenge(b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
        )
        self.assertEqual(
            mechanism.step(
                b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
            ),
            Challenge(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
        )
        self.assertEqual(
            mechanism.step(b""),
            Done(
                Credentials("SCRAM-SHA-256", "user", authcid="user", verified=True),
                b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        )

    def test_provesBothSides(self) -> None:
        """An independent client is let in, and trusts the server, with each GS2 header."""
        for kind, context, header, channel in (
            (ScramSha256, CONTEXT, "n,,", b""),
            (ScramSha256, CONTEXT, "y,,", b""),
            (ScramSha256, BOUND, "n,,", b""),
            (ScramSha256, CONTEXT, "n,a=b=2Cc,", b""),
            (ScramSha256Plus, BOUND, "p=tls-exporter,,", CHANNEL),
            (ScramSha256Plus, BOUND, "p=tls-exporter,a=b=2Cc,", CHANNEL),
        ):
            with self.subTest(kind=kind, header=header):
                client, mechanism = Client("u,s=r", "pencil", header, channel), kind(context)
                step = exchange(mechanism, client)
                assert isinstance(step, Challenge)
                self.assertTrue(client.trusts(step.data))
                done = mechanism.step(b"")
                assert isinstance(done, Done)
                self.assertEqual(done.finalData, step.data)
                self.assertEqual(
                    done.credentials,
                    Credentials(
                        kind.name,
                        "u,s=r",
                        authcid="u,s=r",
                        authzid="b,c" if "a=" in header else None,
                        verified=True,
                    ),
                )

    def test_emptyInitialResponse(self) -> None:
        """Without an initial response the client is asked for its first message."""
        mechanism = ScramSha256(CONTEXT)
        self.assertEqual(mechanism.step(None), Challenge(b""))
        self.assertIsInstance(exchange(mechanism, Client("user", "pencil")), Challenge)

    def test_wrongPassword(self) -> None:
        """A wrong password fails at the proof, for good."""
        mechanism = ScramSha256(CONTEXT)
        self.assertEqual(exchange(mechanism, Client("user", "pencils")), REFUSED)
        self.assertEqual(mechanism.step(b""), MALFORMED)

    def test_stolenServerKeyIsNoPassword(self) -> None:
        """A secret with another stored key lets the password's owner not in."""
        secret = replace(PENCIL, storedKey=PENCIL.serverKey)
        self.assertEqual(exchange(ScramSha256(CONTEXT), Client("user", "pencil"), secret), REFUSED)

    def test_acknowledgementIsEmpty(self) -> None:
        """Only an empty response ends the exchange in success."""
        for response in (b"\0", b"v", None):
            with self.subTest(response=response):
                mechanism = ScramSha256(CONTEXT)
                self.assertIsInstance(exchange(mechanism, Client("user", "pencil")), Challenge)
                self.assertEqual(mechanism.step(response), MALFORMED)
                self.assertEqual(mechanism.step(b""), MALFORMED)

    def test_nonceIsFresh(self) -> None:
        """A recorded proof is of no use in another exchange."""
        client = Client("user", "pencil")
        recorded = client.final(begin(ScramSha256(CONTEXT), client.first()))
        mechanism = ScramSha256(CONTEXT)
        begin(mechanism, client.first())
        self.assertEqual(mechanism.step(recorded), REFUSED)

    def test_nonceComesFromContext(self) -> None:
        """The server's part of the nonce is 18 octets of the injected randomness."""
        context = replace(CONTEXT, random=lambda count: b"\xff" * count)
        message = begin(ScramSha256(context), b"n,,n=user,r=abc")
        self.assertTrue(message.startswith(b"r=abc" + b"/" * 24 + b",s="))

    def test_nonceMustBeRepeated(self) -> None:
        """A proof that is right, but made for another nonce, is refused (RFC 5802 §5.1)."""
        for nonce in ("cn", "x", "cn" + "A" * 24):
            with self.subTest(nonce=nonce):
                client, mechanism = Client("user", "pencil"), ScramSha256(CONTEXT)
                message = begin(mechanism, client.first())
                self.assertEqual(mechanism.step(client.final(message, nonce)), REFUSED)

    def test_extensions(self) -> None:
        """Optional extensions are tolerated in both messages, and are part of the proof."""
        client = Client("user", "pencil")
        client.bare += ",x=y=z,Q=\u00f6"
        mechanism = ScramSha256(CONTEXT)
        message = begin(mechanism, client.first())
        self.assertIsInstance(mechanism.step(client.final(message)), Challenge)
        mechanism = ScramSha256(CONTEXT)
        final = client.final(begin(mechanism, client.first()))
        self.assertEqual(mechanism.step(final.replace(b",p=", b",t=1,p=")), REFUSED)

    def test_namesArePrepared(self) -> None:
        """The name is looked up prepared, and hashed as it was sent (RFC 5802 §5.1)."""
        mechanism = ScramSha256(CONTEXT)
        client = Client("I\u00adX\u00aa", "pencil")
        self.assertEqual(mechanism.step(client.first()), Ask(ScramQuery("IXa", "SCRAM-SHA-256")))
        answered = mechanism.answer(PENCIL)
        assert isinstance(answered, Challenge)
        self.assertIsInstance(mechanism.step(client.final(answered.data)), Challenge)
        done = mechanism.step(b"")
        assert isinstance(done, Done)
        self.assertEqual(done.credentials.username, "IXa")

    @settings(deadline=None, max_examples=15)
    @given(st.text(st.characters(codec="ascii", min_codepoint=0x21), min_size=1, max_size=70))
    def test_anyPassword(self, password: str) -> None:
        """Whatever the name and the password, the right one is let in and another isn't."""
        assume("\x7f" not in password)
        secret = scramSecret(password)
        good = exchange(ScramSha256(CONTEXT), Client(password, password), secret)
        self.assertIsInstance(good, Challenge)
        bad = exchange(ScramSha256(CONTEXT), Client(password, password + "x"), secret)
        self.assertEqual(bad, REFUSED)


class ChannelBindingTests(SynchronousTestCase):
    """RFC 5802 §6 and RFC 9266."""

    def test_downgradeIsDetected(self) -> None:
        """A client that could bind, and was told that we can't, is warned by failing."""
        self.assertEqual(ScramSha256(BOUND).step(b"y,,n=user,r=cn"), REFUSED)
        self.assertIsInstance(ScramSha256(CONTEXT).step(b"y,,n=user,r=cn"), Ask)

    def test_flagMustFitMechanism(self) -> None:
        """Binding is for -PLUS, and -PLUS is for binding, by tls-exporter only."""
        for kind, header in (
            (ScramSha256, b"p=tls-exporter,,"),
            (ScramSha256Plus, b"n,,"),
            (ScramSha256Plus, b"y,,"),
            (ScramSha256Plus, b"p=tls-unique,,"),
            (ScramSha256Plus, b"p=tls-server-end-point,,"),
        ):
            with self.subTest(kind=kind, header=header):
                self.assertEqual(kind(BOUND).step(header + b"n=user,r=cn"), MALFORMED)

    def test_needsChannel(self) -> None:
        """Without octets of a channel nothing is bound to it."""
        for channel in (None, b"", lambda: None):
            with self.subTest(channel=channel):
                context = replace(CONTEXT, channelBinding=channel)
                step = ScramSha256Plus(context).step(b"p=tls-exporter,,n=user,r=cn")
                self.assertEqual(step, REFUSED)

    def test_channelFromFunction(self) -> None:
        """The octets may come from a function."""
        context = replace(CONTEXT, channelBinding=lambda: CHANNEL)
        client = Client("user", "pencil", "p=tls-exporter,,", CHANNEL)
        self.assertIsInstance(exchange(ScramSha256Plus(context), client), Challenge)

    def test_otherChannelIsRefused(self) -> None:
        """Somebody in between has another TLS channel, and can't pass on a proof."""
        for channel in (b"", CHANNEL[:-1], CHANNEL[::-1], CHANNEL + b"\0"):
            with self.subTest(channel=channel):
                client = Client("user", "pencil", "p=tls-exporter,,", channel)
                self.assertEqual(exchange(ScramSha256Plus(BOUND), client), REFUSED)

    def test_headerMustBeRepeated(self) -> None:
        """A header changed on the way, or data where none is due, is refused."""
        for header, channel in (("y,,", b""), ("n,a=root,", b""), ("n,,", b"x")):
            with self.subTest(header=header, channel=channel):
                client = Client("user", "pencil", header, channel)
                mechanism = ScramSha256(CONTEXT)
                message = begin(mechanism, b"n,," + client.bare.encode())
                self.assertEqual(mechanism.step(client.final(message)), REFUSED)


class UnknownUserTests(SynchronousTestCase):
    """Whoever guesses names learns nothing."""

    def saltOf(self, name: str, context: SaslContext = CONTEXT) -> tuple[bytes, bytes]:
        """Salt and iterations that a name seems to have."""
        message = begin(ScramSha256(context), f"n,,n={name},r=cn".encode(), None)
        _, salt, iterations = message.split(b",")
        return salt, iterations

    def test_saltIsStable(self) -> None:
        """A name has the same salt each time, and another name another one."""
        self.assertEqual(self.saltOf("ann"), self.saltOf("ann"))
        self.assertNotEqual(self.saltOf("ann"), self.saltOf("bob"))

    def test_saltNeedsKey(self) -> None:
        """Without the key nobody can tell a fake salt."""
        other = replace(CONTEXT, fakes=FakeSecrets(b"o" * 32))
        self.assertNotEqual(self.saltOf("ann"), self.saltOf("ann", other))

    def test_bothMechanismsAgree(self) -> None:
        """A real user has one salt for both variants, so a fake one does, too."""
        plain = begin(ScramSha256(BOUND), b"n,,n=ann,r=cn", None)
        plus = begin(ScramSha256Plus(BOUND), b"p=tls-exporter,,n=ann,r=cn", None)
        self.assertEqual(plain.split(b",")[1:], plus.split(b",")[1:])

    def test_looksReal(self) -> None:
        """Salt length and iterations are those of a secret made with the same settings."""
        context = replace(CONTEXT, fakes=FakeSecrets(b"k" * 32, 5000))
        real = begin(ScramSha256(context), b"n,,n=u,r=cn", scramSecret("x", None, 5000))
        salt, iterations = self.saltOf("u", context)
        self.assertEqual(iterations, real.split(b",")[2])
        self.assertEqual(len(salt), len(real.split(b",")[1]))

    def test_failsAsWrongPassword(self) -> None:
        """The exchange has the same steps as with a wrong password, and the same end."""
        for secret in (None, PENCIL):
            with self.subTest(secret=secret):
                client, mechanism = Client("ann", "wrong"), ScramSha256(CONTEXT)
                self.assertEqual(exchange(mechanism, client, secret), REFUSED)

    def test_failsEvenWithRightProof(self) -> None:
        """Should somebody know the fake secret's password, there is still no such user."""

        class Known(FakeSecrets):
            def secretOf(self, username: str) -> ScramSecret:
                return PENCIL

        mechanism = ScramSha256(replace(CONTEXT, fakes=Known()))
        self.assertEqual(exchange(mechanism, Client("ann", "pencil"), None), REFUSED)


class MalformedTests(SynchronousTestCase):
    """Bad messages."""

    def test_firstMessage(self) -> None:
        """What isn't of RFC 5802's grammar, or has no usable name, is malformed."""
        for message in (
            b"",
            b"n,,",
            b"n=user,r=cn",
            b"n,n=user,r=cn",
            b"n,,n=user",
            b"n,,r=cn",
            b"n,,r=cn,n=user",
            b"n,,n=,r=cn",
            b"n,,n=user,r=",
            b"n,,n=user,r=c n",
            b"n,,n=user,r=c\xc3\xb6",
            b"n,,n=user,r=" + b"c" * 513,
            b"n,,n=user,r=cn,",
            b"n,,n=user,r=cn,x",
            b"n,,n=user,r=cn,x=",
            b"n,,n=user,r=cn,1=x",
            b"n,,n=user,r=cn,x=\0",
            b"n,,n=user,r=cn,x=\xff",
            b"n,,n=user,r=cn\n",
            b"n,,m=x,n=user,r=cn",
            b"n,,n=user,r=cn,m=x",
            b"n,,n=user,r=cn,r=other",
            b"n,,n=user,r=cn,n=root",
            b"n,,n=us=er,r=cn",
            b"n,,n=us\0er,r=cn",
            b"n,,n=us\ner,r=cn",
            b"n,,n=us\xc2\x85er,r=cn",
            b"n,,n=\xff,r=cn",
            b"n,,n=\xc2\xad,r=cn",
            b"n,,n=\xee\x80\x80,r=cn",
            b"n,,n=" + b"u" * 256 + b",r=cn",
            "n,,n={},r=cn".format("\ufdfa" * 80).encode(),
            b"n,a=,n=user,r=cn",
            b"n,a=\n,n=user,r=cn",
            b"p=,,n=user,r=cn",
        ):
            with self.subTest(message=message):
                mechanism = ScramSha256(CONTEXT)
                self.assertEqual(mechanism.step(message), MALFORMED)
                self.assertEqual(mechanism.step(b"n,,n=user,r=cn"), MALFORMED)
                with self.assertRaises(RuntimeError):
                    mechanism.answer(PENCIL)

    def test_longestNonce(self) -> None:
        """A nonce of 512 octets is taken, with all its printable characters."""
        mechanism = ScramSha256(CONTEXT)
        self.assertIsInstance(mechanism.step(b"n,,n=user,r=!~=" + b"c" * 509), Ask)

    def test_finalMessage(self) -> None:
        """What isn't of the grammar is malformed, even if the proof is in it."""
        client = Client("user", "pencil")
        for old, new in (
            (b"c=biws,", b""),
            (b"c=biws", b"c="),
            (b"c=biws", b"c=bi ws"),
            (b"c=biws", b"c==biws"),
            (b"c=biws", b"m=x,c=biws"),
            (b"c=biws", b"x=y,c=biws"),
            (b"r=cn", b"r=c\xc3\xb6"),
            (b",p=", b",m=x,p="),
            (b",p=", b",r=x,p="),
            (b",p=", b",p=x,p="),
            (b",p=", b",x=\xff,p="),
            (b",p=", b",x=\0,p="),
            (b",p=", b",P="),
            (b",p=", b",p=A"),
            (b",p=", b",p=*"),
            (b"=", b""),
        ):
            with self.subTest(new=new):
                mechanism = ScramSha256(CONTEXT)
                final = client.final(begin(mechanism, client.first()))
                self.assertIn(old, final)
                self.assertEqual(mechanism.step(final.replace(old, new)), MALFORMED)
        for tail in (b"\n", b",x=y", b"=", b" "):
            with self.subTest(tail=tail):
                mechanism = ScramSha256(CONTEXT)
                final = client.final(begin(mechanism, client.first()))
                self.assertEqual(mechanism.step(final + tail), MALFORMED)


class HostileTests(SynchronousTestCase):
    """Any octets at all."""

    @settings(deadline=None, max_examples=200)
    @given(st.data())
    def test_everyChangedOctetFails(self, data: st.DataObject) -> None:
        """One changed, missing or added octet in the last message never gets in."""
        context = replace(CONTEXT, random=lambda count: b"\1" * count)
        mechanism = ScramSha256(context)
        begin(mechanism, b"n,,n=user,r=cn")
        at = data.draw(st.integers(0, len(FINAL) - 1))
        instead = data.draw(st.binary(max_size=2))
        changed = FINAL[:at] + instead + FINAL[at + 1 :]
        assume(changed != FINAL)
        self.assertIn(mechanism.step(changed), (MALFORMED, REFUSED))

    def test_unchangedSucceeds(self) -> None:
        """The message that the property changes would get in as it is."""
        mechanism = ScramSha256(replace(CONTEXT, random=lambda count: b"\1" * count))
        begin(mechanism, b"n,,n=user,r=cn")
        self.assertIsInstance(mechanism.step(FINAL), Challenge)

    def test_noSecretInSight(self) -> None:
        """Neither the steps nor the mechanism nor the secret show a key."""
        mechanism = ScramSha256(CONTEXT)
        client = Client("user", "pencil")
        shown = [repr(PENCIL), repr(mechanism)]
        shown.append(repr(mechanism.step(client.first())))
        step = mechanism.answer(PENCIL)
        assert isinstance(step, Challenge)
        shown += [repr(step), repr(mechanism.step(client.final(step.data)))]
        shown += [repr(mechanism.step(b"")), repr(mechanism)]
        for key in (PENCIL.storedKey, PENCIL.serverKey):
            for form in (repr(key)[2:-1], base64.b64encode(key).decode(), key.hex()):
                self.assertNotIn(form, "".join(shown))


def _final() -> bytes:
    """A valid last message for the nonce of the property above."""
    mechanism = ScramSha256(replace(CONTEXT, random=lambda count: b"\1" * count))
    client = Client("user", "pencil")
    return client.final(begin(mechanism, client.first()))


FINAL = _final()

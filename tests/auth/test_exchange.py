"""AUTH over the wire: RFC 4954."""

from __future__ import annotations

import base64
import hmac

from OpenSSL import SSL
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.sasl.test_scramsecret import EMPTY
from tests.support.certificates import makeCA, makeCertificate
from tests.support.talk import Later, Log, sayScram
from twisted_smtpserver import Authenticated, AuthenticationFailed, ConfigurationError, Rejection
from twisted_smtpserver.auth.exchange import peerIdentity
from twisted_smtpserver.handlers import CredHandler, fromFunctions
from twisted_smtpserver.sasl import ScramSecret, scramSecret
from twisted_smtpserver.session import Session
from twisted_smtpserver.testing import Client, connect, makeFactory
from twisted_smtpserver.tls.context import TLSInfo


def b64(text: str) -> str:
    """Encode a response."""
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


class Users:
    """Knows joe, whose password is sesame."""

    def __init__(self):
        self.asked = []

    def onAuth(self, credentials, session):
        self.asked.append(credentials)
        if credentials.verified:
            return credentials.username
        if credentials.accessToken is not None:
            if credentials.accessToken == "token":
                return credentials.username
            raise AuthenticationFailed(data={"status": "401", "schemes": "bearer"})
        if credentials.username == "joe" and credentials.validatePassword("sesame"):
            return credentials.username
        return None


class ScramUsers(Users):
    """Keeps a SCRAM secret, too."""

    def scramSecret(self, username, mechanism, session):
        return scramSecret("sesame", salt=b"s" * 16) if username == "joe" else None


def greeted(handler=None, **options) -> Client:
    """A client that has said hello, with AUTH allowed in clear."""
    options.setdefault("allowInsecureAuth", True)
    options.setdefault("authFailureDelay", 0)
    options.setdefault("loginDelay", 0)
    client = connect(handler or Users(), **options)
    client.say("EHLO client.example")
    return client


def presenting(certified) -> SSL.Context:
    """A client's TLS context with a certificate."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.use_certificate(certified.certificate)
    context.use_privatekey(certified.key)
    return context


PLAIN_JOE = "AUTH PLAIN " + b64("\0joe\0sesame")
PLAIN_WRONG = "AUTH PLAIN " + b64("\0joe\0wrong")


class OfferTests(SynchronousTestCase):
    """When AUTH is offered."""

    def keywords(self, handler=None, **options):
        return connect(handler or Users(), **options).say("EHLO client.example").lines[1:]

    def test_notWithoutHandler(self):
        """Without an onAuth there is no AUTH."""
        client = connect(onData=lambda stream, session: None, allowInsecureAuth=True)
        answer = client.say("EHLO client.example")
        self.assertFalse([line for line in answer.lines if line.startswith("AUTH")])
        self.assertEqual(client.say(PLAIN_JOE).code, 502)
        self.assertEqual(client.say("MAIL FROM:<a@b.example>").code, 250)

    def test_notInClear(self):
        """In clear AUTH isn't listed, and trying it is answered 538."""
        client = connect(Users())
        answer = client.say("EHLO client.example")
        self.assertFalse([line for line in answer.lines if line.startswith("AUTH")])
        answer = client.say(PLAIN_JOE)
        self.assertEqual((answer.code, answer.enhanced), (538, "5.7.11"))

    def test_underTLS(self):
        """Under TLS it is listed."""
        client = connect(Users(), selfSigned=True)
        client.say("EHLO client.example")
        client.say("STARTTLS")
        client.startTLS()
        self.assertIn("AUTH PLAIN LOGIN", client.say("EHLO client.example").lines)
        self.assertEqual(client.say(PLAIN_JOE).code, 235)
        self.assertEqual(client.session.transmissionType, "ESMTPSA")

    def test_insecureAllowed(self):
        """allowInsecureAuth lists it in clear."""
        self.assertIn("AUTH PLAIN LOGIN", self.keywords(allowInsecureAuth=True))

    def test_methods(self):
        """authMethods are listed in their order."""
        lines = self.keywords(allowInsecureAuth=True, authMethods=["cram-md5", "XOAUTH2"])
        self.assertIn("AUTH CRAM-MD5 XOAUTH2", lines)

    def test_unknownMethod(self):
        """A mechanism that doesn't exist is refused when the server is built."""
        error = self.assertRaises(ConfigurationError, makeFactory, authMethods=["PLANE"])
        self.assertIn("did you mean 'PLAIN'", str(error))

    def test_unusableMechanisms(self):
        """SCRAM isn't offered without stored secrets, EXTERNAL not without a certificate."""
        lines = self.keywords(
            allowInsecureAuth=True, authMethods=["SCRAM-SHA-256", "EXTERNAL", "PLAIN"]
        )
        self.assertIn("AUTH PLAIN", lines)

    def test_nothingUsable(self):
        """If no mechanism can work, AUTH isn't listed."""
        lines = self.keywords(allowInsecureAuth=True, authMethods=["EXTERNAL"])
        self.assertFalse([line for line in lines if line.startswith("AUTH")])

    def test_disabled(self):
        """A disabled AUTH is neither offered nor required."""
        client = connect(Users(), allowInsecureAuth=True, disabledCommands=["AUTH"])
        answer = client.say("EHLO client.example")
        self.assertFalse([line for line in answer.lines if line.startswith("AUTH")])
        self.assertEqual(client.say(PLAIN_JOE).code, 502)
        self.assertEqual(client.say("MAIL FROM:<a@b.example>").code, 250)


class RequirementTests(SynchronousTestCase):
    """When a login is required."""

    def test_required(self):
        """MAIL before a login is answered 530."""
        client = greeted()
        answer = client.say("MAIL FROM:<a@b.example>")
        self.assertEqual((answer.code, answer.enhanced), (530, "5.7.0"))
        client.say(PLAIN_JOE)
        self.assertEqual(client.say("MAIL FROM:<a@b.example>").code, 250)

    def test_message(self):
        """authRequiredMessage is the text of the 530."""
        client = greeted(authRequiredMessage="Log in, please")
        self.assertEqual(client.say("MAIL FROM:<a@b.example>").text, "Log in, please")

    def test_optional(self):
        """authOptional offers without requiring."""
        client = greeted(authOptional=True)
        self.assertEqual(client.say("MAIL FROM:<a@b.example>").code, 250)

    def test_unauthenticatedCommands(self):
        """Too many commands before a login are answered 421; AUTH isn't counted."""
        client = greeted(maxAllowedUnauthenticatedCommands=4)
        for _ in range(5):
            self.assertEqual(client.say("AUTH FOO").code, 504)
        self.assertEqual([client.say("NOOP").code for _ in range(3)], [250, 250, 421])
        self.assertTrue(client.isClosed)

    def test_unauthenticatedCommandsOff(self):
        """False means no limit."""
        client = greeted(maxAllowedUnauthenticatedCommands=False)
        self.assertEqual({client.say("NOOP").code for _ in range(50)}, {250})

    def test_unauthenticatedCommandsWhereNoLoginIsRequired(self):
        """Where no login is required nothing is counted."""
        client = greeted(authOptional=True, maxAllowedUnauthenticatedCommands=2)
        self.assertEqual({client.say("NOOP").code for _ in range(50)}, {250})


class CommandTests(SynchronousTestCase):
    """The command itself, RFC 4954 §4."""

    def test_badInput(self):
        """Each mistake has its own reply."""
        for command, code, enhanced in [
            ("AUTH", 501, "5.5.4"),
            ("AUTH PLAIN a b", 501, "5.5.4"),
            ("AUTH FOO", 504, "5.5.4"),
            ("AUTH PLAIN ***", 501, "5.5.2"),
            ("AUTH PLAIN AGpv", 501, "5.5.2"),
            ("AUTH PLAIN " + b64("joe\0sesame"), 501, "5.5.2"),
            ("AUTH PLAIN " + b64("\0j\roe\0sesame"), 501, "5.5.2"),
            ("AUTH PLAIN =", 501, "5.5.2"),
        ]:
            answer = greeted().say(command)
            self.assertEqual((answer.code, answer.enhanced), (code, enhanced), command)

    def test_outOfPlace(self):
        """AUTH before the hello, twice, or in a transaction is answered 503."""
        client = connect(Users(), allowInsecureAuth=True, authOptional=True)
        self.assertEqual(client.say(PLAIN_JOE).code, 503)
        client.say("EHLO client.example")
        client.say("MAIL FROM:<a@b.example>")
        self.assertEqual(client.say(PLAIN_JOE).code, 503)
        client.say("RSET")
        self.assertEqual(client.say(PLAIN_JOE).code, 235)
        answer = client.say(PLAIN_JOE)
        self.assertEqual((answer.code, answer.enhanced), (503, "5.5.1"))

    def test_cancel(self):
        """A lone asterisk cancels."""
        client = greeted()
        self.assertEqual(client.say("AUTH PLAIN").code, 334)
        self.assertEqual(client.say("*").code, 501)
        self.assertEqual(client.say("NOOP").code, 250)

    def test_responseIsNoCommand(self):
        """What follows a challenge is a response, whatever it looks like."""
        client = greeted()
        client.say("AUTH LOGIN")
        answer = client.say("QUIT")
        self.assertFalse(client.isClosed)
        self.assertEqual(answer.code, 501)  # base64 of three octets, but no user name

    def test_overlongLine(self):
        """A response longer than RFC 4954 allows is skipped, and the exchange is over."""
        client = greeted()
        client.say("AUTH PLAIN")
        answer = client.say("A" * 20000)
        self.assertEqual((answer.code, answer.enhanced), (500, "5.5.6"))
        self.assertEqual(client.say("NOOP").code, 250)

    def test_longLine(self):
        """An AUTH line may be longer than other commands."""
        client = greeted()
        answer = client.say("AUTH PLAIN " + b64("\0joe\0" + "x" * 1000) + "=" * 0)
        self.assertEqual(answer.code, 535)
        self.assertEqual(client.say("AUTH PLAIN " + "A" * 8000).code, 501)

    def test_bareNewline(self):
        """A bare LF in a response ends the connection."""
        client = greeted()
        client.say("AUTH PLAIN")
        client.send(b"AAAA\n")
        self.assertEqual([answer.code for answer in client.answers()], [500])
        self.assertTrue(client.isClosed)


class MechanismTests(SynchronousTestCase):
    """Each mechanism, over the wire."""

    def test_plain(self):
        """PLAIN with and without an initial response."""
        client = greeted()
        answer = client.say(PLAIN_JOE)
        self.assertEqual((answer.code, answer.enhanced), (235, "2.7.0"))
        client = greeted()
        self.assertEqual(client.say("AUTH plain").text, "")
        self.assertIsNone(client.session.authMethod)
        self.assertEqual(client.say(b64("\0joe\0sesame")).code, 235)
        self.assertEqual((client.session.user, client.session.authMethod), ("joe", "PLAIN"))

    def test_login(self):
        """LOGIN asks for both."""
        client = greeted()
        self.assertEqual(base64.b64decode(client.say("AUTH LOGIN").text), b"Username:")
        self.assertEqual(base64.b64decode(client.say(b64("joe")).text), b"Password:")
        self.assertEqual(client.say(b64("sesame")).code, 235)

    def test_cramMD5(self):
        """CRAM-MD5: the same hook validates the password."""
        client = greeted(authMethods=["CRAM-MD5"])
        challenge = base64.b64decode(client.say("AUTH CRAM-MD5").text)
        digest = hmac.new(b"sesame", challenge, "md5").hexdigest()
        self.assertEqual(client.say(b64(f"joe {digest}")).code, 235)

    def test_xoauth2(self):
        """XOAUTH2: a token; a refusal with data is explained first."""
        client = greeted(authMethods=["XOAUTH2"])
        right = b64("user=joe\1auth=Bearer token\1\1")
        wrong = b64("user=joe\1auth=Bearer stale\1\1")
        challenge = client.say("AUTH XOAUTH2 " + wrong)
        self.assertEqual(challenge.code, 334)
        self.assertIn(b'"schemes"', base64.b64decode(challenge.text))
        self.assertEqual(client.say("").code, 535)
        self.assertEqual(client.say("AUTH XOAUTH2 " + right).code, 235)

    def test_tokenRefusedWithoutData(self):
        """RFC 7628 §3.2.2: there is always a status."""
        client = connect(
            onAuth=lambda c, s: None,
            authMethods=["OAUTHBEARER"],
            allowInsecureAuth=True,
            authFailureDelay=0,
        )
        client.say("EHLO client.example")
        challenge = client.say("AUTH OAUTHBEARER " + b64("n,a=joe,\1auth=Bearer stale\1\1"))
        self.assertEqual(challenge.code, 334)
        self.assertIn(b'"status"', base64.b64decode(challenge.text))
        self.assertEqual(client.say("AQ==").code, 535)

    def test_scram(self):
        """SCRAM: the stored secret, then the server's proof, then 235."""
        handler = ScramUsers()
        client = greeted(handler, authMethods=["SCRAM-SHA-256"])
        answer = sayScram(client)
        self.assertEqual(answer.code, 334)
        self.assertTrue(base64.b64decode(answer.text).startswith(b"v="))
        self.assertEqual(client.say("").code, 235)
        self.assertTrue(handler.asked[0].verified)

    def test_scramFailures(self):
        """A wrong password and an unknown user look alike, and the hook isn't asked."""
        for password, name in [("wrong", "joe"), ("sesame", "nobody")]:
            handler = ScramUsers()
            client = greeted(handler, authMethods=["SCRAM-SHA-256"])
            self.assertEqual(sayScram(client, password, name).code, 535)
            self.assertEqual(handler.asked, [])

    def test_scramOfEmptyPassword(self):
        """A secret that another program made of the empty password logs nobody in: 454."""
        handler = ScramUsers()
        handler.scramSecret = lambda *arguments: ScramSecret.fromString(EMPTY)
        client = greeted(handler, authMethods=["SCRAM-SHA-256"])
        self.assertEqual(sayScram(client, password="").code, 334)
        self.assertEqual(client.say("").code, 454)
        self.assertEqual(handler.asked, [])
        (failure,) = self.flushLoggedErrors(ValueError)
        self.assertIn("for joe: give this user another password", failure.getErrorMessage())

    def test_scramSecretRefuses(self):
        """What ``scramSecret`` refuses is a failed login like any other."""
        for error, code in (
            (AuthenticationFailed("Account locked"), 535),
            (Rejection("Account locked", 550), 550),
        ):
            log = Log()
            handler = ScramUsers()
            handler.scramSecret = Later()
            client = greeted(
                handler,
                authMethods=["SCRAM-SHA-256"],
                authFailureDelay=1,
                maxAuthAttempts=1,
                logger=log.logger,
            )
            client.send(b"AUTH SCRAM-SHA-256 " + b64("n,,n=joe,r=clientnonce").encode() + b"\r\n")
            handler.scramSecret.fail(error)
            self.assertEqual(client.answers(), [])
            client.wait(1)
            self.assertEqual([answer.code for answer in client.answers()], [code, 421])
            self.assertEqual([event["username"] for event in log.of("loginFailed")], ["joe"])
        handler.scramSecret = lambda *arguments: fail(Rejection("later", 454))
        client = greeted(handler, authMethods=["SCRAM-SHA-256"], authFailureDelay=1)
        answer = client.say("AUTH SCRAM-SHA-256 " + b64("n,,n=joe,r=clientnonce"))
        self.assertEqual(answer.code, 454)

    def test_scramSecretOfWrongType(self):
        """A hook that returns the password instead of a secret is a bug, not a login."""
        handler = ScramUsers()
        handler.scramSecret = lambda username, mechanism, session: "sesame"
        client = greeted(handler, authMethods=["SCRAM-SHA-256"])
        answer = client.say("AUTH SCRAM-SHA-256 " + b64("n,,n=joe,r=clientnonce"))
        self.assertEqual((answer.code, answer.enhanced), (454, "4.7.0"))
        self.flushLoggedErrors(TypeError)

    def test_external(self):
        """EXTERNAL: the name in the verified certificate."""
        ca = makeCA()
        server = makeCertificate(ca, ["localhost"])
        mine = makeCertificate(ca, [], clientName="joe")
        client = connect(
            Users(),
            key=server.keyPEM,
            cert=server.certPEM,
            ca=ca.certPEM,
            requestCert=True,
            authMethods=["EXTERNAL"],
        )
        client.say("EHLO client.example")
        client.say("STARTTLS")
        client.startTLS(context=presenting(mine))
        self.assertIn("AUTH EXTERNAL", client.say("EHLO client.example").lines)
        self.assertEqual(client.say("AUTH EXTERNAL =").code, 235)
        self.assertEqual(client.session.user, "joe")


class PeerIdentityTests(SynchronousTestCase):
    """Who a client certificate is about."""

    def identity(self, names=(), emails=(), name="joe", authorized=True):
        session = Session()
        certified = makeCertificate(makeCA(), names, clientName=name, emails=emails)
        session.tls = TLSInfo(
            version="TLSv1.3",
            cipher="TLS_AES_256_GCM_SHA384",
            cipherBits=256,
            serverName=None,
            peerCertificate=certified.certificate,
            authorized=authorized,
            alpn=None,
        )
        return peerIdentity(session)

    def test_names(self):
        """The first e-mail address, else the common name."""
        self.assertEqual(
            self.identity(emails=["joe@example.org", "j@example.org"]), "joe@example.org"
        )
        self.assertEqual(self.identity(names=["joe.example"]), "joe")
        self.assertEqual(self.identity(), "joe")

    def test_unverified(self):
        """A certificate that nobody verified is about nobody."""
        self.assertIsNone(self.identity(authorized=False))
        self.assertIsNone(peerIdentity(Session()))


class VerdictTests(SynchronousTestCase):
    """What the handler says, and what becomes of it."""

    def verdict(self, result, **options):
        def onAuth(credentials, session):
            if isinstance(result, Exception):
                raise result
            return result

        client = connect(
            onAuth=onAuth, allowInsecureAuth=True, authFailureDelay=0, logger=False, **options
        )
        client.say("EHLO client.example")
        return client, client.say(PLAIN_JOE)

    def test_users(self):
        """Text, octets and Authenticated log in."""
        someone = object()
        for result, user in [
            ("joe", "joe"),
            (b"joe", b"joe"),
            (Authenticated(someone), someone),
            (Authenticated("joe", "Welcome back"), "joe"),
        ]:
            client, answer = self.verdict(result)
            self.assertEqual((answer.code, client.session.user), (235, user))
        self.assertEqual(answer.text, "Welcome back")

    def test_nobody(self):
        """None refuses with the uniform text."""
        client, answer = self.verdict(None)
        self.assertEqual((answer.code, answer.enhanced), (535, "5.7.8"))
        self.assertIsNone(client.session.user)

    def test_bugs(self):
        """Anything else is a bug, and nobody is logged in by it."""
        for result in [{"user": None}, {"user": "joe"}, "", b"", True, 1, KeyError("joe")]:
            client, answer = self.verdict(result)
            self.assertEqual((answer.code, answer.enhanced), (454, "4.7.0"), result)
            self.assertIn("incident", answer.text)
            self.assertIsNone(client.session.user)

    def test_failsClosed(self):
        """Who is told 454 isn't logged in; nor is a promise of somebody."""
        for user, message in [("joe", 5), (Deferred(), None)]:

            def onAuth(credentials, session, user=user, message=message):
                return Authenticated(user, message)

            client = connect(onAuth=onAuth, allowInsecureAuth=True, logger=False)
            client.say("EHLO client.example")
            self.assertEqual(client.say(PLAIN_JOE).code, 454)
            self.assertIsNone(client.session.user)

    def test_rejections(self):
        """Rejections keep their codes and texts."""
        for error, code, enhanced, text in [
            (AuthenticationFailed("Account locked"), 535, "5.7.8", "Account locked"),
            (AuthenticationFailed(code=534, enhanced="5.7.9"), 534, "5.7.9", None),
            (Rejection("No"), 535, "5.7.8", "No"),
            (Rejection("Later", code=454), 454, "4.7.0", "Later"),
            (AuthenticationFailed("Later", code=454), 454, "4.7.0", "Later"),
        ]:
            _, answer = self.verdict(error)
            self.assertEqual((answer.code, answer.enhanced), (code, enhanced))
            if text:
                self.assertEqual(answer.text, text)

    def test_foreignAuthzid(self):
        """Acting as somebody else is refused, unless the handler grants just that."""
        command = "AUTH PLAIN " + b64("boss\0joe\0sesame")
        client = greeted()
        self.assertEqual(client.say(command).code, 535)
        for granted, code in [("boss", 235), ("ceo", 535)]:
            client = connect(
                onAuth=lambda c, s, granted=granted: Authenticated(c.username, authzid=granted),
                allowInsecureAuth=True,
                authFailureDelay=0,
            )
            client.say("EHLO client.example")
            self.assertEqual(client.say(command).code, code)

    def test_temporaryFailureIsNoAttempt(self):
        """What isn't the client's fault doesn't count."""
        client = connect(
            onAuth=lambda c, s: (_ for _ in ()).throw(Rejection("Later", code=454)),
            allowInsecureAuth=True,
        )
        client.say("EHLO client.example")
        self.assertEqual({client.say(PLAIN_JOE).code for _ in range(8)}, {454})

    def test_timeout(self):
        """A hook that takes too long is canceled."""
        canceled = []
        pending = Deferred(canceled.append)
        client = connect(onAuth=lambda c, s: pending, allowInsecureAuth=True)
        client.say("EHLO client.example")
        client.send(PLAIN_JOE.encode() + b"\r\n")
        client.wait(300)
        self.assertEqual([answer.code for answer in client.answers()], [451])
        self.assertEqual(canceled, [pending])


class ChallengeTests(SynchronousTestCase):
    """Challenges are one line each, however long, and can be canceled."""

    def refused(self, data, code=None, logger=False):
        def onAuth(credentials, session):
            raise AuthenticationFailed(data=data, code=code)

        client = connect(
            onAuth=onAuth,
            allowInsecureAuth=True,
            authMethods=["XOAUTH2"],
            authFailureDelay=0,
            maxAuthAttempts=2,
            logger=logger,
        )
        client.say("EHLO client.example")
        return client, client.say("AUTH XOAUTH2 " + b64("user=joe\1auth=Bearer stale\1\1"))

    def test_longChallenge(self):
        """RFC 4954 §4 knows no challenge of several lines."""
        _, challenge = self.refused({"scope": "s" * 600})
        self.assertEqual((challenge.code, len(challenge.lines)), (334, 1))
        self.assertIn(b"s" * 600, base64.b64decode(challenge.text))

    def test_canceled(self):
        """An asterisk is answered 501, and counts as the failure that it was."""
        client, _ = self.refused({})
        self.assertEqual(client.say("*").code, 501)
        client.say("AUTH XOAUTH2 " + b64("user=joe\1auth=Bearer stale\1\1"))
        client.send(b"*\r\n")
        self.assertEqual([answer.code for answer in client.answers()], [501, 421])

    def test_leaves(self):
        """Who leaves at the challenge has been refused, and it is counted and logged."""
        log = Log()
        client, _ = self.refused({}, logger=log.logger)
        self.assertEqual(client.protocol.dialogue.failedLogins, 1)
        client.lose()
        self.assertEqual([event["username"] for event in log.of("loginFailed")], ["joe"])
        known = client.protocol.factory.loginFailures._clients
        self.assertEqual([count for _, count, *_ in known.values()], [1])

    def test_notTheClients(self):
        """A refusal for now doesn't count, canceled or not."""
        client, _ = self.refused({}, code=454)
        self.assertEqual(client.say("").code, 454)
        client.say("AUTH XOAUTH2 " + b64("user=joe\1auth=Bearer stale\1\1"))
        self.assertEqual(client.say("*").code, 501)
        self.assertEqual(client.protocol.dialogue.failedLogins, 0)

    def test_badData(self):
        """Data that isn't text is a bug."""
        _, answer = self.refused({"status": 401})
        self.assertEqual((answer.code, answer.enhanced), (454, "4.7.0"))


class FakeSecretTests(SynchronousTestCase):
    """What SCRAM tells of a user who doesn't exist."""

    def test_options(self):
        """scramIterations and scramSaltKey are what such a user seems to have."""
        told = []
        for _ in range(2):
            client = greeted(
                ScramUsers(),
                authMethods=["SCRAM-SHA-256"],
                scramIterations=15000,
                scramSaltKey=b"k" * 16,
            )
            first = client.say("AUTH SCRAM-SHA-256 " + b64("n,,n=nobody,r=clientnonce")).text
            told.append(base64.b64decode(first).split(b",")[1:])
        self.assertEqual(told[0][1], b"i=15000")
        self.assertEqual(told[0], told[1])


class FailureScheduleTests(SynchronousTestCase):
    """Failed logins are answered on one schedule, and not too often."""

    def test_delay(self):
        """The refusal comes a second after the command, however quick the hook was."""
        client = greeted(authFailureDelay=1)
        client.send(PLAIN_WRONG.encode() + b"\r\n")
        client.wait(0.9)
        self.assertEqual(client.answers(), [])
        client.wait(0.1)
        self.assertEqual([answer.code for answer in client.answers()], [535])

    def test_slowHook(self):
        """A hook that takes longer than a slot is answered in the next."""
        pending = Deferred()
        client = connect(onAuth=lambda c, s: pending, allowInsecureAuth=True)
        client.say("EHLO client.example")
        client.send(PLAIN_WRONG.encode() + b"\r\n")
        client.wait(1.25)
        pending.callback(None)
        client.wait(0.5)
        self.assertEqual(client.answers(), [])
        client.wait(0.25)
        self.assertEqual([answer.code for answer in client.answers()], [535])

    def test_shortHandlerTimeout(self):
        """It is no matter of handlerTimeout: failures are answered as such, and counted."""
        for onAuth in (lambda c, s: None, lambda c, s: succeed(None)):
            client = connect(onAuth=onAuth, handlerTimeout=0.5, allowInsecureAuth=True)
            client.say("EHLO client.example")
            for expected in ([535], [535], [535, 421]):
                client.send(PLAIN_WRONG.encode() + b"\r\n")
                client.wait(1)
                self.assertEqual([answer.code for answer in client.answers()], expected)
            self.assertTrue(client.isClosed)

    def test_attempts(self):
        """After maxAuthAttempts failures comes 421."""
        client = greeted(maxAuthAttempts=2)
        self.assertEqual(client.say(PLAIN_WRONG).code, 535)
        answers = client.pipeline(PLAIN_WRONG, "NOOP")
        self.assertEqual([answer.code for answer in answers], [535, 421])
        self.assertTrue(client.isClosed)

    def test_leavingCancelsTheDelay(self):
        """A client that leaves during the delay leaves nothing behind."""
        client = greeted(authFailureDelay=1)
        client.send(PLAIN_WRONG.encode() + b"\r\n")
        client.lose()
        self.assertEqual(client.clock.getDelayedCalls(), [])


class SubmitterTests(SynchronousTestCase):
    """MAIL's AUTH= parameter (RFC 4954 §5)."""

    def test_values(self):
        """A mailbox in xtext, or <>; anything else is 501."""
        for value, code in [
            ("<>", 250),
            ("joe@example.org", 250),
            ("e+3Dmc2@example.org", 250),
            ("", 501),
            ("+0Ajoe@example.org", 501),
            ("+ZZ", 501),
        ]:
            client = greeted()
            client.say(PLAIN_JOE)
            answer = client.say(f"MAIL FROM:<joe@example.org> AUTH={value}")
            self.assertEqual(answer.code, code, value)

    def test_withoutValue(self):
        """A bare AUTH is refused."""
        client = greeted()
        client.say(PLAIN_JOE)
        self.assertEqual(client.say("MAIL FROM:<joe@example.org> AUTH").code, 501)

    def test_notOffered(self):
        """Where AUTH isn't offered the parameter isn't known."""
        client = connect()
        client.say("EHLO client.example")
        self.assertEqual(client.say("MAIL FROM:<joe@example.org> AUTH=<>").code, 555)


class EmptyPasswordTests(SynchronousTestCase):
    """Users who have no password."""

    def refused(self, handler: object, password: bytes) -> None:
        """CRAM-MD5 with a password ends in 535."""
        client = greeted(handler, authMethods=["CRAM-MD5"])
        challenge = base64.b64decode(client.say("AUTH CRAM-MD5").text)
        digest = hmac.digest(password, challenge, "md5").hex()
        answer = client.say(b64(f"joe {digest}"))
        self.assertEqual((answer.code, answer.enhanced), (535, "5.7.8"))
        self.assertIsNone(client.session.user)

    def test_cramMD5(self) -> None:
        """Nobody logs in with the empty password, not even where the handler has that stored."""

        def validating(credentials, session):
            return "joe" if credentials.validatePassword("") else None

        checker = InMemoryUsernamePasswordDatabaseDontUse(joe=b"")
        handlers = (
            CredHandler(checker),
            fromFunctions(onAuth=lambda credentials, session: "joe"),
            fromFunctions(onAuth=validating),
        )
        for handler in handlers:
            for password in (b"", b"\0", b"\0" * 64):  # the same to HMAC, which pads with NULs
                self.refused(handler, password)

    def test_scram(self) -> None:
        """No secret can be made of it, whatever SASLprep leaves of a password."""

        class Careless(ScramUsers):
            def scramSecret(self, username, mechanism, session):
                return scramSecret("\u00ad")

        for password in ("", "\u00ad"):
            self.assertRaises(ValueError, scramSecret, password)
        client = greeted(Careless(), authMethods=["SCRAM-SHA-256"])
        self.assertEqual(client.say("AUTH SCRAM-SHA-256 " + b64("n,,n=joe,r=abc")).code, 454)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

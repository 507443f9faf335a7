from django.test import SimpleTestCase, override_settings
from shop.signup import signUp

from twisted_smtpserver.testing import CapturingServer

SMTP = "django.core.mail.backends.smtp.EmailBackend"


class SignUpTests(SimpleTestCase):
    def test_welcome(self):
        with (
            CapturingServer() as server,
            override_settings(EMAIL_BACKEND=SMTP, EMAIL_HOST=server.host, EMAIL_PORT=server.port),
        ):
            signUp("ann@example.org")
            mail = server.waitFor(subject="Welcome")
        self.assertEqual(mail.recipients, ["ann@example.org"])

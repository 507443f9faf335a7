import smtplib

import pytest
from shop.inbox import Inbox
from shop.models import Mail
from shop.signup import signUp

from twisted_smtpserver.threaded import ServerThread


@pytest.fixture
def mail(settings, smtpserver):
    """Have Django send its mail to the test's server."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = smtpserver.host
    settings.EMAIL_PORT = smtpserver.port
    return smtpserver


def test_welcome(mail):
    signUp("ann@example.org")
    assert "1234" in mail.waitFor(subject="Welcome", to="ann@example.org").text


def test_serverIsDown(mail):
    mail.reject(code=421, at="connect")
    with pytest.raises(smtplib.SMTPConnectError):
        signUp("ann@example.org")


@pytest.mark.django_db(transaction=True)  # the server's thread sees only what is committed
def test_received():
    with ServerThread(Inbox()) as server, smtplib.SMTP(server.host, server.port) as client:
        client.sendmail("ann@example.org", ["orders@shop.example"], "Subject: A pen\r\n\r\nBlue.")
    order = Mail.objects.get()
    assert (order.subject, order.text.strip()) == ("A pen", "Blue.")
    assert order.recipients == ["orders@shop.example"]


def test_noRelay():
    with (
        ServerThread(Inbox()) as server,
        smtplib.SMTP(server.host, server.port) as client,
        pytest.raises(smtplib.SMTPRecipientsRefused),
    ):
        client.sendmail("ann@example.org", ["bob@example.net"], "Subject: Hello\r\n\r\n")

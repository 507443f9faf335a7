import base64
import smtplib

import pytest
from handover import HandOver, app, process

from twisted_smtpserver.threaded import ServerThread

MAIL = "Subject: Hello\r\n\r\nHello Ann\r\n"


def send():
    with ServerThread(HandOver()) as server, smtplib.SMTP(server.host, server.port) as client:
        client.sendmail("joe@example.org", ["ann@example.com"], MAIL)


def test_handedOver():
    app.conf.broker_url = "memory://"
    send()
    with app.connection_for_read() as connection:
        task = connection.SimpleQueue("celery").get(timeout=10)
    (content, sender, recipients), _, _ = task.payload
    assert base64.b64decode(content).decode() == MAIL
    assert (sender, recipients) == ("joe@example.org", ["ann@example.com"])
    process(content, sender, recipients)


def test_noBroker(monkeypatch):
    def fail(*arguments, **keywords):
        raise process.OperationalError

    monkeypatch.setattr(process, "apply_async", fail)
    with pytest.raises(smtplib.SMTPDataError, match="451"):
        send()

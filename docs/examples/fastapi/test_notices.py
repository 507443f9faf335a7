import smtplib

from fastapi.testclient import TestClient
from notices import app


def test_notice():
    with TestClient(app) as client:  # "with": the mail server runs as well
        address = app.state.mail
        with smtplib.SMTP(address.host, address.port) as smtp:
            smtp.sendmail("ann@example.org", ["board@example.com"], "Subject: Tea at four\r\n\r\n")
        assert client.get("/").json() == [{"from": "ann@example.org", "what": "Tea at four"}]

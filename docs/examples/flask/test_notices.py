import smtplib

from notices import Board, app

from twisted_smtpserver.threaded import ServerThread


def test_notice():
    with ServerThread(Board()) as server, smtplib.SMTP(server.host, server.port) as client:
        client.sendmail("ann@example.org", ["board@example.com"], "Subject: Tea at four\r\n\r\n")
    assert app.test_client().get("/").json == [{"from": "ann@example.org", "what": "Tea at four"}]

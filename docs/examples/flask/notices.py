"""A notice board: what comes in by mail is shown on a page. Run it with ``python notices.py``."""

from collections import deque

from flask import Flask, jsonify

from twisted_smtpserver import SMTPHandler
from twisted_smtpserver.threaded import ServerThread

app = Flask(__name__)
notices: deque = deque(maxlen=100)  # appending to it and copying it is safe from any thread


class Board(SMTPHandler):
    async def onData(self, stream, session):
        message = await stream.message(limit=2**20)
        notices.appendleft({"from": str(session.envelope.mailFrom), "what": message["Subject"]})


@app.get("/")
def page():
    return jsonify(list(notices))


if __name__ == "__main__":
    with ServerThread(Board(), port=2525, size=2**20):
        app.run(port=8000)  # not debug=True: its reloader would start everything twice

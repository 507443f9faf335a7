"""
The other side of a webhook: stores each message as a file, once.

WEBHOOK_SECRET=whsec_… python webhook_app.py 8080
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from pathlib import Path

from flask import Flask, abort, request

KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
FOLDER = Path("mail")
FOLDER.mkdir(exist_ok=True)
app = Flask(__name__)


@app.post("/mail")
def receive():
    identifier, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    body = request.get_data()  # before request.form: the signature is over all of it
    signed = f"{identifier}.{timestamp}.".encode() + body
    signature = "v1," + base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    if not hmac.compare_digest(signature, request.headers["webhook-signature"]):
        abort(403)  # somebody else
    if abs(time.time() - int(timestamp)) > 300:
        abort(403)  # somebody who has seen an old request
    envelope = json.loads(request.form["envelope"])
    if "nobody@store.example" in envelope["rcptTo"]:
        abort(404)  # 4xx: the mail's sender gets 550
    if not (FOLDER / identifier).exists():  # else our last answer got lost, and it came again
        store(identifier, request.files["message"].read())
    return "", 204  # not before it is on the disk: the mail's sender forgets it now


def store(name: str, content: bytes) -> None:
    temporary = FOLDER / f".{name}.{os.urandom(8).hex()}"
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(FOLDER / name)


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]))

"""Send a message, and find it in the inbox: ``python inbox_api.py [SMTP-PORT PAGE-PORT]``."""

import json
import smtplib
import sys
from urllib.parse import quote
from urllib.request import urlopen

smtp, page = sys.argv[1:3] or ("2525", "8025")


def ask(path):
    with urlopen(f"http://127.0.0.1:{page}{path}") as response:
        return json.load(response)


with smtplib.SMTP("127.0.0.1", int(smtp)) as client:
    client.sendmail(
        "shop@example.org",
        ["ann@example.net"],
        "From: shop@example.org\r\nTo: ann@example.net\r\nSubject: Welcome\r\n\r\n"
        "Your code: 1234\r\n",
    )

found = ask("/api/v1/search?query=" + quote("to:ann@example.net subject:Welcome"))
message = ask("/api/v1/message/" + found["messages"][0]["ID"])
print(message["Subject"], "-", message["Text"].strip())

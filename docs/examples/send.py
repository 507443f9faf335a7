"""Sends a message to the recipients that are named on the command line."""

import smtplib
import sys

MESSAGE = """\
From: me@example.org
Subject: Hello

This is my first mail.
"""

with smtplib.SMTP("127.0.0.1", 2525) as client:
    client.sendmail("me@example.org", sys.argv[1:], MESSAGE)

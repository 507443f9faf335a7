"""Tells ``twistd`` of ``smtpserver``. It imports nothing of it: twistd loads every plugin."""

from twisted.application.service import ServiceMaker

smtpserver = ServiceMaker(
    "twisted_smtpserver",
    "twisted_smtpserver.tap",
    "Receives mail by SMTP or LMTP, and stores it in a Maildir or hands it to a handler.",
    "smtpserver",
)

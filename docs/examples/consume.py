"""Takes messages out of PostgreSQL: ``python consume.py postgresql://mail@localhost/mail``."""

import sys

from twisted_smtpserver.stores.postgres import claim

for mail in claim(sys.argv[1]):
    subject = mail.parsed and mail.parsed["subject"]  # a very large message has no parsed view
    print(mail.sender, "to", *mail.recipients, "about", subject, flush=True)
    with open(f"{mail.id}.eml", "wb") as file:
        file.writelines(mail.chunks())

"""Takes messages out of PostgreSQL: ``python consume.py postgresql://mail@localhost/mail``."""

import sys

from twisted_smtpserver.stores.postgres import claim

for mail in claim(sys.argv[1]):
    print(mail.sender, "to", *mail.recipients, "about", mail.parsed["subject"], flush=True)
    with open(f"{mail.id}.eml", "wb") as file:
        file.writelines(mail.chunks())

"""
Print any mail, whatever it claims: ``twistd -n smtpserver --port 2525 --handler charsets.Printer``.
"""

from twisted_smtpserver import SMTPHandler


class Printer(SMTPHandler):
    async def onData(self, stream, session):
        mail = await stream.parsed()
        print(f"{mail.subject}\n\n{mail.text}")
        for problem in mail.problems:
            print(f"({problem})")

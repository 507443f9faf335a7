"""``--example-config``: a configuration file with every key, made from the table of flags."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from twisted_smtpserver.twistd.flags import COMMAND_LINE_ONLY, FLAGS, Flag, tableOf

_WIDTH = 96

_BEGINNING = """\
# twistd smtpserver --config FILE: every key, commented out, with an example value.
#
# The keys are the flags of the command line, under the headings of --help. The command line and
# variables such as SMTPSERVER_MAX_CLIENTS have precedence over this file.
# A FILE may be "credential:NAME", one of systemd's credentials.
# twistd smtpserver --config FILE --check-config says what would run, without running it.
"""

_LISTENERS = """\

# Any number of listeners with settings of their own, instead of the table [listen]. What a
# listener doesn't set is as in the tables above; an empty list unsets what they say.

# Mail from other servers.
# [[listener]]
# listen = ["tcp:25", "tcp6:25"]
# recipients = "/etc/smtpserver/recipients"
# max-clients = 500

# Mail from users' programs, by STARTTLS on port 587 and implicit TLS on port 465.
# [[listener]]
# listen = "tcp:587"
# listen-tls = "tcp:465"
# submission = true
# auth = "htpasswd:/etc/smtpserver/users"

# Mail from a server on the same machine, by LMTP.
# [[listener]]
# listen-lmtp = "unix:/run/smtpserver/lmtp"
"""

#: Examples by the values' names in the help.
_BY_VALUE = {
    "": "true",
    "N": "100",
    "OCTETS": '"50M"',
    "SECONDS": "300",
    "ENDPOINT": '"tcp:25"',
    "ADDRESS": '"192.0.2.1"',
    "ADDRESS[:PORT]": '"192.0.2.53"',
    "[ADDRESS:]PORT": '"127.0.0.1:8025"',
    "RATE": '"600/h"',
    "NETWORKS": '["192.0.2.0/24", "2001:db8::/32"]',
    "yes|no": "true",
    "VERSION": '"TLSv1.3"',
    "METHOD": '"htpasswd:/etc/smtpserver/users"',
    "NAME:CERT:KEY": '["mx.example.org:/etc/ssl/mx.pem:/etc/ssl/mx.key"]',
    "DIR": '"/var/lib/smtpserver/{name}"',
    "FILE": '"/etc/smtpserver/{name}"',
}

#: Examples for flags whose values are their own.
_BY_NAME = {
    "port": "2525",
    "workers": "4",
    "listen-tls": '"tcp:465"',
    "listen-lmtp": '"unix:/run/smtpserver/lmtp"',
    "maildir": '"/var/lib/smtpserver/Maildir"',
    "handler": '"mail.Inbox"',
    "forward": '["smtp+starttls://user@smtp.example.org"]',
    "webhook": '"https://app.example.org/mail"',
    "postgres": '"postgresql://user@db.example.org/mail"',
    "postgres-table": '"mail"',
    "amqp": '["amqp://user@mq1.example.org", "amqp://user@mq2.example.org"]',
    "amqp-queue": '"mail"',
    "amqp-exchange": '"mail"',
    "amqp-routing-key": '"mail.{domain}"',
    "bare-newlines": '"reject"',
    "inbox-release": '"smtp+starttls://user@smtp.example.org"',
    "inbox-host": '"mail.example.org"',
    "ciphers": '"ECDHE+AESGCM:ECDHE+CHACHA20"',
    "auth-required-message": '"Log in first"',
    "auth-methods": '["PLAIN", "LOGIN"]',
    "dnsbl": '["zen.example.org"]',
    "shared-state": '"redis://redis.example.org:6379/0"',
    "log-format": '"json"',
    "metrics": '"tcp:9154:interface=127.0.0.1"',
    "milter": '["unix:/run/rspamd/milter.sock", "tcp:127.0.0.1:8891,onFailure=accept"]',
    "require-authentication": '["dmarc"]',
    "block-attachments": '["programs"]',
    "name": '"mx.example.org"',
    "banner": '"no spam, please"',
    "helo-response": '"%s greets %s"',
    "disabled-commands": '["VRFY"]',
    "hide": '["SIZE"]',
    "extension": '["DSN"]',
}


def exampleConfig() -> str:
    """Make the file."""
    parts = [_BEGINNING]
    for heading, flags in FLAGS.items():
        known = [flag for flag in flags if flag.name not in COMMAND_LINE_ONLY]
        if known:
            parts.append(f"\n# {heading}\n[{tableOf(heading)}]\n")
            parts += ["\n".join(_describe(flag)) + "\n" for flag in known]
    return "".join([*parts, _LISTENERS])


def _describe(flag: Flag) -> Iterator[str]:
    text = flag.text[0].upper() + flag.text[1:]
    yield ""
    yield from (f"# {line}" for line in textwrap.wrap(text, _WIDTH - 2, break_on_hyphens=False))
    yield f"#{flag.name} = {_example(flag)}"


def _example(flag: Flag) -> str:
    example = _BY_NAME.get(flag.name) or _BY_VALUE.get(flag.value) or f'"{flag.value}"'
    return example.replace("{name}", flag.name.removesuffix("-file"))

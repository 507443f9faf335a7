import signal
import sys
from contextlib import suppress

from django.core.management.base import BaseCommand
from shop.inbox import Inbox

from twisted_smtpserver.threaded import ServerThread


class Command(BaseCommand):
    help = "Receive mail into the database."

    def add_arguments(self, parser):
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=2525)

    def handle(self, *args, **options):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        with (
            suppress(KeyboardInterrupt),
            ServerThread(Inbox(), host=options["host"], port=options["port"]) as server,
        ):
            self.stdout.write(f"Receiving mail on {server.host}, port {server.port}")
            self.stdout.flush()
            signal.pause()

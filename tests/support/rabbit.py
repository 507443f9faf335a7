"""A cluster of RabbitMQ nodes on loopback, each a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from tests.support.services import Service, freePort, isListening, need, until

_FOLDER = "/usr/lib/rabbitmq/bin"  # not the wrapper in the path, which wants root

_CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
disk_free_limit.absolute = 1MB
log.console = true
log.console.level = warning
cluster_partition_handling = ignore
{more}
"""


class Epmd(Service):
    """Erlang's port mapper: a node would start one that outlives it."""

    def __init__(self) -> None:
        program = need("epmd")
        self.port = freePort()
        command = [
            program,
            "-port",
            str(self.port),
            "-address",
            "127.0.0.1",
            "-relaxed_command_check",
        ]
        super().__init__("epmd", lambda folder: command)

    def begin(self) -> None:
        """Start it."""
        self.start(lambda: isListening(self.port))


class Rabbit(Service):
    """
    A node.

    :param epmd: the port mapper.
    :param peers: the nodes whose cluster it joins.
    :param settings: lines for its configuration.
    """

    def __init__(self, epmd: Epmd, *peers: Rabbit, settings: str = "") -> None:
        program = need("rabbitmq-server", _FOLDER)
        if not Path(_FOLDER).is_dir():
            raise AssertionError(f"there is no {_FOLDER}")
        program = f"{_FOLDER}/rabbitmq-server"
        self.port, distribution = freePort(), freePort()
        self.node = f"n{self.port}@localhost"
        environment = {
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(epmd.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # One thread a node, which doesn't spin while there is nothing to do.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            "RABBITMQ_LOGS": "-",
        }
        super().__init__("rabbit", lambda folder: [program], environment)
        names = [*(peer.node for peer in peers), self.node]
        discovery = [
            f"cluster_formation.classic_config.nodes.{number} = {name}"
            for number, name in enumerate(names, 1)
        ]
        if peers:
            discovery.insert(0, "cluster_formation.peer_discovery_backend = classic_config")
        config = _CONFIG.format(port=self.port, more="\n".join([*discovery, settings]))
        files = {"rabbitmq.conf": config, "enabled": "[].\n", ".erlang.cookie": "TESTSONLY"}
        for name, text in files.items():
            path = self.folder / name
            path.write_text(text)
            path.chmod(0o400)
            if self.user is not None:
                import shutil

                shutil.chown(path, self.user)
        folder = str(self.folder)
        self._environment |= {
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled",
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_PID_FILE": f"{folder}/pid",
        }

    @property
    def url(self) -> str:
        """For ``--amqp``."""
        return f"amqp://127.0.0.1:{self.port}"

    def begin(self, wait: bool = True) -> None:
        """Start it, maybe again."""
        self.start(lambda: not wait or isListening(self.port))

    def awaitReady(self) -> None:
        """Wait for a node that was begun without waiting."""
        until(lambda: isListening(self.port), f"{self.node} isn't ready")

    def kill(self) -> None:
        """Kill -9: the shell that started it and Erlang."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        super().kill()
        until(lambda: not isListening(self.port), f"{self.node} is there still")

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End it; nothing of it is kept, so there is no need for a good end."""
        if self.isRunning:
            self.kill()
        super().stop(number)

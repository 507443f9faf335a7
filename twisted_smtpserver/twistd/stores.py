"""The stores that ``twistd smtpserver`` has flags for, besides the Maildir."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.application.service import Service

from twisted_smtpserver.errors import ConfigurationError

#: The flags that choose a store, and the extra that each needs.
STORES = {"postgres": "postgres", "forward": "", "webhook": "webhook", "amqp": "amqp"}


class StoreService(Service):
    """
    Checks a store at the start, and closes its connections at the end.

    :param store: the store.
    :ivar handler: the store, as the server's handler.
    """

    def __init__(self, store: Any) -> None:
        self.handler = store

    def startService(self) -> None:
        """Check the store. It logs what is wrong, and clients get 451 until that is mended."""
        super().startService()
        check = getattr(self.handler, "check", None)
        if check is not None:
            check()

    def close(self) -> Any:
        """Close its connections; in ``stopService`` messages in flight may still need them."""
        return self.handler.close()


def checkStores(given: Mapping[str, Any]) -> None:
    """
    Check the flags that are about stores.

    :param given: the values of the flags that were given, by name.
    :raises ConfigurationError: if a flag is missing.
    """
    if "amqp" in given and not {"amqp-queue", "amqp-exchange"} & set(given):
        raise ConfigurationError("--amqp: needs --amqp-queue or --amqp-exchange")


def makeStore(given: Mapping[str, Any], hostName: str | None, size: int) -> StoreService | None:
    """
    Make the store that a flag chooses.

    :param given: the values of the flags that were given, by name.
    :param hostName: our name in ``Received:``.
    :param size: the largest message that the server takes, in octets; 0 for no limit.
    :returns: the store's service; ``None`` if no flag chooses a store.
    :raises ConfigurationError: if a flag's value is invalid, or a library is missing.
    """
    for name, extra in STORES.items():
        if name in given:
            try:
                return StoreService(_MAKERS[name]({**given, "size": size}, hostName))
            except ImportError as error:
                raise ConfigurationError(
                    f'--{name}: {error}: pip install "twisted-smtpserver[{extra}]"'
                ) from None
            except ConfigurationError as error:
                raise ConfigurationError(f"--{name}: {error}") from None
    return None


def _makePostgres(given: Mapping[str, Any], hostName: str | None) -> Any:
    from twisted_smtpserver.stores.postgres import PostgresStore

    known = _given(
        table=given.get("postgres-table"),
        password=given.get("postgres-password-file"),
        retention=given.get("postgres-retention"),
        hostName=hostName,
    )
    return PostgresStore(given["postgres"], **known)


def _makeAMQP(given: Mapping[str, Any], hostName: str | None) -> Any:
    from twisted_smtpserver.stores.amqp import AMQP

    known = _given(
        exchange=given.get("amqp-exchange"),
        routingKey=given.get("amqp-routing-key"),
        password=given.get("amqp-password-file"),
        maxSize=given.get("amqp-max-size"),
        hostName=hostName,
        serverSize=given["size"],
    )
    return AMQP(given["amqp"], given.get("amqp-queue"), **known)


def _makeForward(given: Mapping[str, Any], hostName: str | None) -> Any:
    from twisted_smtpserver.stores.forward import Forward

    known = _given(
        password=given.get("forward-password-file"),
        ca=given.get("forward-ca"),
        hostName=hostName,
    )
    return Forward(*given["forward"], **known)


def _makeWebhook(given: Mapping[str, Any], hostName: str | None) -> Any:
    from twisted_smtpserver.stores.webhook import Webhook

    known = _given(
        ca=given.get("webhook-ca"),
        parsed=given.get("webhook-parsed"),
        allowPrivate=given.get("webhook-allow-private"),
        hostName=hostName,
    )
    return Webhook(given["webhook"], given["webhook-secret-file"], **known)


def _given(**options: Any) -> dict[str, Any]:
    """Drop what wasn't given; the store has defaults for that."""
    return {name: value for name, value in options.items() if value is not None}


_MAKERS = {
    "postgres": _makePostgres,
    "forward": _makeForward,
    "webhook": _makeWebhook,
    "amqp": _makeAMQP,
}

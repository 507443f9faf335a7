"""
RabbitMQ, and other brokers of AMQP 0-9-1. Needs the extra ``amqp``.

Importing it chooses a reactor, because pika does: install another one before.
"""

from twisted_smtpserver.stores.amqp.store import AMQP

__all__ = ["AMQP"]

"""Takes messages out of RabbitMQ: ``python consume_amqp.py amqp://localhost mail``."""

import sys

import pika


def received(channel, method, properties, body):
    """A message came; it is gone from the queue when it is acknowledged."""
    print(properties.headers["sender"], "sent", len(body), "octets", flush=True)
    channel.basic_ack(method.delivery_tag)


connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.basic_qos(prefetch_count=1)  # one at a time for each consumer
channel.basic_consume(sys.argv[2], received)
channel.start_consuming()

"""
Hand each message to a program of yours by HTTP: a POST with the envelope and the message, signed.

It needs treq: ``pip install twisted-smtpserver[webhook]``.

=============== ===================================================================================
file            what it has
=============== ===================================================================================
handler         :class:`Webhook`, the handler
requests        makes the HTTP request; the only place that knows treq
destination     connects to public addresses only
body            the request's body
signature       the request's signature
=============== ===================================================================================
"""

from twisted_smtpserver.stores.webhook.handler import Webhook

__all__ = ["Webhook"]

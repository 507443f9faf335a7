"""Tests for twisted_smtpserver.stores.amqp."""

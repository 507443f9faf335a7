"""Tests for twisted_smtpserver.stores.postgres, with a real PostgreSQL."""

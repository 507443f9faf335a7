"""Tests for twisted_smtpserver.tables."""

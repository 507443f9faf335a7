"""Tests for twisted_smtpserver.shared."""

"""Tests for twisted_smtpserver.users.dovecot."""

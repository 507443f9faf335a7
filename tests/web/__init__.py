"""Tests for twisted_smtpserver.web."""

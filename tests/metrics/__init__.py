"""Tests for twisted_smtpserver.metrics."""

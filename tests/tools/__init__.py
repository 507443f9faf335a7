"""Tests for twisted_smtpserver.tools."""

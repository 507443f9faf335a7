"""Tests of twistd smtpserver."""

"""Tests of the message."""

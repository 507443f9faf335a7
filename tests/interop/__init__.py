"""Tests with real services, on loopback."""

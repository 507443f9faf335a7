"""Tests for the inbox."""

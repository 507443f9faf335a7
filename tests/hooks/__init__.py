"""Tests of calling hooks."""

"""Tests of long runs."""

"""Tests of real clients and servers."""

"""Tests of the room filters."""

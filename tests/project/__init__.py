"""Tests of the project itself: architecture, packaging, documentation."""

"""Tests of the room filters.milter."""

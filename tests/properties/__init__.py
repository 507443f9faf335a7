"""Tests of what holds whatever comes: attacks, faults, cost, memory."""

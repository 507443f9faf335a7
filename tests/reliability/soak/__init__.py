"""
A soak test: mixed clients and their faults against a real server, with nothing lost.

``python -m tests.reliability.soak`` runs it; ``benchmarks/README.rst`` says what it does.
"""

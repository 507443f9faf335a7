"""
Measures twisted_smtpserver and its peers side by side: ``python -m benchmarks --help``.

Nothing here is part of the library. How to run it, and what came out, is in ``README.rst``.
"""

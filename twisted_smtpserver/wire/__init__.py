"""
Octets to values and back: the grammars of the protocol, without I/O and without state of a session.

Each parser is total: whatever octets come in, it returns a frozen value or the
:class:`~twisted_smtpserver.replies.Reply` that refuses them, and never raises.
"""

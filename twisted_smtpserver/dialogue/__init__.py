"""The conversation with one client, without a socket: phase, session, transaction."""

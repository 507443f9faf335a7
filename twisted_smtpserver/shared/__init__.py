"""
What several servers count together, whether they are workers of one machine or run on many.

:class:`RedisState` keeps it in Redis.
"""

from twisted_smtpserver.shared.redis import RedisState

__all__ = ["RedisState"]

"""
Small handlers that refuse, each useful alone; :class:`~twisted_smtpserver.Chain` puts them in a
row, before the one that stores.
"""

from twisted_smtpserver.handlers.policies.blocklist import DNSBlockList
from twisted_smtpserver.handlers.policies.greylist import Greylist
from twisted_smtpserver.handlers.policies.rates import RateLimit
from twisted_smtpserver.handlers.policies.sender import SenderMatchesLogin
from twisted_smtpserver.handlers.policies.tarpit import Tarpit

__all__ = ["DNSBlockList", "Greylist", "RateLimit", "SenderMatchesLogin", "Tarpit"]

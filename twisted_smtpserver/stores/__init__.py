"""
Stores: handlers that pass each message to another system, and answer 250 when that has confirmed
it.

Each store is a module of its own, because some need a library that is an extra of this package.
:mod:`twisted_smtpserver.stores.base` has the one rule that all of them keep.
"""

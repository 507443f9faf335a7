"""The commands beside the catcher: ``python -m twisted_smtpserver passwd …``."""

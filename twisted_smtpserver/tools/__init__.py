"""The commands besides the catcher: ``python -m twisted_smtpserver passwd …``."""

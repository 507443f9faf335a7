"""What ``twistd smtpserver`` is made of."""

from django.db import models


class Mail(models.Model):
    sender = models.EmailField(blank=True)
    recipients = models.JSONField()
    subject = models.TextField()
    text = models.TextField()
    content = models.BinaryField()
    received = models.DateTimeField(auto_now_add=True)

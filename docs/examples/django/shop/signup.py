from django.core.mail import send_mail


def signUp(address):
    send_mail("Welcome to the shop", "Your code is 1234.", "shop@example.com", [address])

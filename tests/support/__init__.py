"""What the tests share: servers, clients, certificates, messages."""

"""Webhooks in: the server, signatures and signing secrets."""

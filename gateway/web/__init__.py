"""The way in: the webhook intake and the admin server."""

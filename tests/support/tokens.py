"""JSON Web Tokens as an identity provider issues them, with a signature that nobody checks."""

from __future__ import annotations

import base64
import json


def json_web_token(**claims: object) -> bytes:
    """Return a token with these claims."""
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in [*parts, b"signature"])

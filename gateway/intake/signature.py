"""Infodeck's webhook signature: pure functions over the raw bytes as received.

The header is `x-infodeck-signature: t=1771911526,v1=<64 hex>` where v1 is the HMAC-SHA256 of
`"{t}." + raw body` under the signing secret (Infodeck integration guide, step 5). During a
rotation several secrets are accepted, and several `v1` may come in one header.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

from gateway.errors import SignatureError

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER = "x-infodeck-signature"
MISMATCH = "mismatch"
FOREIGN = "foreign"  # a mismatch, and the body does not name our organization either

_LONGEST_HEADER = 4096  # far above any honest header, and bounds the work a hostile one can cause
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def sign(body: bytes, secret: bytes, timestamp_s: int) -> str:
    """Return the header's value for `body` as Infodeck would send it at Unix second `timestamp_s`."""
    return f"t={timestamp_s},v1={hmac.new(secret, b'%d.%b' % (timestamp_s, body), 'sha256').hexdigest()}"


class Verifier:
    """Verifies signatures with any of several secrets; keyed HMAC contexts are made once and copied."""

    def __init__(self, secrets: Sequence[bytes], *, tolerance_s: float) -> None:
        """`tolerance_s` is how far the signature's time may be from now, in either direction."""
        if not secrets or not all(secrets):
            raise ValueError("at least one signing secret is needed, and none may be empty")
        self._keyed = tuple(hmac.new(secret, digestmod="sha256") for secret in secrets)
        self._tolerance_s = tolerance_s

    def verify(self, raw: bytes, header: str | None, *, now_s: float) -> int:
        """Return the index of the first secret that signed `raw`; raise SignatureError with the reason.

        Every secret is compared with every `v1` in constant time, without an early exit. The time is
        checked last: a right signature outside the tolerance means that a clock is wrong.
        """
        timestamp, candidates = parse_header(header)
        signed_by = -1
        for index, keyed in enumerate(self._keyed):
            context = keyed.copy()
            context.update(timestamp.encode() + b".")
            context.update(raw)
            digest = context.digest()
            for candidate in candidates:
                if hmac.compare_digest(digest, candidate) and signed_by < 0:
                    signed_by = index
        if signed_by < 0:
            raise SignatureError(MISMATCH)
        age_s = now_s - int(timestamp)
        if abs(age_s) > self._tolerance_s:
            raise SignatureError("outside tolerance", age_s=age_s)
        return signed_by


def parse_header(header: str | None) -> tuple[str, list[bytes]]:
    """Return `t` as written and the `v1` digests; raise SignatureError if no body can match them.

    Other schemes are ignored, and the order does not matter.
    """
    if header is None:
        raise SignatureError("missing")
    if len(header) > _LONGEST_HEADER:
        raise SignatureError("malformed")
    timestamps: list[str] = []
    digests: list[bytes] = []
    for part in header.split(","):
        scheme, _, value = part.partition("=")
        scheme, value = scheme.strip().lower(), value.strip()
        if scheme == "t":
            timestamps.append(value)
        elif scheme == "v1" and _DIGEST.fullmatch(value.lower()):
            digests.append(bytes.fromhex(value))
    if len(timestamps) != 1 or not _TIMESTAMP.fullmatch(timestamps[0]) or not digests:
        raise SignatureError("malformed")
    return timestamps[0], digests

"""Pure: why a delivery failed, as far as Infodeck's log tells it, and what to do about it.

The codes are those of this gateway's own intake, and of proxies in front of it.
"""

from __future__ import annotations

import re
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.infodeck.webhooks.subscriptions import Attempt

# In the words, in lower case, of the runtimes that senders are written in; the first that fits counts.
_KINDS = (
    ("name", re.compile(r"enotfound|eai_again|getaddrinfo|\bdns\b|nxdomain|resolv|no such host")),
    ("refused", re.compile(r"refused|connect call failed|ehostunreach|enetunreach|unreachable|no route")),
    ("TLS", re.compile(r"\b(tls|ssl)|certificate|x509|self[- ]signed|handshake|unable_to_verify")),
    ("time-out", re.compile(r"time[-_ ]?d?[-_ ]?out|deadline|no (answer|response)")),
    ("broken off", re.compile(r"econnreset|reset|hang up|epipe|broken pipe|closed|aborted|disconnected")),
)
_ADVICE = {
    "3xx": "something in front of the gateway redirects: the webhook's URL must be the final address",
    "400": "the gateway took it for no event, or it came incompletely: a proxy may change or cut bodies, but"
    " the signature is over the raw bytes",
    "401": "the signature does not fit: the gateway's signing secret is not this webhook's (`gateway webhooks"
    " rotate` renews it), or its clock is off by more than intake.tolerance (`gateway doctor`)",
    "403": "the proxy in front of the gateway is none of intake.trusted_proxies, or refuses by itself",
    "404": "the path of the webhook's URL is not intake.path, or the proxy does not hand it on",
    "405": "a POST arrived as something else: a redirect or a rule of the proxy in front of the gateway",
    "413": "larger than intake.max_body, or than the proxy allows (nginx: client_max_body_size)",
    "429": "the proxy in front of the gateway limits requests: give Infodeck more",
    "500": "an error of the gateway or its proxy: the gateway's log says more (intake.failed)",
    "502": "the proxy does not reach the gateway: is it running, and on intake.listen?",
    "503": "the gateway's journal was full or could not be written, or it was stopping: /api/status says"
    " (`journal.state`), see free space and journal.max_size; Infodeck tries again for 24 h",
    "504": "the proxy waited in vain for the gateway: is the machine overloaded, or its disk very slow?",
    "TLS": "Infodeck does not trust the certificate: it must be valid, name the URL's host, and come with its"
    " whole chain (`gateway doctor`)",
    "name": "the host of the webhook's URL is not in the DNS",
    "refused": "nobody answers at the webhook's address: firewall, port forwarding, proxy, or the gateway is"
    " down",
    "time-out": "no answer in 30 s: a firewall that drops packets, or a machine or disk that is overloaded",
    "broken off": "the connection ended early: the proxy or the gateway was restarted; harmless when rare",
}


def kind_of(attempt: Attempt) -> str:
    """Return in a word why a failed attempt failed: its code, else what its reason is about."""
    if attempt.code is not None:
        return "3xx" if attempt.code // 100 == 3 else str(attempt.code)  # noqa: PLR2004 - redirects
    reason = (attempt.reason or "").lower()
    return next((kind for kind, words in _KINDS if words.search(reason)), "unclear")


def advice_for(kind: str) -> str | None:
    """Return what a kind of failure means here and what to do, None where nothing is known of it."""
    advice = _ADVICE.get(kind)
    if advice is None and kind.isdigit():
        advice = f"no answer of this gateway ({_phrase(int(kind))}): see what stands in front of it"
    return advice


def failures_of(attempts: Iterable[Attempt]) -> Counter[str]:
    """Count the attempts that failed, by their kind."""
    return Counter(kind_of(attempt) for attempt in attempts if attempt.succeeded is False)


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "no code of HTTP"

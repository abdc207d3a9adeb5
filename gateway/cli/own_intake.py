"""How commands post to this gateway's own intake as Infodeck does: `send` and `simulate`."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Any

from gateway.demo.deliveries import new_event_id, telemetry_event
from gateway.intake.signature import HEADER, sign

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import Scalar
    from gateway.settings import Settings

ANSWER_WITHIN_S = 30.0


def intake_url(settings: Settings) -> str:
    """Return where this machine reaches the intake."""
    intake = settings.intake
    scheme = "http" if intake.tls is None else "https"
    return f"{scheme}://{intake.listen.reachable}{intake.path}"


def own_tls() -> ssl.SSLContext:
    """Return a context that takes our certificate as it is: it names the public host, not this socket."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def readings_event(
    *,
    asset: str,
    telemetry: Mapping[str, Scalar],
    organization: str,
    timestamp: int | None = None,
    event_id: str | None = None,
    is_test: bool = False,
) -> dict[str, Any]:
    """Return an event with readings of an asset, measured at a Unix time in s or ms, or now."""
    created_s = int(time.time())
    return telemetry_event(
        asset={"assetId": asset},
        telemetry=telemetry,
        timestamp=created_s if timestamp is None else timestamp,
        event_id=event_id or new_event_id(),
        organization=organization,
        created_s=created_s,
        is_test=is_test,
    )


def signed_headers(body: bytes, secret: bytes) -> dict[str, str]:
    """Return what a delivery of `body` carries when it is sent now."""
    return {"Content-Type": "application/json", HEADER: sign(body, secret, int(time.time()))}

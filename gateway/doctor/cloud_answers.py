"""What Infodeck's API answers to the doctor: asked once each, without retries, within a few seconds."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.config.scalars import duration_text
from gateway.doctor.findings import Finding, problem
from gateway.errors import ApiRefusalError, GatewayError, TransientError
from gateway.infodeck.api_client import connect
from gateway.infodeck.webhooks.delivery_log import newest_deliveries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.infodeck.api_client import InfodeckApi, Item
    from gateway.infodeck.transport import ApiAccess

ASK_WITHIN_S = 6.0
MOST_ATTEMPTS = 20
_UNAUTHORIZED = 401
_MOST_PAGES = 20  # of 100 assets; larger organizations are known from the daemon's own reconciliation


@dataclass(slots=True)
class Listed:
    """Items of a list, as far as they came. `error` is why it ended early, `is_whole` whether it did not."""

    items: list[Item] = field(default_factory=list)
    is_whole: bool = False
    error: GatewayError | None = None


async def list_assets(access: ApiAccess, *, share: float) -> Listed:
    """Return the assets of the organization, 2,000 at most."""
    listed = Listed()
    async with _asking(access, share=share, noting_in=listed) as api:
        await _collect(listed, api.assets())
    return listed


async def list_webhooks(access: ApiAccess, *, share: float) -> Listed:
    """Return the webhooks of the organization."""
    listed = Listed()
    async with _asking(access, share=share, noting_in=listed) as api:
        listed.items = await api.webhooks()
        listed.is_whole = True
    return listed


async def list_deliveries(access: ApiAccess, webhook: str, *, share: float) -> Listed:
    """Return the latest attempts to deliver to a webhook."""
    listed = Listed()
    async with _asking(access, share=share, noting_in=listed) as api:
        listed.items = await newest_deliveries(api, webhook, enough=MOST_ATTEMPTS)
    return listed


def refused(error: GatewayError) -> Finding:
    """Return what kept the API from answering, and what to do about it."""
    if isinstance(error, ApiRefusalError):
        return problem(error.answered, error.advice)
    if not isinstance(error, TransientError):
        return problem(str(error), "check infodeck.api, and what stands between this machine and Infodeck")
    if error.retry_after_s is None:
        remedy = "wait and try again; where it lasts, ask Infodeck. What is known of assets stays meanwhile"
    else:
        remedy = (
            f"wait {duration_text(round(error.retry_after_s))}; where that happens often: one API key per"
            " integration, and a smaller infodeck.request_share"
        )
    return problem(str(error), remedy)


def is_about_secret(error: GatewayError) -> bool:
    """Say whether a request failed for its secret: the API refused it, or it cannot even be sent."""
    return error.status == _UNAUTHORIZED if isinstance(error, ApiRefusalError) else is_odd(error)


def is_odd(error: GatewayError) -> bool:
    """Say whether there was no answer that an API would give, or no question that could be sent."""
    return not isinstance(error, ApiRefusalError | TransientError)


@asynccontextmanager
async def _asking(access: ApiAccess, *, share: float, noting_in: Listed) -> AsyncIterator[InfodeckApi]:
    """Open the API for one attempt of each request: who examines wants to see what goes wrong.

    That, or that it took too long, ends what is done within and is noted.
    """
    try:
        async with connect(access, share=share, attempts=1) as api, asyncio.timeout(ASK_WITHIN_S):
            yield api
    except TimeoutError:
        noting_in.error = TransientError(f"no answer within {ASK_WITHIN_S:g} s")
    except GatewayError as error:
        noting_in.error = error


async def _collect(listed: Listed, pages: AsyncIterator[list[Item]]) -> None:
    number = 0
    async for page in pages:
        listed.items += page
        number += 1
        if number == _MOST_PAGES:
            return
    listed.is_whole = True

"""The admin server: health, readiness, metrics, status and the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gateway.admin.metrics import Metrics
from gateway.http_server import json_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.admin.admission import Admission
    from gateway.admin.dashboard import Dashboard
    from gateway.status import Status


def admin_application(
    *,
    status: Status,
    admission: Admission,
    dashboard: Dashboard,
    refresh: Callable[[], None],
    problems: Callable[[], list[str]],
) -> web.Application:
    """Return the application.

    `refresh` brings the status up to date; `problems` returns why the gateway makes no progress, if so.
    """
    metrics = Metrics(status)

    async def healthz(_: web.Request) -> web.Response:
        found = problems()
        return json_answer({"healthy": not found, "problems": found}, code=503 if found else 200)

    async def readyz(_: web.Request) -> web.Response:
        reasons = unready(status)
        return json_answer({"ready": not reasons, "reasons": reasons}, code=503 if reasons else 200)

    async def show_status(_: web.Request) -> web.Response:
        refresh()
        return json_answer(status.snapshot())

    async def show_metrics(request: web.Request) -> web.Response:
        refresh()
        text, content_type = metrics.exposition(request.headers.get("Accept", ""))
        return web.Response(body=text, headers={"Content-Type": content_type})

    application = web.Application(middlewares=[admission.admit])
    application.router.add_get("/healthz", healthz)
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", show_metrics)
    application.router.add_get("/api/status", show_status)
    dashboard.add_to(application)
    return application


def unready(status: Status) -> list[str]:
    """Return why events would not be accepted now. An absent sink is no reason: events wait for it."""
    reasons = [] if status.ready else ["starting or stopping"]
    journal = status.journal.state
    return reasons if journal == "ok" else [*reasons, journal]

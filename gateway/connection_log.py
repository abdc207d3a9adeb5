"""What comes to a port and is no HTTP: counted, and not logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

log = structlog.get_logger()


class ConnectionLog:
    """The logger that aiohttp is given: it answers by itself what is no HTTP, and tells only its logger.

    Anyone may send garbage, so that is counted and worth no more than a debug line, which quotes none of it.
    """

    def __init__(self, listener: str, *, on_garbage: Callable[[], None]) -> None:
        """Begin the names of log lines with `listener`; call `on_garbage` for each request that is none."""
        self._no_http, self._failed = f"{listener}.no_http", f"{listener}.failed"
        self._on_garbage = on_garbage

    def debug(self, message: str, *arguments: object, exc_info: BaseException | None = None) -> None:
        """Take note of a request that is none, of one that ended early, or of a bug."""
        if isinstance(exc_info, HttpProcessingError | RequestPayloadError | ConnectionError):
            self._on_garbage()
            log.debug(self._no_http, reason=type(exc_info).__name__)
        else:
            log.error(self._failed, reason=message % arguments, exc_info=exc_info)

    exception = debug


def quiet_runner(
    application: web.Application, listener: str, *, no_http: Counter[str], close_within_s: float
) -> web.AppRunner:
    """Return what runs an application; requests that are no HTTP are counted by listener."""

    def count() -> None:
        no_http[listener] += 1

    return web.AppRunner(
        application,
        access_log=None,
        logger=ConnectionLog(listener, on_garbage=count),
        auto_decompress=False,
        shutdown_timeout=close_within_s,
    )

"""Asks the running gateway for something over its control socket."""

from __future__ import annotations

import asyncio
from errno import EACCES, EPERM
from typing import TYPE_CHECKING, Any

import aiohttp

from gateway.errors import CommandError
from gateway.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

_ANSWER_WITHIN_S = 30.0
_ERRORS_FROM = 400


class NotRunningError(CommandError):
    """Nobody listens on the control socket, or no longer."""


def ask(config: Path, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """Post `document`, or get without one; return the gateway's answer.

    Only `gateway.yaml` is read, not the point tables, which somebody may be editing. Raises CommandError with
    the gateway's reason, or with what to do if it cannot be reached; NotRunningError if it is not running.
    """
    file = load_settings(config).require().control_socket
    try:
        return asyncio.run(_ask(file, path, document))
    except TimeoutError as error:
        raise CommandError(f"{file}: no answer within {_ANSWER_WITHIN_S:g} s") from error
    except (OSError, aiohttp.ClientError) as error:  # aiohttp's have the system's number, but not its types
        if isinstance(error, OSError) and error.errno in {EACCES, EPERM}:
            raise CommandError(
                f"{file} may be used by the gateway's user and by root only; try again with sudo"
            ) from error
        raise NotRunningError(
            f"nobody listens on {file}: the gateway is not running, or runs with other settings than {config}"
            " (`systemctl status gateway` shows it)"
        ) from error


async def _ask(file: Path, path: str, document: dict[str, Any] | None) -> dict[str, Any]:
    method = "GET" if document is None else "POST"
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(file)), timeout=aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)
        ) as session,
        session.request(method, f"http://gateway{path}", json=document) as response,
    ):
        answer: dict[str, Any] = await response.json()
        if response.status >= _ERRORS_FROM:
            raise CommandError(str(answer.get("error", response.reason)))
        return answer

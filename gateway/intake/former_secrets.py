"""The gateway's own memory of signing secrets: former ones, and new ones that their source may lack.

A file beside the journal, for the gateway's user alone (0600). There is none while all that is accepted
is what the settings' sources hold.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import orjson

from gateway.config.private_files import draft_of, sync_folder, write_private
from gateway.config.secrets import SecretSource
from gateway.errors import GatewayError
from gateway.intake.secrets_in_force import Former

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.intake.secrets_in_force import SecretsInForce

_FORM = 1


def write_former(path: Path, secrets: SecretsInForce) -> None:
    """Keep what a restart must not forget, durably; raise OSError."""
    kept = [_item(Former(secret, 0), told=True) for secret in secrets.told]
    kept += [_item(each, told=False) for each in secrets.former]
    if kept:
        write_private(path, orjson.dumps({"form": _FORM, "secrets": kept}) + b"\n")
    else:
        forget_former(path)


def forget_former(path: Path) -> None:
    """Have nothing kept, durably, not even in a draft of a writing that was cut off; raise OSError."""
    for file in (path, draft_of(path)):
        if file.is_file():
            file.unlink()
            sync_folder(path.parent)


def read_former(path: Path, *, now_ms: int) -> tuple[Former, ...]:
    """Return what was kept; raise GatewayError where the file can't be used, as others may read it.

    A secret that the gateway was told of and that no source had taken over by its stop counts as former
    from now on.
    """
    if not path.exists():
        return ()
    content = SecretSource("file", str(path)).resolve().reveal()
    try:
        document = orjson.loads(content)
        if document["form"] != _FORM:
            raise GatewayError(f"{path} was written by another version of the gateway")
        return tuple(_former(item, now_ms) for item in document["secrets"])
    except (ValueError, KeyError, TypeError):  # none of its words may be shown
        raise GatewayError(f"{path} is not what this gateway has written") from None


def _item(former: Former, *, told: bool) -> dict[str, Any]:
    return {
        "secret": base64.b64encode(former.secret).decode(),
        "since_ms": former.since_ms,
        "last_used_ms": former.last_used_ms,
        "told": told,
    }


def _former(item: dict[str, Any], now_ms: int) -> Former:
    used_ms = item["last_used_ms"]
    secret = base64.b64decode(item["secret"], validate=True)
    if not secret:
        raise ValueError("no secret")
    since_ms = now_ms if item["told"] else int(item["since_ms"])
    return Former(secret, since_ms, None if used_ms is None else int(used_ms), was_told=bool(item["told"]))

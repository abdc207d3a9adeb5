"""How the gateway gets to know a new signing secret before its file has it, or to forget former ones."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from gateway.cli.control_client import NotRunningError, ask
from gateway.errors import CommandError, GatewayError
from gateway.intake.former_secrets import forget_former

if TYPE_CHECKING:
    from pathlib import Path

_PATH = "/signing-secrets"
_BACK_WITHIN_S = 60.0
_TRY_EVERY_S = 0.5


def is_running(config: Path, *, may_forget: bool) -> bool:
    """Say whether there is a gateway to be told; refuse to go on where nobody would accept the old secret."""
    try:
        ask(config, _PATH)
    except NotRunningError as error:
        if may_forget:
            return False
        raise CommandError(
            f"{error}. Only a running gateway goes on accepting the old secret: start it first, or say"
            " --forget-old if nothing that is signed with it is wanted any more"
        ) from error
    return True


def tell(config: Path, secret: bytes, *, keep: bool, source: str) -> str | None:
    """Tell the gateway, and `keep` the old secret, too; return what could not be done and what to do then.

    It ran a moment ago. One that is away now is waited for: it starts with the old secret, which is in
    its `source` still, and is told then. `source`: the kind of it.
    """
    document = {"secret": secret.decode(), "keep_previous": keep}
    try:
        problem = _ask_patiently(config, document).get("problem")
    except GatewayError as error:
        return (
            f"The gateway could not be told of the new secret: {error}. {_advice(keep=keep, source=source)}"
        )
    return None if problem is None else f"The gateway accepts the new secret, but {problem}"


def forget_kept(file: Path) -> str | None:
    """Have a gateway that is down remember no former secrets; return what is to be done by hand, if any."""
    try:
        forget_former(file)
    except OSError as error:
        return (
            f"{file} can't be removed: {error.strerror or error}. Remove it, for a gateway that starts"
            " accepts the former secrets in it"
        )
    return None


def _ask_patiently(config: Path, document: dict[str, object]) -> dict[str, object]:
    deadline = time.monotonic() + _BACK_WITHIN_S
    is_told = False
    while True:
        try:
            return ask(config, _PATH, document)
        except NotRunningError:
            if time.monotonic() > deadline:
                raise
        if not is_told:
            print(f"The gateway is away; waiting for it, {_BACK_WITHIN_S:g} s at most.", file=sys.stderr)
            is_told = True
        time.sleep(_TRY_EVERY_S)


def _advice(*, keep: bool, source: str) -> str:
    """Say how a gateway gets to know what its file has by now."""
    if keep and source == "file":
        return (
            "If it runs, `systemctl reload gateway` has it read its file, and accept the old secret for a"
            " day; if not, it reads the file when it starts"
        )
    return "If it runs, restart it: it reads the new secret when it starts"

"""A new signing secret is sent to the running gateway over its control socket."""

from __future__ import annotations

import json
import signal
import stat
from typing import TYPE_CHECKING, Any

import pytest
from support.building import ask_control, eventually
from support.daemon import SECRET, sign, telemetry

if TYPE_CHECKING:
    from support.daemon import Daemon


def accepted(daemon: Daemon, secret: str) -> bool:
    """Return whether an event signed with `secret` is answered with 200."""
    body = telemetry("evt_1", "ast-3", {"temperature": 21.5})
    status, _ = daemon.post(body, sign(body, secret=secret))
    assert status in {200, 401}
    return status == 200


def send_secret(daemon: Daemon, **document: Any) -> dict[str, Any]:
    """Send a new secret to the gateway; return its answer."""
    status, answer = ask_control(daemon, "/signing-secrets", json.dumps(document).encode())
    assert status == 200, answer
    return answer


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({}, "`secret` is missing"),
        ({"secret": ""}, "`secret` is missing"),
        ({"secret": 7}, "`secret` is missing"),
        ({"secret": "hidden\nlines"}, "a text of one line"),
        ({"secret": "hidden" * 1000}, "a text of one line"),
        ({"secret": "hidden", "keep_previous": "no"}, "`keep_previous` is true or false"),
    ],
)
def test_an_unusable_secret_is_refused_and_not_quoted(
    daemon: Daemon, document: dict[str, Any], error: str
) -> None:
    """The answer names what is expected; neither answer nor log has the text."""
    status, answer = ask_control(daemon, "/signing-secrets", json.dumps(document).encode())
    assert status == 400
    assert error in answer["error"]
    assert "hidden" not in str(answer) + daemon.log


def test_rotation_and_what_is_kept_of_it(daemon: Daemon) -> None:
    """The new one is accepted at once, the previous one too, unless it has leaked; SIGHUP undoes nothing.

    The file of the daemon's memory is its own alone, and neither log nor status have a secret.
    """
    memory = daemon.folder / "signing-secrets.previous"
    assert not accepted(daemon, "made-up-2")
    answer = send_secret(daemon, secret="made-up-2")
    assert (answer["current"], len(answer["previous"]), answer["problem"]) == (1, 1, None)
    assert stat.S_IMODE(memory.stat().st_mode) == 0o600
    assert accepted(daemon, "made-up-2")
    assert daemon.status()["intake"]["previous_secrets"] == {"number": 1, "last_used_ms": None}
    assert accepted(daemon, SECRET)
    assert daemon.status()["intake"]["previous_secrets"]["last_used_ms"] is not None

    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)  # its file still holds the previous secret
    assert accepted(daemon, "made-up-2")
    (daemon.folder / "secret").write_text("made-up-3")  # by hand
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: accepted(daemon, "made-up-3"), expected=True)
    assert accepted(daemon, "made-up-2")
    assert accepted(daemon, SECRET)

    assert send_secret(daemon, secret="made-up-4", keep_previous=False)["previous"] == []
    known = [secret for secret in (SECRET, "made-up-2", "made-up-3", "made-up-4") if accepted(daemon, secret)]
    assert known == ["made-up-4"]
    shown = daemon.log + json.dumps(daemon.status()) + str(answer)
    assert not [secret for secret in (SECRET, "made-up") if secret in shown]
    assert daemon.log.count('"signing_secrets.rotated"') == 2

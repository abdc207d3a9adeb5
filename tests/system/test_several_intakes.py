"""Several intakes behind one address, by the examples for nginx and Caddy, while one goes down."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.authority import Authority
from support.building import eventually
from support.daemon import Daemon, telemetry
from support.ports import free_port
from support.proxies import CADDY, NGINX, Proxy, caddy, nginx, running_proxy

from gateway.journal.lookup import newest_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXAMPLES = [(nginx, NGINX / "intakes.conf"), (caddy, CADDY / "Caddyfile.intakes")]
BROKEN_OFF = {nginx: {200}, caddy: {200, 502}}
"""The answers while an intake is killed: nginx asks the other one, Caddy leaves that to Infodeck."""


@dataclass
class Intakes(Proxy):
    """A proxy with two intakes behind it; `broken_off` are its answers while one is killed."""

    daemons: list[Daemon]
    broken_off: set[int]

    def deliver(self, numbers: range) -> set[int]:
        """Post events, one after the other; return the answers."""
        return {self.ask(body_of(number)) for number in numbers}

    def stored(self) -> list[set[str]]:
        """Return the ids that each intake has in its journal."""
        return [
            {event.event_id for event in newest_events(daemon.folder / "journal.db", limit=1000)}
            for daemon in self.daemons
        ]


def body_of(number: int) -> bytes:
    """Return an event."""
    return telemetry(f"evt_{number}", "ast-a1b2c3d4", {"temperature": 21.5})


@pytest.fixture(params=EXAMPLES, ids=["nginx", "caddy"])
def intakes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Intakes]:
    """Run two intakes, whose sinks' receivers are away, and each proxy in front of them."""
    command, example = request.param
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    daemons = [Daemon(folder, free_port()) for folder in folders]
    addresses = {
        f"192.0.2.1{number}:8080 ": f"127.0.0.1:{daemon.intake_port} "
        for number, daemon in enumerate(daemons, 1)
    }
    try:
        for daemon in daemons:
            daemon.start()
        with running_proxy(
            tmp_path, command, example, authority=Authority(tmp_path), addresses=addresses
        ) as proxy:
            yield Intakes(proxy.port, proxy.authority, daemons, BROKEN_OFF[command])
    finally:
        for daemon in daemons:
            daemon.kill()


def test_another_intake_takes_what_one_cannot(intakes: Intakes) -> None:
    """With one intake down, deliveries are answered with 200, and are in the other one's journal.

    One that is killed during a delivery makes no difference, either: the delivery goes to the other one, by
    the proxy or when Infodeck repeats it. Nothing that was answered with 200 is missing.
    """
    one, two = intakes.daemons
    assert intakes.deliver(range(20)) == {200}
    assert all(len(ids) >= 5 for ids in intakes.stored())  # both get some
    assert one.process is not None
    one.process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(8) as pool:
        held = [pool.submit(intakes.ask, body_of(number)) for number in range(20, 28)]
        eventually(lambda: sum(future.done() for future in held) >= 4, True)  # noqa: FBT003 - what is compared
        one.kill()
        assert {future.result() for future in held} == intakes.broken_off
    eventually(lambda: intakes.deliver(range(20, 28)), {200})
    assert intakes.deliver(range(28, 48)) == {200}
    assert {f"evt_{number}" for number in range(20, 48)} <= intakes.stored()[1]
    one.start()
    two.stop()
    eventually(lambda: intakes.deliver(range(48, 58)), {200})
    assert {f"evt_{number}" for number in range(58)} == set.union(*intakes.stored())

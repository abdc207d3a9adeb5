"""Signals at the worst moments of a reload."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from support.building import eventually
from support.daemon import Daemon
from support.edited_tables import HEAD, put, running, table
from support.notified import notification_socket

if TYPE_CHECKING:
    import pytest
    from support.mosquitto import Mosquitto

T = "point: T, asset: a, from: t, modbus: {register: 0, type: uint16}"
_STOP_WITHIN_S = 20.0  # the unit file gives it 30
MANY = 20_000


def long_table(*, gain: float) -> str:
    """Return a table that takes seconds to read."""
    points = "".join(
        f"  - {{tag: R, point: P{number}, asset: a{number}, from: t, gain: {gain}}}\n"
        for number in range(MANY)
    )
    return f"{HEAD}points:\n{points}"


def test_sighup_during_the_start(tmp_path: Path, broker: Mosquitto) -> None:
    """The gateway goes on with the newest tables."""
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "a.yaml").write_text(long_table(gain=1))
    daemon = Daemon(tmp_path, broker.port, tables=tables)
    process = daemon.launch()
    try:
        eventually(lambda: ignores_sighup(process.pid), expected=True)
        process.send_signal(signal.SIGHUP)
        daemon.wait_until_ready(process)
        put(daemon, table(T))
        process.send_signal(signal.SIGHUP)
        eventually(lambda: daemon.status()["tables"]["points"], expected=1)
    finally:
        daemon.kill()


def ignores_sighup(process: int) -> bool:
    """Return whether a process ignores SIGHUP."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    ignored = next(line.split()[1] for line in lines if line.startswith("SigIgn:"))
    return bool(int(ignored, 16) >> signal.SIGHUP - 1 & 1)


def test_sigterm_during_a_reload(tmp_path: Path, broker: Mosquitto) -> None:
    """It stops in order, long before systemd would kill it."""
    with running(tmp_path, broker, table(T)) as daemon:
        assert daemon.process is not None
        began_s = cpu_s(daemon)
        put(daemon, long_table(gain=1))
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: cpu_s(daemon) > began_s + 0.2, expected=True)
        asked_s = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - asked_s < _STOP_WITHIN_S
    assert "gateway.stopped" in daemon.log
    assert "Traceback" not in daemon.log


def cpu_s(daemon: Daemon) -> float:
    """Return the CPU seconds that the daemon has used."""
    assert daemon.process is not None
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_ready_is_sent_after_the_last_reload(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload requested during a reload is finished before `READY=1`."""
    with (
        notification_socket(tmp_path, monkeypatch) as notified,
        running(tmp_path, broker, table(T)) as daemon,
    ):
        assert notified.next().startswith("READY=1")
        assert daemon.process is not None
        began_s = cpu_s(daemon)
        put(daemon, long_table(gain=1))
        daemon.process.send_signal(signal.SIGHUP)
        assert notified.next().startswith("RELOADING=1")
        eventually(lambda: cpu_s(daemon) > began_s + 0.2, expected=True)  # it is under way
        put(daemon, "nothing")
        daemon.process.send_signal(signal.SIGHUP)
        assert notified.next().startswith("RELOADING=1")
        assert "changed point tables are refused" in notified.next()

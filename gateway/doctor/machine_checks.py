"""Checks of this machine: the gateway's own ports, the disk of the journal, and the journal itself."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.value_types import rounded_size_text, size_text
from gateway.doctor.daemon_status import number, text
from gateway.doctor.diagnosis import Finding, Findings, ok, problem, warning
from gateway.errors import system_reason
from gateway.journal.database import corrupt_files
from gateway.journal.journal_file import disk_reserve
from gateway.journal.lookup import read_error
from gateway.sinks.modbus_server.sink import ModbusServerConfig
from gateway.text import count_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config.value_types import HostPort
    from gateway.doctor.daemon_status import DaemonStatus
    from gateway.doctor.setup import Setup

_CONNECT_WITHIN_S = 4.0
_FIRST_FREE_PORT = 1024
_EVERYONE = frozenset({ip_network("0.0.0.0/0"), ip_network("::/0")})
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_ESCAPE = re.compile(r"\\([0-7]{3})")  # blanks in /proc/self/mountinfo
_NEARLY_FULL = 0.8
_SEE_DISK = "see the check of the disk here, and the disk's cable or card (`dmesg`)"


async def check_ports(setup: Setup) -> list[Finding]:
    """Check that each port of the gateway is free while it is down, and open while it runs."""
    settings, daemon = setup.settings, await setup.daemon()
    servers = {name: sink for name, sink in settings.sinks.items() if isinstance(sink, ModbusServerConfig)}
    listeners = {
        "intake.listen": settings.intake.listen,
        "admin.listen": settings.admin.listen,
        **{f"sinks.{name}.listen": sink.listen for name, sink in servers.items()},
    }
    findings = [finding for name, sink in servers.items() for finding in _allowed(name, sink)]
    if daemon.is_silent:
        return findings  # a gateway that hangs holds them all
    if daemon.is_other:
        del listeners["admin.listen"]  # reported by the check of the gateway
    if daemon.status is None:
        findings = [*await _are_free(listeners), *findings]
    else:
        seen = [await _is_open(f"sinks.{name}.listen", sink.listen) for name, sink in servers.items()]
        findings = [*filter(None, seen), *findings]
    how = "free" if daemon.status is None else "the gateway's"
    return findings or [ok(f"{', '.join(map(str, listeners.values()))}: {how}")]


async def _are_free(listeners: Mapping[str, HostPort]) -> list[Finding]:
    """Try to listen on each; all that are in use are one finding: one program may have them all."""
    taken, findings = [], Findings()
    for setting, address in listeners.items():
        try:
            server = await asyncio.get_running_loop().create_server(
                asyncio.Protocol, address.host, address.port
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                taken.append((setting, address))
            else:
                findings.append(_not_ours(setting, address, system_reason(error)))
        else:
            server.close()
    return [_taken(taken), *findings] if taken else findings


def _taken(ports: Sequence[tuple[str, HostPort]]) -> Finding:
    shown = ", ".join(f"{setting}: {address}" for setting, address in ports)
    is_one = len(ports) == 1
    which = " or ".join(f"sport = :{address.port}" for _, address in ports)
    return problem(
        f"{shown} {'is' if is_one else 'are'} in use already",
        f"see who has {'it' if is_one else 'them'}: ss -ltnp '{which}' (a gateway with another admin.listen,"
        f" perhaps); or change {' and '.join(setting for setting, _ in ports)}",
    )


def _not_ours(setting: str, address: HostPort, reason: str) -> Finding:
    return problem(
        f"{setting}: {address} cannot be listened on: {reason}",
        f"give an address of this machine, and for ports below {_FIRST_FREE_PORT} the right that"
        " systemd/gateway.service names",
    )


async def _is_open(setting: str, address: HostPort) -> Finding | None:
    here = address.reachable
    try:
        async with asyncio.timeout(_CONNECT_WITHIN_S):
            _, writer = await asyncio.open_connection(here.host, here.port)
    except (OSError, TimeoutError) as error:
        return problem(
            f"{setting}: nothing listens on {address}: {str(error) or 'no answer'}",
            "restart the gateway if the settings were changed; `journalctl -u gateway` says more",
        )
    writer.close()
    return None


def _allowed(name: str, config: ModbusServerConfig) -> list[Finding]:
    """Report where `listen` and `allow` let every machine in, or no other machine."""
    if _EVERYONE & set(config.allow) and not config.listen.is_loopback and config.tls is None:
        return [
            warning(
                f"sinks.{name}.allow lets every machine poll {config.listen}",
                "name the networks of the controllers: allow: [10.1.0.0/16]",
            )
        ]
    are_here = all(network.is_loopback for network in config.allow)
    if config.listen.is_loopback and not are_here:
        return [
            warning(
                f"sinks.{name}.listen is {config.listen}, where no other machine gets to",
                f"listen on the address in the controllers' network: listen: 0.0.0.0:{config.listen.port}",
            )
        ]
    if not config.listen.is_loopback and are_here:
        return [
            warning(
                f"sinks.{name}.allow lets in no other machine",
                "name the networks of the controllers: allow: [10.1.0.0/16]",
            )
        ]
    return []


async def check_journal(setup: Setup) -> list[Finding]:
    """Check that the file can be read, and its status in the running daemon."""
    daemon = await setup.daemon()
    runs = daemon.status is not None
    findings = await asyncio.to_thread(_file_findings, setup.settings.journal.path, runs=runs)
    if not runs:
        return findings
    journal, most = daemon.section("journal"), setup.settings.journal.max_size
    used = int(number(journal, "bytes_used"))
    if (state := text(journal, "state")) != "ok":
        remedy = _make_room(daemon, size_text(most)) if state.endswith(" is full") else _SEE_DISK
        findings.problem(f"it takes no events: {state}", f"{remedy}; Infodeck tries again for 24 h")
    elif used > most * _NEARLY_FULL:
        findings.warning(
            f"{used * 100 // most} % of journal.max_size ({size_text(most)}) are used",
            _make_room(daemon, size_text(most)),
        )
    if letters := int(number(journal, "dead_letters")):
        findings.warning(
            f"{count_text(letters, 'dead letter')}: refused by a receiver, or unreadable",
            "`gateway deadletters list` says why; after fixing the cause: `gateway deadletters retry`",
        )
    return findings or [ok(f"{rounded_size_text(used)} of {size_text(most)}, no dead letters")]


def _make_room(daemon: DaemonStatus, most: str) -> str:
    """Return what makes room: events that a sink has not received yet are never removed."""
    more = f"give the journal more room, journal.max_size is {most}"
    if daemon.kept is None:
        return f"see the check of the disk here; where that has room, {more}"
    return f"{daemon.kept}: see the check of sinks here; or {more}"


def _file_findings(journal: Path, *, runs: bool) -> Findings:
    """Return what keeps the file from being read; only a warning if this user may not read it."""
    findings = Findings()
    if (found := read_error(journal)) is not None:
        level = problem if os.access(journal, os.R_OK) and not runs else warning
        findings.append(level(*found))
    if corrupt := corrupt_files(journal):
        findings.warning(
            f"a corrupt journal was moved aside: {corrupt[-1]}",
            "check the disk; see `A damaged journal` in docs/operations.md, then remove that file",
        )
    return findings


async def check_disk(setup: Setup) -> list[Finding]:
    """Check the folder of the journal: its permissions, its kind of disk and its room."""
    journal = setup.settings.journal
    return await asyncio.to_thread(_folder_findings, journal.path, journal.max_size)


def _folder_findings(journal: Path, max_bytes: int) -> list[Finding]:
    folder = journal.parent
    try:
        disk = shutil.disk_usage(folder)
    except OSError as error:
        return [
            problem(
                f"{folder}: {error.strerror}",
                f"make it, for the gateway's user alone: install -d -m 0700 {folder}; under systemd"
                " StateDirectory= does that",
            )
        ]
    findings = Findings()
    if not os.access(folder, os.W_OK | os.X_OK):
        findings.warning(
            f"{folder} cannot be written by this user",
            "run this command as the gateway's user or as root",
        )
    file_system = _file_system(folder)
    if file_system in _IN_MEMORY:
        findings.problem(
            f"{folder} is in memory ({file_system}): a restart loses what was acknowledged",
            "put the journal on a disk: journal.url",
        )
    used_bytes = sum(_size(journal.with_name(journal.name + end)) for end in ("", "-wal"))
    findings += _room(folder, disk.free, disk.total, used_bytes=used_bytes, max_bytes=max_bytes)
    return findings or [
        ok(
            f"{folder}: {rounded_size_text(disk.free)} free,"
            f" journal {rounded_size_text(used_bytes)} of {size_text(max_bytes)}"
        )
    ]


def _room(
    folder: Path, free_bytes: int, total_bytes: int, *, used_bytes: int, max_bytes: int
) -> list[Finding]:
    reserve_bytes = disk_reserve(total_bytes)
    free = rounded_size_text(free_bytes)
    if free_bytes < reserve_bytes:
        return [
            problem(
                f"{folder} has {free} free, and {rounded_size_text(reserve_bytes)} are reserved for cursors"
                " and values: new events have only the room of delivered ones, and then get 503",
                "make room, or lower journal.max_size; Infodeck tries again for 24 h",
            )
        ]
    if free_bytes + used_bytes < max_bytes:
        return [
            warning(
                f"{folder} has {free} free, but the journal may grow to {size_text(max_bytes)}"
                " (journal.max_size)",
                "make room, or lower journal.max_size, so that the journal is full before the disk is",
            )
        ]
    return []


def _file_system(folder: Path) -> str | None:
    """Return the type of the file system that a folder is in, None if it is unknown."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
        target = folder.resolve()
    except OSError:
        return None
    best: tuple[int, str] | None = None
    for line in lines:
        mount, _, rest = line.partition(" - ")
        place = Path(_ESCAPE.sub(lambda found: chr(int(found[1], 8)), mount.split(" ")[4]))
        if target.is_relative_to(place) and (best is None or len(place.parts) >= best[0]):
            best = len(place.parts), rest.split(" ")[0]
    return None if best is None else best[1]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0

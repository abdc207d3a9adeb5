"""A fleet on loopback: three nats-servers, two intakes behind nginx, and an edge box for each of two sites.

Every part is a process of its own that can be killed and started again. A third site has assets, and no edge.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from support.authority import Authority
from support.daemon import ORGANIZATION, Daemon
from support.fleet_ledger import DeliveryLedger
from support.nats_servers import NatsCluster, NatsServer
from support.processes import run_gateway
from support.proxies import NGINX, nginx, running_proxy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SITES = ("hq-tower", "annex")
WITHOUT_EDGE = "depot"
STREAM = "INFODECK"

_TABLE = """\
schema: gateway.points/1
site: {site}
defaults: {{stale_after: 90m}}
templates: {{{site}: {{points: {{ZN-T: {{from: temperature, unit: degC{modbus}}}}}}}}}
assets:
"""
_REGISTER = ", modbus: {to: regs, register: 0, table: input, type: float32}"


def asset_ids(site: str, count: int) -> list[str]:
    """Return the ids of a site's assets."""
    return [f"ast-{site}-{number}" for number in range(count)]


def table_of(site: str, count: int, *, modbus: bool) -> str:
    """Return a point table: one temperature for each asset, at an edge with a register.

    An intake has the tables of all sites, so the names of tags and templates begin with their site's.
    """
    lines = [_TABLE.format(site=site, modbus=_REGISTER if modbus else "")]
    for number, asset in enumerate(asset_ids(site, count)):
        base = f", base: {2 * number}" if modbus else ""
        lines.append(f"  - {{id: {asset}, tag: {site}-{number}, use: {site}{base}}}\n")
    return "".join(lines)


@dataclass(kw_only=True)
class FleetBox(Daemon):
    """A gateway of the fleet."""

    broker_port: int = 0
    name: str
    servers: Sequence[str]
    assets: int

    def __post_init__(self) -> None:
        """Write settings, secret and point tables."""
        self.folder.mkdir()
        self.tables = self.folder / "mappings"
        self.tables.mkdir()
        super().__post_init__()

    @property
    def pid(self) -> int | None:
        """The number of the process, None if it does not run."""
        return None if self.process is None or self.process.poll() is not None else self.process.pid

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.folder / "journal.db"

    def _write(self, way_in: str, sinks: str, *, sites: Sequence[str], modbus: bool) -> None:
        for site in sites:
            (self.tables / f"{site}.yaml").write_text(table_of(site, self.assets, modbus=modbus))
        self.config.write_text(
            f"""\
name: {self.name}
infodeck: {{organization: {ORGANIZATION}}}
{way_in}
journal: {{url: "sqlite://{self.journal}"}}
sinks: {sinks}
mappings: mappings
admin: {{listen: "127.0.0.1:{self.admin_port}"}}
"""
        )


@dataclass(kw_only=True)
class Intake(FleetBox):
    """A gateway that receives webhooks and publishes them to the stream."""

    acknowledge: str = "journal"

    def write_settings(self) -> None:
        """Write the settings with an intake and a NATS sink, and the tables of all sites."""
        way_in = (
            f'intake: {{listen: "127.0.0.1:{self.intake_port}", signing_secrets: [{{file: secret}}],'
            f" acknowledge: {self.acknowledge}}}"
        )
        sinks = f"{{fan: {{type: nats, servers: {json.dumps(self.servers)}, stream: {STREAM}}}}}"
        self._write(way_in, sinks, sites=(*SITES, WITHOUT_EDGE), modbus=False)


@dataclass(kw_only=True)
class Edge(FleetBox):
    """A gateway in a building; its name is its site's."""

    def write_settings(self) -> None:
        """Write the settings with a NATS source and a Modbus server, and the table of its site."""
        way_in = (
            f"source: {{type: nats, servers: {json.dumps(self.servers)}, stream: {STREAM},"
            f' consumer: {self.name}, subjects: ["infodeck.{ORGANIZATION}.{self.name}.>"]}}'
        )
        sinks = f'{{regs: {{type: modbus_server, listen: "127.0.0.1:{self.modbus_port}"}}}}'
        self._write(way_in, sinks, sites=[self.name], modbus=True)


Part = NatsServer | FleetBox


class ManyBuildings(ExitStack):
    """The whole fleet. A context manager; with `program`, gateways are processes of Python with that program.

    `assets` is their number at each site.
    """

    def __init__(
        self,
        folder: Path,
        *,
        acknowledge: str = "journal",
        assets: int = 10,
        program: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.assets = assets
        self.cluster = NatsCluster(folder, sync_always=True)
        urls = self.cluster.urls
        self.intakes = [
            Intake(
                folder / name,
                name=name,
                servers=urls,
                assets=assets,
                program=program,
                acknowledge=acknowledge,
            )
            for name in ("intake-1", "intake-2")
        ]
        self.edges = [
            Edge(folder / site, name=site, servers=urls, assets=assets, program=program) for site in SITES
        ]
        self._folder = folder

    @property
    def parts(self) -> list[Part]:
        """All that can be killed: servers, intakes and edges."""
        return [*self.cluster.servers, *self.boxes]

    @property
    def boxes(self) -> list[FleetBox]:
        """All gateways."""
        return [*self.intakes, *self.edges]

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        self.enter_context(self.cluster)
        for box in (self.intakes[0], *self.edges):
            self.set_up(box)
        for box in self.boxes:
            box.launch()
            self.callback(box.kill)
        for box in self.boxes:
            assert box.process is not None
            box.wait_until_ready(box.process)
        addresses = {"fail_timeout=5s": "fail_timeout=1s"} | {  # one intake after the other is killed
            f"192.0.2.1{number}:8080 ": f"127.0.0.1:{intake.intake_port} "
            for number, intake in enumerate(self.intakes, 1)
        }
        proxy = running_proxy(
            self._folder,
            nginx,
            NGINX / "intakes.conf",
            authority=Authority(self._folder),
            addresses=addresses,
        )
        self.proxy = self.enter_context(proxy)

    def ledger(self, name: str, *, pause_s: float = 0.0) -> DeliveryLedger:
        """Return a ledger of deliveries to the proxy, about the assets of all sites."""
        assets = [asset for site in (*SITES, WITHOUT_EDGE) for asset in asset_ids(site, self.assets)]
        return DeliveryLedger(name, self.proxy, assets, pause_s=pause_s)

    def set_up(self, box: FleetBox) -> None:
        """Make the stream (an intake) or the consumer (an edge)."""
        done = run_gateway("nats", "setup", "-c", box.config, "--apply")
        assert done.returncode == 0, done.stdout + done.stderr

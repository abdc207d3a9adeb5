"""A gateway in a building, with a source in place of an intake; and messages as intakes publish them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from nats.js.api import AckPolicy, ConsumerConfig

from gateway.jetstream.config import FETCH_SIZE
from support.daemon import ORGANIZATION, Daemon
from support.nats_servers import add_stream, client_of
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STREAM, CONSUMER = "INFODECK", "hq-tower"
SUBJECTS = f"infodeck.{ORGANIZATION}.hq-tower.>"


@dataclass
class SourceBox(Daemon):
    """`gateway run` with a source of type nats; `servers` are URLs.

    `login`, `journal` and `bms` are more keys of the source, the journal and the MQTT sink.
    """

    servers: Sequence[str] = ()
    login: str = ""
    journal: str = ""
    has_sinks: bool = True
    bms: str = ""
    broker_port: int = field(default_factory=free_port)

    def metrics(self) -> str:
        """Return `/metrics`."""
        with urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    def write_settings(self) -> None:
        """Write the settings file."""
        servers = ", ".join(f'"{url}"' for url in self.servers)
        source = f"type: nats, servers: [{servers}], stream: {STREAM}, consumer: {CONSUMER}"
        sinks = f"""\
sinks:
  bms: {{type: mqtt, url: "mqtt://127.0.0.1:{self.broker_port}"{self.bms}}}
  regs: {{type: modbus_server, listen: "127.0.0.1:{self.modbus_port}"}}
"""
        self.config.write_text(
            f"""\
name: test-box
infodeck: {{organization: {ORGANIZATION}}}
source: {{{source}, subjects: ["{SUBJECTS}"]{self.login}}}
journal: {{url: "sqlite://{self.folder}/journal.db"{self.journal}}}
{sinks if self.has_sinks else ""}
mappings: {self.tables}
admin: {{listen: "127.0.0.1:{self.admin_port}"}}
"""
        )


async def add_consumer(
    urls: str | Sequence[str], *, consumer: str = CONSUMER, subjects: str = SUBJECTS, **config: Any
) -> None:
    """Make the stream, and the consumer of a box, as `gateway nats setup` does."""
    await add_stream(urls)
    async with client_of(urls) as client:
        await client.jetstream().add_consumer(
            STREAM,
            ConsumerConfig(
                durable_name=consumer,
                ack_policy=AckPolicy.EXPLICIT,
                max_ack_pending=FETCH_SIZE,
                filter_subjects=[subjects],
                **config,
            ),
        )


def headers_of(event_id: str, *, by: str = "intake-1", received_ms: int | None = None) -> dict[str, str]:
    """Return the headers with which an intake publishes an event."""
    first_ms = time.time_ns() // 1_000_000 if received_ms is None else received_ms
    return {"Nats-Msg-Id": event_id, "Gateway-Verified-By": by, "Gateway-Received": str(first_ms)}


async def publish(
    urls: str | Sequence[str], messages: Iterable[tuple[str, bytes, dict[str, str]]], *, at_once: int = 200
) -> None:
    """Publish messages: asset, body and headers, in order, and wait until the stream has them."""
    async with client_of(urls) as client:
        stream = client.jetstream(publish_async_max_pending=at_once)
        waiting = [
            await stream.publish_async(f"infodeck.{ORGANIZATION}.hq-tower.{asset}", body, headers=headers)
            for asset, body, headers in messages
        ]
        await asyncio.gather(*waiting)

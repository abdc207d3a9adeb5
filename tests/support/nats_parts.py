"""A NATS sink with everything around it, events for it, and users as an operator signs them."""

from __future__ import annotations

import asyncio
import base64
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.config.secrets import SecretSource
from gateway.delivery.event_copies import EventCopies, subject_of
from gateway.events import parse_event
from gateway.jetstream.config import parse_nats_url
from gateway.mapping.plan import PointMap
from gateway.sinks.nats.config import NatsSinkConfig
from gateway.sinks.nats.sink import NatsSink
from gateway.status import SinkStatus
from support.latest_values import DictLatestValues
from support.mqtt_parts import PointTable
from support.nats_servers import UserKey
from support.waiting import until, until_delivered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.model import EventCopy, Origin
    from gateway.ports import PointSource
    from support.nats_servers import StreamMessage

ORGANIZATION = "o-x"
RECEIVED_MS = 1_800_000_000_000
_SUBJECT_OF = partial(subject_of, organization=ORGANIZATION, points=PointMap((), {}), inventory=None)
_COPIES = EventCopies({}, subject_of=_SUBJECT_OF)


def make_copy(
    seq: int, asset: str, *, size: int = 0, origin: Origin | None = None, event_id: str = ""
) -> EventCopy:
    """Return a telemetry event of an asset on its way to the sink."""
    document = {
        "id": event_id or f"evt_{seq}",
        "type": "asset.telemetry.updated",
        "data": {"object": {"id": asset, "telemetry": {"n": seq}, "notes": "x" * size}},
    }
    event = parse_event(json.dumps(document, indent=1).encode(), received_ms=RECEIVED_MS + seq, origin=origin)
    return _COPIES.copy(event, seq=seq)


def make_copies(first: int, last: int, *, assets: int = 20) -> list[EventCopy]:
    """Return the events with these numbers, of some assets in turns."""
    return [make_copy(seq, f"ast-{seq % assets}") for seq in range(first, last + 1)]


def by_asset(messages: Sequence[StreamMessage]) -> dict[str, list[int]]:
    """Return the numbers of the events by the last token of their subjects, in the stream's order."""
    found: dict[str, list[int]] = {}
    for message in messages:
        number = message.json["data"]["object"]["telemetry"]["n"]
        found.setdefault(message.subject.rpartition(".")[2], []).append(number)
    return found


class NatsRig:
    """A sink named `fan` of the gateway `edge-1`."""

    def __init__(self, urls: str | Sequence[str], **settings: Any) -> None:
        listed = [urls] if isinstance(urls, str) else urls
        self.status = SinkStatus(type="nats")
        self.points: PointSource = PointTable(())
        self.sink = NatsSink(
            name="fan",
            config=NatsSinkConfig(
                type="nats",
                servers=tuple(parse_nats_url(url) for url in listed),
                **({"stream": "INFODECK"} | settings),
            ),
            gateway="edge-1",
            points=self.points,
            latest=DictLatestValues(),
            status=self.status,
        )

    async def deliver(self, copies: Sequence[EventCopy]) -> int:
        """Write events as the delivery loop does; return how often it was tried again."""
        return await until_delivered(lambda: self.sink.write(copies))

    async def until_error(self, copies: Sequence[EventCopy], words: str) -> str:
        """Write until the reason has these words; return it. It fails where the write succeeds."""
        reason = ""
        async with asyncio.timeout(60):
            while words not in reason:
                try:
                    await self.sink.write(copies)
                except Exception as error:  # noqa: BLE001 - its text is what the test is about
                    reason = str(error)
                    await asyncio.sleep(0.01)  # for the session to end meanwhile
                else:
                    raise AssertionError("the events are published")
        return reason

    async def until_state(self, state: str) -> None:
        """Wait for a state of the sink."""
        await until(lambda: self.status.state == state)


def secret_file(file: Path, content: str) -> SecretSource:
    """Write a secret into a file of its own."""
    file.touch(mode=0o600)
    file.write_text(content)
    return SecretSource("file", str(file))


class Operator:
    """An operator with one account: `settings` are a server's; its users log in with credentials files."""

    def __init__(self) -> None:
        operator, self._account, system = UserKey("O"), UserKey("A"), UserKey("A")
        limits = dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1)
        storage = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
        claims = {"limits": limits | storage | {"wildcards": True}, "type": "account"}
        account = _jwt(operator, self._account.public, claims)
        own = _jwt(operator, system.public, {"limits": limits, "type": "account"})
        self.settings = (
            f"operator: {_jwt(operator, operator.public, {'type': 'operator'})}\n"
            f"system_account: {system.public}\nresolver: MEMORY\n"
            f"resolver_preload: {{{self._account.public}: {account}, {system.public}: {own}}}\n"
        )

    def credentials(self) -> str:
        """Return the content of a new user's credentials file."""
        user = UserKey()
        limits = {"subs": -1, "data": -1, "payload": -1, "type": "user", "pub": {}, "sub": {}}
        jwt = _jwt(self._account, user.public, limits)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )


def _jwt(issuer: UserKey, subject: str, claims: dict[str, Any]) -> str:
    head = {"typ": "JWT", "alg": "ed25519-nkey"}
    body = {"jti": "1", "iat": 1_700_000_000, "iss": issuer.public, "name": "test", "sub": subject}
    parts = [_base64(json.dumps(part).encode()) for part in (head, body | {"nats": claims | {"version": 2}})]
    signed = ".".join(parts)
    return f"{signed}.{_base64(issuer.sign(signed.encode()))}"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")

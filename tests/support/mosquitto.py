"""A real mosquitto on a free loopback port, and the messages that `mosquitto_sub` receives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.ports import free_port
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

_ALWAYS = (
    "max_queued_messages 100000",  # a subscriber gets all retained messages, not the first 1,000
    "user root",  # reads the tests' files where root starts it; without meaning elsewhere
)
_MARK = "support/mark"


class Mosquitto(ServerProcess):
    """One broker.

    `settings` are lines of mosquitto.conf and replace anonymous access. Nothing is kept over a restart,
    unless the broker `is_persistent` and is stopped in order.
    """

    def __init__(
        self, folder: Path, *settings: str, port: int | None = None, is_persistent: bool = False
    ) -> None:
        self.port = port or free_port()
        config = folder / f"mosquitto-{self.port}.conf"
        lines = (f"listener {self.port} 127.0.0.1", *(settings or ("allow_anonymous true",)))
        kept = ("persistence true", f"persistence_location {folder}/") if is_persistent else ()
        config.write_text("\n".join((*lines, *(kept or ("persistence false",)), *_ALWAYS, "")))
        super().__init__(["mosquitto", "-v", "-c", config], log=folder / f"mosquitto-{self.port}.log")

    @property
    def url(self) -> str:
        """Where sinks connect."""
        return f"mqtt://127.0.0.1:{self.port}"

    def is_ready(self) -> bool:
        """Return whether it accepts connections."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True


def write_password_file(path: Path, *, user: str, password: str) -> None:
    """Write a password file for mosquitto's `password_file`."""
    subprocess.run(["mosquitto_passwd", "-c", "-b", path, user, password], check=True, capture_output=True)


@dataclass(frozen=True)
class Seen:
    """One message as `mosquitto_sub` received it; `retained` as published, `expiry_s` as it remained."""

    topic: str
    payload: str
    retained: bool
    qos: int
    expiry_s: int | None
    user_properties: dict[str, str]

    @property
    def json(self) -> Any:
        """The payload, parsed."""
        return json.loads(self.payload)

    @classmethod
    def of(cls, line: bytes) -> Seen:
        """Parse a line of `mosquitto_sub -F %j`."""
        fields = json.loads(line)
        properties = fields.get("properties", {})
        return cls(
            topic=fields["topic"],
            payload=fields["payload"] or "",
            retained=bool(fields["retain"]),
            qos=fields["qos"],
            expiry_s=properties.get("message-expiry-interval"),
            user_properties=properties.get("user-properties", {}),
        )


class Subscriber:
    """A running `mosquitto_sub` on every topic: its messages in order, and waiting for more.

    Messages on `…/$meta` are in `meta`, all others in `seen`.
    """

    def __init__(self, port: int, arguments: tuple[str, ...]) -> None:
        self.seen: list[Seen] = []
        self.meta: list[Seen] = []
        self._port = port
        self._arguments = arguments
        self._markers: set[str] = set()
        self._more = asyncio.Condition()

    def payloads(self, topic: str) -> list[str]:
        """Return the payloads of one topic."""
        return [message.payload for message in self.seen if message.topic == topic]

    def last(self, topic: str) -> Seen:
        """Return the last message of one topic."""
        return next(message for message in reversed(self.seen) if message.topic == topic)

    async def wait_for(self, condition: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
        """Return once `condition` holds; it is checked after every message."""
        async with asyncio.timeout(timeout_s), self._more:
            await self._more.wait_for(condition)

    async def catch_up(self) -> None:
        """Return once everything that the broker had until now was received."""
        marker = str(uuid.uuid4())
        async with asyncio.timeout(60):
            while marker not in self._markers:
                await self._publish(_MARK, marker)
                with contextlib.suppress(TimeoutError):
                    await self.wait_for(lambda: marker in self._markers, timeout_s=0.2)

    async def _publish(self, topic: str, payload: str) -> None:
        command = ("mosquitto_pub", "-h", "127.0.0.1", "-p", str(self._port), "-q", "1", "-t", topic)
        process = await asyncio.create_subprocess_exec(
            *command, "-m", payload, *self._arguments, stderr=asyncio.subprocess.DEVNULL
        )
        await process.wait()

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Read messages until the subscriber ends."""
        async for line in stream:
            message = Seen.of(line)
            async with self._more:
                if message.topic == _MARK:
                    self._markers.add(message.payload)
                else:
                    (self.meta if message.topic.endswith("/$meta") else self.seen).append(message)
                self._more.notify_all()
            await asyncio.sleep(0)  # what waits looks at it before the next line comes


@contextlib.asynccontextmanager
async def subscribe(port: int, *arguments: str) -> AsyncIterator[Subscriber]:
    """Run `mosquitto_sub` with MQTT 5 and `arguments`; it starts with all retained messages seen."""
    command = (
        "mosquitto_sub",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-V",
        "5",
        "-q",
        "1",
        "-t",
        "#",
        "--retain-as-published",
    )
    subscriber = Subscriber(port, arguments)
    async with read_output(*command, "-F", "%j", *arguments, read=subscriber.read):
        await subscriber.catch_up()
        yield subscriber


@contextlib.asynccontextmanager
async def read_output(
    *command: str, read: Callable[[asyncio.StreamReader], Coroutine[Any, Any, None]]
) -> AsyncIterator[None]:
    """Run a program whose output `read` reads to its end; it is killed on leaving."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    reader = asyncio.create_task(read(process.stdout), name=command[0])
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reader

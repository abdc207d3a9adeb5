"""A durable JetStream consumer, read in strict order: nothing overtakes what was not acknowledged.

The server numbers its deliveries to a consumer. Each connection begins with a reset of that consumer to its
first message without acknowledgement, so that the numbers begin at 1 and nothing waits for a time-out.
From then on a number that is missing means that a message was lost or went to somebody else.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from gateway.errors import TransientError
from gateway.events import parse_time
from gateway.jetstream.config import FETCH_SIZE, OLDEST_SERVER
from gateway.jetstream.subjects import filter_subjects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.msg import Msg

    from gateway.jetstream.connection import NatsConnection

_ANSWER_WITHIN_S = 5.0
_EXPIRES_S = 30.0  # of one request for messages
_HEARTBEAT_S = 5.0  # of the server, while no message comes
_SILENT_S = 12.0  # two heartbeats are missing
_FETCH_BYTES = 8 << 20  # of one request; a server ends a connection for which 64 MiB wait
_ENDED = {"404", "408"}  # statuses: no messages, the request has expired
_ENOUGH_BYTES = "Message Size Exceeds MaxBytes"  # the end of a request; its status is that of errors
_ENOUGH_MESSAGES = "Batch Completed"  # likewise; known by their number
_HEARTBEAT = "100"
_NO_CONSUMER, _NO_STREAM = 10014, 10059
_SETUP = "`gateway nats setup` shows what to change"


class Delivery(NamedTuple):
    """One message: its number in the stream, how many more follow, when the server stored it by its clock."""

    message: Msg
    seq: int
    pending: int
    stored_ms: int


class ConsumerState(NamedTuple):
    """A consumer as the server has it, at `time_ms` by the server's clock."""

    time_ms: int
    pending: int
    subjects: list[str]


class PullConsumer:
    """Fetches from one consumer on one connection; `arrived` is set whenever there is something new."""

    def __init__(self, client: NatsConnection, *, stream: str, consumer: str, arrived: asyncio.Event) -> None:
        self._client = client
        self._stream, self._consumer = stream, consumer
        self._arrived = arrived
        self._inbox = client.new_inbox()
        self._waiting: list[Delivery] = []
        self._expected = 1  # the number of the next delivery
        self._requested = 0  # messages that the server will still send
        self._is_idle = False  # the last request ended without all of its messages
        self._heard_s = 0.0
        self._failure: TransientError | None = None
        client.lost.add_done_callback(lambda lost: self._fail(lost.result()))
        client.on_denied = self._fail

    async def start(self) -> ConsumerState:
        """Begin at the first message that is not acknowledged; raise TransientError if it cannot."""
        await self._client.subscribe(self._inbox, cb=self._receive)
        state = await self._look()  # which, unlike a reset, says what does not exist
        await self._ask("RESET")
        return state

    async def _look(self) -> ConsumerState:
        """Return the consumer's state; raise TransientError if none of its messages could be used."""
        info = await self._ask("INFO")
        config, fault = info["config"], None
        if (policy := config.get("ack_policy")) != "explicit":
            fault = f"does not acknowledge each message (ack_policy explicit, not {policy}): {_SETUP}"
        elif config.get("headers_only"):
            fault = f"sends messages without their bodies (headers_only): {_SETUP}"
        elif info.get("paused"):
            resume = f"`nats consumer resume {self._stream} {self._consumer}`"
            fault = (
                f"is paused until {config.get('pause_until')}: no event comes until then, or until {resume}"
            )
        if fault is not None:
            raise TransientError(f"the consumer {self._consumer} {fault}")
        pending = info["num_pending"] + info["num_ack_pending"]
        return ConsumerState(parse_time(info["ts"]) or 0, pending, filter_subjects(config))

    async def next_messages(self) -> list[Delivery]:
        """Return what has arrived, in order; nothing if the server only says that it is there.

        Raise TransientError if the connection or the order is lost.
        """
        self._arrived.clear()
        if self._failure is None and not self._waiting:
            if self._requested <= 0:
                await self._request()
            await self._wait()
        if self._failure is not None and not self._waiting:
            raise self._failure
        messages, self._waiting = self._waiting, []
        return messages

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge each message; what is lost of that is delivered once more."""
        for delivery in deliveries:
            await self._client.publish(delivery.message.reply, b"+ACK")

    def _fail(self, reason: str) -> None:
        """Let `next_messages` raise, after what has arrived in order."""
        self._failure = self._failure or TransientError(reason)
        self._arrived.set()

    async def _wait(self) -> None:
        left_s = self._heard_s + _SILENT_S - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                await self._arrived.wait()
        except TimeoutError:
            self._fail(f"the server has sent nothing for {_SILENT_S:.0f} s")

    async def _request(self) -> None:
        """Request as many messages as may be delivered together: a number of them, and of bytes."""
        if self._is_idle:
            await self._look()  # a consumer that is paused is as silent as one without messages
        self._is_idle, self._requested = False, FETCH_SIZE
        self._heard_s = asyncio.get_running_loop().time()  # without a request there are no heartbeats
        wanted = {
            "batch": FETCH_SIZE,
            "max_bytes": max(_FETCH_BYTES, 2 * self._client.max_payload),  # of one message at least
            "expires": int(_EXPIRES_S * 1e9),
            "idle_heartbeat": int(_HEARTBEAT_S * 1e9),
        }
        await self._client.publish(self._api("MSG.NEXT"), orjson.dumps(wanted), reply=self._inbox)

    async def _receive(self, message: Msg) -> None:
        """Take in a message, or a status of the server."""
        self._heard_s = asyncio.get_running_loop().time()
        if message.reply.startswith("$JS.ACK."):
            self._receive_message(message)
        else:
            headers = message.headers or {}
            status, description = headers.get("Status", ""), headers.get("Description", "")
            if status in _ENDED or description == _ENOUGH_BYTES:
                self._is_idle, self._requested = status in _ENDED, 0
            elif status != _HEARTBEAT and description != _ENOUGH_MESSAGES:
                self._fail(f"the server ended the request: {description or status}")
        self._arrived.set()

    def _receive_message(self, message: Msg) -> None:
        parts = message.reply.split(".")
        offset = 2 if len(parts) <= 9 else 4  # noqa: PLR2004 - the longer form has a domain and an account
        stream, consumer, _, seq, number, stored_ns, pending = parts[offset : offset + 7]
        if (stream, consumer) != (self._stream, self._consumer):
            self._fail(
                f"a message of stream {stream}, consumer {consumer} has come: who publishes to our inbox?"
            )
        elif int(number) != self._expected:
            self._fail(
                f"a message is missing: it was lost, or another gateway reads the consumer {self._consumer}"
                " too, which must be this one's alone"
            )
        if self._failure is None:
            self._expected += 1
            self._requested -= 1
            self._waiting.append(Delivery(message, int(seq), int(pending), int(stored_ns) // 1_000_000))

    def _api(self, function: str) -> str:
        return f"$JS.API.CONSUMER.{function}.{self._stream}.{self._consumer}"

    async def _ask(self, function: str) -> dict[str, Any]:
        """Return the answer of the JetStream API; raise TransientError with what to do if it is an error."""
        try:
            answer = await self._client.request(self._api(function), b"", timeout=_ANSWER_WITHIN_S)
            document: dict[str, Any] = orjson.loads(answer.data)
        except NoRespondersError as error:
            raise TransientError(self._no_jetstream()) from error
        except (NatsError, TimeoutError, ValueError) as error:
            raise self._failure or TransientError("JetStream does not answer") from error
        if (found := document.get("error")) is not None:
            raise TransientError(self._advice(found))
        return document

    def _no_jetstream(self) -> str:
        version = self._client.connected_server_version
        if (version.major, version.minor) < OLDEST_SERVER:
            number = f"{version.major}.{version.minor}"
            return f"nats-server {number} cannot reset a consumer: install 2.15 or newer"
        return "JetStream does not answer: it is off, or most servers of the cluster are away"

    def _advice(self, error: dict[str, Any]) -> str:
        code = error.get("err_code")
        if code == _NO_STREAM:
            return f"the stream {self._stream} does not exist: `gateway nats setup` makes it"
        if code == _NO_CONSUMER:
            missing = f"the stream {self._stream} has no consumer {self._consumer}"
            return f"{missing}: `gateway nats setup` makes it"
        return f"JetStream refuses: {error.get('description')}"

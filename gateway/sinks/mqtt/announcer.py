"""What is said beside the values on one broker: descriptions, and that topics are gone."""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import structlog

from gateway.errors import TransientError
from gateway.sinks.broker.message import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence

    from gateway.sinks.broker.message import Rejection
    from gateway.sinks.mqtt.layout import AnyOutlet, Layout

_AT_ONCE = 50  # topics announced before live values have their turn
_CLEARED_FOR_S = 3600.0  # mosquitto saves itself every half hour; much later, others may have the topics

_log = structlog.get_logger()


class Value(NamedTuple):
    """Whether an outlet has a value, and a message that shows it anew where the present one is outdated."""

    is_there: bool
    anew: Message | None = None


class Announcer:
    """Says beside the values what the points are (`$meta`), and clears topics of points that are gone.

    A point without a value has its topic cleared, too: what stands there was measured by another device.
    An asset's message that shows points as a former table had them is published anew.
    All of it is retained by the broker. What could not be said because that was away is said at the next
    connection. For an hour, what was cleared is cleared again at each connection: a broker that was cut off
    from power comes back as it last saved itself, with values on topics that nobody looks after any more.
    """

    def __init__(
        self,
        *,
        sink: str,
        retained: dict[str, bool],
        beside: Collection[str] = (),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`retained`: topics that the broker may hold something of ours on, and whether that is a value.

        `beside` are some that belong to no point, and are left alone. `clock_s` only moves forward.
        """
        self._sink = sink
        self._beside = beside
        self._clock_s = clock_s
        self._retained = retained
        self._cleared_s: dict[str, float] = {}  # topics that were cleared, the first of them first, and when
        self._topics: dict[str, None] = {}  # those of which the broker must be told, in order
        self._news = asyncio.Event()

    def note(self, topics: Iterable[str]) -> None:
        """Have these topics announced, or cleared where the layout does not have them by then."""
        self._topics.update(dict.fromkeys(topics))
        self._news.set()

    def note_all(self, layout: Layout) -> None:
        """Have everything announced, and cleared what is there beyond it: the broker may have lost it all."""
        gone = [topic for topic in self._retained if topic not in self._beside and not layout.has(topic)]
        self.note((*layout.by_topic, *gone))

    async def run(
        self,
        publish: Callable[[Iterable[Message]], Awaitable[list[Rejection]]],
        *,
        layout: Callable[[], Layout],
        value: Callable[[AnyOutlet], Value],
    ) -> None:
        """Announce whatever is noted, by layout and values in force then, until the connection is lost.

        `value` tells of an outlet whether it has one, and what has to be published of it.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            while self._topics:
                topics = list(islice(self._topics, _AT_ONCE))
                for topic in topics:
                    del self._topics[topic]
                cleared: dict[str, None] = {}
                try:
                    rejections = await publish(self._messages(topics, cleared, layout, value))
                except BaseException as error:
                    self.note(topics)
                    if isinstance(error, TransientError):
                        return
                    raise
                log_rejected(rejections, sink=self._sink)
                for rejection in rejections:
                    cleared.pop(rejection.message.topic, None)
                self._note_cleared(cleared)

    def _messages(
        self,
        topics: Iterable[str],
        cleared: dict[str, None],
        layout: Callable[[], Layout],
        value: Callable[[AnyOutlet], Value],
    ) -> Iterator[Message]:
        """Make the messages one by one, by what is in force when each is sent; add to `cleared` what goes."""
        for topic in topics:
            outlet = layout().by_topic.get(topic)
            if outlet is None and topic in layout().by_companion:
                continue  # told with what it describes
            found = Value(is_there=False) if outlet is None else value(outlet)
            if not found.is_there and topic in self._retained:
                cleared[topic] = None
                yield Message(topic, b"", retain=True)
            if found.anew is not None:
                yield found.anew
            for companion in layout().describe(outlet) if outlet is not None else ():
                if self._retained.get(companion.topic) is not False:
                    self._retained[companion.topic] = False
                cleared.pop(companion.topic, None)  # back by a reload in the midst of this
                self._cleared_s.pop(companion.topic, None)
                yield Message(companion.topic, companion.payload, retain=True)

    def _note_cleared(self, topics: Iterable[str]) -> None:
        """Remember topics that the broker has cleared, and forget those of an hour ago."""
        now_s = self._clock_s()
        for topic in topics:
            if self._retained[topic]:  # a value stood there, since it was cleared last at any rate
                self._retained[topic] = False
                self._cleared_s.pop(topic, None)
            self._cleared_s.setdefault(topic, now_s)
        while self._cleared_s:
            first = next(iter(self._cleared_s))
            if now_s - self._cleared_s[first] < _CLEARED_FOR_S:
                return
            del self._cleared_s[first]
            if not self._retained[first]:  # otherwise it has a value again
                del self._retained[first]


def log_rejected(rejections: Sequence[Rejection], *, sink: str) -> None:
    """Log once what the broker refuses of messages that no write waits for."""
    if rejections:
        topic, reason = rejections[0].message.topic, rejections[0].reason
        _log.warning("sink.refused", sink=sink, topics=len(rejections), first=topic, reason=reason)

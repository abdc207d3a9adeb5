"""From updates to messages: what goes out live, what is history, and what its receiver refused."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import TransientError
from gateway.model import Refusal
from gateway.sinks.mqtt.announcer import Value
from gateway.sinks.mqtt.asset import AssetOutlet, by_event
from gateway.sinks.mqtt.payload import NOT_IN_JSON

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.model import Update
    from gateway.ports import LatestValues
    from gateway.sinks.broker.message import Message, Rejection
    from gateway.sinks.mqtt.layout import AnyOutlet, Change, Layout
    from gateway.sinks.mqtt.outlet import Outlet


class Desk:
    """Makes the messages of one sink, by the layout and the values in force when each is sent."""

    def __init__(
        self,
        layout: Layout,
        latest: LatestValues,
        *,
        has_history: bool,
        retained: dict[str, bool],
    ) -> None:
        """`retained`: see `Announcer`; topics that are given a value are noted there."""
        self.layout = layout
        self._latest = latest
        self._has_history = has_history
        self._retained = retained

    def adopt(self, change: Change, latest: LatestValues) -> None:
        """Go on with another layout and its values."""
        self.layout, self._latest = change.new, latest
        for before, after in change.kept:
            after.published = before.published
        for asset in change.outdated:
            asset.is_outdated = True

    def emptied(self, change: Change, latest: LatestValues) -> list[str]:
        """Return the topics of another layout on which a value stands, but not one of a point there."""
        return [
            topic
            for topic, outlet in change.new.by_topic.items()
            if self._retained.get(topic) and all(latest.latest(point) is None for point in outlet.points)
        ]

    def messages(self, updates: Sequence[Update], refusals: list[Refusal]) -> Iterator[Message]:
        """Make the messages one by one; add to `refusals` what no message can hold.

        Whether an update is its point's newest is decided as its message is sent.
        """
        for update in updates:
            outlet = self.layout.outlets.get(update.point)
            if outlet is None:
                continue  # no topic of its own on this sink, or not in the point table any more
            try:
                message = self._message(outlet, update)
            except NOT_IN_JSON as error:
                refusals.append(Refusal(update, f"cannot be written to {outlet.topic}: {error}"))
                continue
            if message is not None:
                yield message
        if self.layout.assets:
            yield from self._asset_messages(updates, refusals)

    def all_state(self) -> Iterator[Message]:
        """Make the messages of all that points and assets show now, for a broker that may have nothing."""
        layout = self.layout
        for outlet in layout.by_topic.values():
            outlet.forget()
        for outlet in layout.by_topic.values():
            if layout is not self.layout:
                return
            if isinstance(outlet, AssetOutlet):
                yield from self._asset_state(outlet)
            elif (update := self._latest.latest(outlet.point)) is not None:
                with suppress(*NOT_IN_JSON):  # it was refused when it came
                    message = self._message(outlet, update)
                    if message is not None:
                        yield message

    def value(self, outlet: AnyOutlet) -> Value:
        """Return what has to be known of an outlet's value beside what it is."""
        is_there = any(self._latest.latest(point) is not None for point in outlet.points)
        if is_there and isinstance(outlet, AssetOutlet) and outlet.is_outdated:
            return Value(is_there, next(self._asset_state(outlet), None))
        return Value(is_there)

    def judge(self, rejections: Iterable[Rejection]) -> list[Refusal]:
        """Return what was refused for good; raise `TransientError` where the broker may take it later."""
        refusals: list[Refusal] = []
        not_now: str | None = None
        for message, _, reason, is_final in rejections:
            outlet = self.layout.by_topic.get(message.topic)  # perhaps by another table meanwhile
            if outlet is not None:
                outlet.forget()  # or its repetition would fall into the deadband
            words = f"the broker refuses {message.topic}: {reason}"
            if is_final:
                refusals += [Refusal(update, words) for update in message.updates]
            else:  # also of the restored state, which nobody would send again
                not_now = words
        if not_now is not None:
            raise TransientError(not_now)
        return refusals

    def _message(self, outlet: Outlet, update: Update) -> Message | None:
        if not self._latest.is_newest(update):
            return outlet.history(update) if self._has_history and self._is_history(update) else None
        if outlet.within_deadband(update):
            return None
        if not self._retained.get(outlet.topic):
            self._retained[outlet.topic] = True
        message = outlet.live(update, age_ms=self._latest.age_ms(update))
        outlet.published = update
        return message

    def _is_history(self, update: Update) -> bool:
        """Say whether an update that is not the newest tells something: the API may tell what webhooks do."""
        return update.is_measured and not update.is_repeated_by(self._latest.latest(update.point))

    def _asset_messages(self, updates: Iterable[Update], refusals: list[Refusal]) -> Iterator[Message]:
        """Make the messages of assets: of each one what is history, in order, and then its present state."""
        layout = self.layout
        by_asset: dict[AssetOutlet, list[Update]] = {}
        for update in updates:
            asset = layout.assets.get(update.point)
            if asset is not None:
                by_asset.setdefault(asset, []).append(update)
        for asset, of_asset in by_asset.items():
            if self.layout is not layout:
                return  # a reload: all of it comes again
            newest, past = self._parted(of_asset)
            while past and self._has_history:
                yield from _history(asset, past, refusals)
                if self.layout is not layout:
                    return
                newest, past = self._parted(newest)  # a newer reading may have come while these were sent
            calls = tuple(update for update in newest if not asset.is_told(update))
            if calls:
                yield from self._asset_state(asset, calls)
            refusals += [_impossible(asset, update) for update in newest if asset.lacks(update)]

    def _parted(self, updates: Iterable[Update]) -> tuple[list[Update], list[Update]]:
        """Return what the present state shows, and what is history."""
        newest: list[Update] = []
        past: list[Update] = []
        for update in updates:
            if self._latest.is_newest(update) and _is_shown(update, self._latest.latest(update.point)):
                newest.append(update)
            elif self._is_history(update):
                past.append(update)
        return newest, past

    def _asset_state(self, asset: AssetOutlet, calls: tuple[Update, ...] = ()) -> Iterator[Message]:
        message = asset.live(self._latest, updates=calls)
        if message is not None:
            if not self._retained.get(asset.topic):
                self._retained[asset.topic] = True
            yield message


def _history(asset: AssetOutlet, past: Iterable[Update], refusals: list[Refusal]) -> Iterator[Message]:
    possible = []
    for update in past:
        if asset.can_show(update):
            possible.append(update)
        else:
            refusals.append(_impossible(asset, update))
    yield from map(asset.history, by_event(possible))


def _impossible(asset: AssetOutlet, update: Update) -> Refusal:
    return Refusal(update, f"cannot be written to {asset.topic}: JSON cannot hold the value")


def _is_shown(update: Update, latest: Update | None) -> bool:
    """Say whether the state has just this reading in it, and not another one of the same time."""
    return (
        latest is None
        or latest is update
        or (latest.seq, latest.raw, latest.value)
        == (
            update.seq,
            update.raw,
            update.value,
        )
    )

"""When data that only the API has count as missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from support.arrival_parts import HOUR_MS, MINUTE_MS, NOW_MS, Everything, telemetry_event

from gateway.infodeck.missing_webhooks import IS_IT_THERE, MissedDeliveries, WebhookArrivals

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

TOLERANCE_MS = MINUTE_MS
SKEW_MS = 5 * MINUTE_MS
EVERY_MS = 15 * MINUTE_MS


class Building:
    """A gateway that has run for an hour, and an API that is requested now and then."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.arrivals = WebhookArrivals(Everything)
        self.read: dict[str, int] = {}
        self.missed = MissedDeliveries(
            self.arrivals,
            delivery_ms=TOLERANCE_MS,
            skew_ms=SKEW_MS,
            newest_by_webhook=lambda asset: self.read.get(asset, 0),
        )
        self.missed.begin(NOW_MS - HOUR_MS)

    def webhook(self, asset: str, *, age_ms: int = 0) -> None:
        """Deliver an event now that was made `age_ms` ago."""
        self.arrivals.accept(telemetry_event(asset, at_ms=self.now_ms - age_ms, late_ms=age_ms))

    def ask(
        self, shown: Mapping[str, int], *, mapped: int | None = None, meanwhile: Collection[str] = ()
    ) -> bool | None:
        """Have the API list how long ago each asset's data are from; a delivery's time passes.

        The webhooks of some assets come `meanwhile`.
        """
        for asset, age_ms in shown.items():
            self.missed.compare(asset, self.now_ms - age_ms, now_ms=self.now_ms)
        is_quiet = self.missed.finish_list(mapped=len(shown) if mapped is None else mapped)
        self.now_ms += TOLERANCE_MS
        for asset in meanwhile:
            self.webhook(asset)
        self.missed.drop_recovered(self.now_ms)
        return is_quiet

    @property
    def held(self) -> set[str]:
        """The assets of which data are missed."""
        return set(self.missed.missed)


def test_data_without_webhooks_are_missed() -> None:
    """An asset is missed once the API has its next report, too."""
    building = Building()
    for asset in "abcd":
        building.webhook(asset, age_ms=20 * MINUTE_MS)
    building.now_ms += 10 * MINUTE_MS
    building.ask({"a": 2 * MINUTE_MS, "b": 30 * MINUTE_MS, "c": MINUTE_MS, "d": 0})
    assert building.held == set()
    building.now_ms += EVERY_MS - TOLERANCE_MS
    building.ask({"a": 2 * MINUTE_MS, "b": 45 * MINUTE_MS, "c": MINUTE_MS, "d": EVERY_MS})
    assert building.held == {"a", "c"}
    assert "is the webhook there" in (building.missed.reason(question=IS_IT_THERE) or "")


def test_a_broken_off_list_does_not_affect_the_next_one() -> None:
    """An asset of a broken-off list is compared anew in the next one."""
    building = Building()
    building.missed.compare("a", building.now_ms, now_ms=building.now_ms)
    building.webhook("a")
    building.now_ms += EVERY_MS
    assert building.ask({"a": EVERY_MS}) is True


def test_late_events_do_not_end_it() -> None:
    """Late events do not end it."""
    building = Building()
    for turn in range(8):
        for asset in "abc":
            building.webhook(asset, age_ms=20 * HOUR_MS)
        building.ask(dict.fromkeys("abc", 0))
        assert building.held == ({"a", "b", "c"} if turn else set()), turn
        building.now_ms += EVERY_MS - TOLERANCE_MS


def test_a_webhook_that_is_on_its_way_is_not_missed() -> None:
    """The API may have each reading before its webhook arrives."""
    building = Building()
    building.webhook("a", age_ms=10 * MINUTE_MS)
    for _ in range(8):
        building.now_ms += EVERY_MS - TOLERANCE_MS
        assert building.ask({"a": 0}, meanwhile=["a"]) is False
        assert building.held == set()


def test_sensors_that_are_silent_in_the_api_too_are_not_missed() -> None:
    """A list without newer data is quiet."""
    building = Building()
    building.webhook("a")
    building.webhook("b")
    for hour in range(12):
        said = building.ask({"a": hour * HOUR_MS, "b": hour * HOUR_MS})
        assert said is True
        assert building.held == set()
        building.now_ms += HOUR_MS - TOLERANCE_MS


def test_two_lost_events_are_missed_and_one_is_not() -> None:
    """An asset is missed when two of its reports are lost."""
    building = Building()
    for _ in range(6):
        building.webhook("slow")
        building.webhook("fast")
        building.now_ms += EVERY_MS
    building.ask({"slow": 0, "fast": EVERY_MS}, meanwhile=["fast"])
    assert building.held == set()
    building.now_ms += EVERY_MS - TOLERANCE_MS
    building.ask({"slow": 0, "fast": EVERY_MS}, meanwhile=["fast"])
    assert building.held == {"slow"}
    assert "event filters" in (building.missed.reason(question=IS_IT_THERE) or "")


def test_an_excluded_asset_is_missed_at_its_second_report() -> None:
    """An asset that event filters exclude is missed at its second report."""
    building = Building()
    for turn in range(2):
        building.webhook("other")
        building.ask({"left out": TOLERANCE_MS, "other": 0}, meanwhile=["other"])
        assert building.held == ({"left out"} if turn else set())
        building.now_ms += EVERY_MS
    assert "event filters" in (building.missed.reason(question=IS_IT_THERE) or "")


def test_one_slow_sensor_among_fast_ones_is_not_missed() -> None:
    """A sensor that reports once a day has nothing newer in the API."""
    building = Building()
    building.webhook("slow")
    for turn in range(96):
        building.webhook("fast")
        building.ask({"slow": turn * EVERY_MS, "fast": 0})
        assert building.held == set()
        building.now_ms += EVERY_MS - TOLERANCE_MS


def test_it_ends_when_webhooks_come_again() -> None:
    """Assets end with their next webhook, or when the list has nothing newer."""
    building = Building()
    building.ask({"a": 0, "b": 0, "dead": 0})
    building.now_ms += EVERY_MS
    building.ask({"a": 0, "b": 0, "dead": 0})
    assert building.held == {"a", "b", "dead"}
    building.webhook("a")
    building.now_ms += MINUTE_MS
    building.missed.drop_recovered(building.now_ms)
    assert building.held == {"b", "dead"}
    building.now_ms += EVERY_MS
    building.webhook("b")
    building.ask({"a": EVERY_MS, "b": 0, "dead": EVERY_MS + 2 * MINUTE_MS})
    assert building.held == set()


def test_the_begin_does_not_move() -> None:
    """`missed` keeps the time of the first missed data."""
    building = Building()
    since_ms = building.now_ms
    building.ask(dict.fromkeys("abc", 0))
    for _ in range(8):
        building.now_ms += EVERY_MS - TOLERANCE_MS
        building.ask(dict.fromkeys("abc", 0))
        assert building.missed.missed == dict.fromkeys("abc", since_ms)


def test_it_does_not_end_while_nothing_comes() -> None:
    """Missed data count for a day."""
    building = Building()
    building.ask(dict.fromkeys("abc", 10 * MINUTE_MS))
    building.ask(dict.fromkeys("abc", 0))
    asked_ms = building.now_ms
    for hour in range(1, 30):
        building.now_ms = asked_ms + hour * HOUR_MS
        building.ask(dict.fromkeys("abc", hour * HOUR_MS))
        assert building.held == (set("abc") if hour < 24 else set())


def test_data_from_before_the_start_are_not_missed() -> None:
    """Data from before the start, plus the clock skew, are left to repeated deliveries."""
    building = Building()
    building.missed.begin(building.now_ms)
    building.now_ms += 10 * MINUTE_MS
    building.ask({"a": 2 * HOUR_MS, "b": 10 * MINUTE_MS - SKEW_MS, "c": 0})
    building.now_ms += EVERY_MS
    building.ask({"a": 3 * HOUR_MS, "b": EVERY_MS + 10 * MINUTE_MS, "c": 0})
    assert building.held == {"c"}


def test_a_device_whose_clock_is_ahead_is_not_missed() -> None:
    """Readings that webhooks brought count, whatever their events' times."""
    building = Building()
    building.webhook("a")
    building.read["a"] = building.now_ms + 4 * MINUTE_MS
    building.ask({"a": -4 * MINUTE_MS})
    assert building.held == set()


def test_assets_that_left_the_tables_are_not_missed() -> None:
    """They are dropped with the next list."""
    building = Building()
    for _ in range(2):
        building.ask({"a": 0, "b": 0})
        building.now_ms += EVERY_MS
    assert building.held == {"a", "b"}
    building.ask({"a": 0})
    assert building.held == {"a"}


def test_a_list_with_few_times_is_not_quiet() -> None:
    """A list with the times of less than half of the assets does not count as quiet."""
    building = Building()
    assert building.ask({}, mapped=10) is None
    building.webhook("a")
    assert building.ask({"a": 0}, mapped=10) is None
    assert building.ask({"a": 0}, mapped=2) is not None


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), max_size=6), min_size=1, max_size=20
    )
)
def test_timely_webhooks_are_never_missed(turns: list[list[tuple[str, int]]]) -> None:
    """Whatever assets report and whenever lists are fetched, timely webhooks are never missed."""
    building = Building()
    newest: dict[str, int] = {}
    for turn in turns:
        asked_ms = building.now_ms
        on_their_way = []
        for asset, age_s in sorted(turn, key=lambda report: -report[1]):
            at_ms = asked_ms - age_s * 1000
            newest[asset] = max(at_ms, newest.get(asset, 0))
            on_their_way.append((asset, age_s))
        for asset, at_ms in newest.items():
            building.missed.compare(asset, at_ms, now_ms=asked_ms)
        building.missed.finish_list(mapped=3)
        building.now_ms += 5000
        for asset, age_s in on_their_way:
            building.webhook(asset, age_ms=5000 + age_s * 1000)
        building.now_ms += TOLERANCE_MS - 5000
        building.missed.drop_recovered(building.now_ms)
        assert building.held == set()
        building.now_ms += EVERY_MS

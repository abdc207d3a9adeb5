"""What the demo shows: a live table of all points, and how to subscribe and poll."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gateway.demo.how_to import program
from gateway.model import Quality

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.mapping.topics import TopicScheme
    from gateway.model import Point
    from gateway.ports import LatestValues
    from gateway.status import Status

_QUALITY_STYLES = {
    Quality.GOOD: "green",
    Quality.HELD: "yellow",
    Quality.STALE: "yellow",
    Quality.BAD: "red",
    Quality.FORCED: "magenta",
    Quality.OFFLINE: "red",
}
_WIDTH_WITHOUT_TERMINAL = 120
_MOST_ROWS = 200
_REFRESH_S = 1.0
_WITHOUT_TERMINAL_S = 5.0


@dataclass(kw_only=True, eq=False)
class Screen:
    """A context manager. On a terminal the table is redrawn in place, elsewhere it is printed anew.

    `topics` are those of the MQTT sinks, by name. `how_to` are more commands for the first lines, each with
    what it does.
    """

    points: tuple[Point, ...]
    latest: LatestValues
    status: Status
    topics: Mapping[str, TopicScheme]
    mqtt_port: int
    how_to: Sequence[tuple[str, str]]
    dashboard_url: str
    config: Path
    clock_ms: Callable[[], int]

    def __post_init__(self) -> None:
        """Print nothing before the context is entered."""
        self._console = Console()
        self.is_live = self._console.is_terminal
        if not self.is_live:
            self._console = Console(width=_WIDTH_WITHOUT_TERMINAL)
        self._live = Live(console=self._console, auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        lines = (
            (
                "subscribe",
                f"mosquitto_sub -p {self.mqtt_port} -v -t '{next(iter(self.topics.values())).prefix}/#'",
            ),
            *self.how_to,
            ("look", f"{self.dashboard_url}    (in a browser; the admin token is demo-admin-demo-admin)"),
            ("commands", f"{program()} check -c {self.config}, and all others that take -c"),
        )
        print_line = partial(self._console.print, highlight=False, markup=False, soft_wrap=True)
        print_line("A simulated Infodeck posts signed webhooks to the real gateway; from another terminal:")
        for what, line in lines:
            print_line(f"{what + ':':<12}{line}")
        if self.is_live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_live:
            self._live.stop()

    async def show_until(self, done: asyncio.Future[None]) -> None:
        """Show the present state again and again, until `done`."""
        every_s = _REFRESH_S if self.is_live else _WITHOUT_TERMINAL_S
        while not done.done():
            await asyncio.wait([done], timeout=every_s)
            self.show()

    def show(self) -> None:
        """Show the present state once."""
        picture = Group(self._table(), *self._alarms(), Text(self._summary()))
        if self.is_live:
            self._live.update(picture, refresh=True)
        else:
            self._console.print(picture)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for heading in ("point", "value", "unit", "quality", "age", "MQTT topic", "Modbus", "BACnet"):
            justify: Literal["left", "right"] = "right" if heading in {"value", "age"} else "left"
            table.add_column(heading, justify=justify, no_wrap=True)
        for point in self.points[:_MOST_ROWS]:
            table.add_row(*self._row(point))
        if len(self.points) > _MOST_ROWS:
            table.add_row(f"… {len(self.points) - _MOST_ROWS} more: see the dashboard")
        return table

    def _row(self, point: Point) -> tuple[str | Text, ...]:
        update = self.latest.latest(point)
        if update is None or (update.value is None and point.is_pseudo):  # its asset has not reported yet
            value, quality, age = "", Text("waiting", style="dim"), ""
        else:
            name, style = update.quality.name.lower(), _QUALITY_STYLES[update.quality]
            value, quality = "-" if update.value is None else str(update.value), Text(name, style=style)
            age = f"{max(0, self.clock_ms() - update.time_ms) // 1000} s"
        return (
            point.name,
            value,
            point.unit_of_measure or "",
            quality,
            age,
            self._topics(point),
            _register(point),
            _object(point),
        )

    def _topics(self, point: Point) -> str:
        """Return the point's topics on the first sink that it goes to."""
        mqtt = point.mqtt
        sinks = [topics for name, topics in self.topics.items() if mqtt is not None and mqtt.goes_to(name)]
        return " ".join(sinks[0].topics(point)) if sinks else ""

    def _alarms(self) -> list[Text]:
        return [Text(f"ALARM {alarm.name}: {alarm.reason}", style="bold red") for alarm in self.status.alarms]

    def _summary(self) -> str:
        journal, sinks = self.status.journal, self.status.sinks
        written = ", ".join(
            f"{name} {status.state}, {status.written} written" for name, status in sinks.items()
        )
        return (
            f"events: {journal.accepted} accepted, {journal.duplicates} duplicates,"
            f" {self.status.intake.test_events} test"
            f"; assets: {self.status.reconcile.assets} known; sinks: {written}"
        )


def _register(point: Point) -> str:
    if not point.value_registers:
        return ""
    first = point.value_registers[0]
    bit = "" if first.bit is None else f".{first.bit}"
    return f"{first.table} {first.address}{bit} {first.type}"


def _object(point: Point) -> str:
    """Return the type, by its initials as BMSs show it, and the instance."""
    if not point.objects:
        return ""
    first = point.objects[0]
    initials = "".join(word[0] for word in first.type.split("-"))
    return f"{initials.upper()} {first.instance}"

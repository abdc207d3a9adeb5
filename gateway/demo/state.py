"""What the simulated Infodeck knows of one organization, in the shapes of its API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.model import Scalar

Item = dict[str, Any]
"""Whatever the API lists."""

SHADOW = "DeviceUplink"
"""The device shadow that assets have unless another one is asked for."""

_LONGEST_HISTORY = 2000  # values of one metric


class CloudState:
    """Plain lists, open to change while the API answers; each is in the shape of Infodeck's REST API.

    `items` are the assets, with everything that `GET /assets` has. `types` are as `GET /asset-types/{id}`
    has them, `locations` have `id`, `name` and `parentId`. `metrics` holds the history by asset id and
    metric: items of `timestamp` and `value`. `webhooks` are as they are listed, besides their
    `signingSecret`, which no list shows. `deliveries` is each webhook's log by its id, newest first.
    `send_test` is called with the id of a webhook that is to get a `webhook.test`.
    """

    def __init__(
        self,
        *,
        organization: str,
        items: Sequence[Item],
        types: Iterable[Item] = (),
        locations: Iterable[Item] = (),
        metrics: Mapping[tuple[str, str], list[Item]] | None = None,
        webhooks: Iterable[Item] = (),
    ) -> None:
        """Take what is known at the beginning."""
        self.organization = organization
        self.items = list(items)
        self.types = list(types)
        self.locations = list(locations)
        self.metrics = dict(metrics or {})
        self.webhooks = list(webhooks)
        self.deliveries: dict[str, list[Item]] = {}
        self._positions: dict[str, int] = {}
        self.send_test: Callable[[str], None] = lambda _webhook: None

    def asset(self, asset_id: str) -> Item | None:
        """Return an asset, None where there is none."""
        position = self._positions.get(asset_id, len(self.items))
        if position < len(self.items) and self.items[position].get("id") == asset_id:
            return self.items[position]
        self._positions = {item["id"]: position for position, item in enumerate(self.items) if "id" in item}
        position = self._positions.get(asset_id, -1)
        return None if position < 0 else self.items[position]

    def asset_type(self, type_id: str | None) -> Item | None:
        """Return an asset type, None where there is none."""
        return _by_id(self.types, type_id)

    def location(self, location_id: str | None) -> Item | None:
        """Return a location, None where there is none."""
        return _by_id(self.locations, location_id)

    def webhook(self, webhook_id: str) -> Item | None:
        """Return a webhook with its secret, None where there is none."""
        return _by_id(self.webhooks, webhook_id)

    def note_report(self, item: Item, telemetry: Mapping[str, Scalar], *, at_s: float) -> None:
        """Take what an asset's device reported at a Unix time into its shadow and into the metrics' history.

        The time of each reading, in seconds in the shadow's metadata, is as AWS IoT has it, which Infodeck's
        words remind of; Infodeck's documents do not say.
        """
        shadow = item.setdefault("shadows", {}).setdefault(SHADOW, {})
        shadow.setdefault("state", {}).setdefault("reported", {}).update(telemetry)
        times = shadow.setdefault("metadata", {}).setdefault("reported", {})
        times.update({key: {"timestamp": int(at_s)} for key in telemetry})
        item["updatedAt"] = int(at_s)
        for key, value in telemetry.items():
            history = self.metrics.setdefault((item["id"], key), [])
            history.append({"timestamp": int(at_s * 1000), "value": value})
            del history[:-_LONGEST_HISTORY]


def _by_id(items: Iterable[Item], wanted: str | None) -> Item | None:
    return next((item for item in items if item.get("id") == wanted), None)

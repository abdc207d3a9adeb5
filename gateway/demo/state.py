"""What the simulated Infodeck knows of one organization, in the shapes of its API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Item = dict[str, Any]
"""Whatever the API lists."""


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
        self.send_test: Callable[[str], None] = lambda _webhook: None

    def asset(self, asset_id: str) -> Item | None:
        """Return an asset, None where there is none."""
        return _by_id(self.items, asset_id)

    def asset_type(self, type_id: str | None) -> Item | None:
        """Return an asset type, None where there is none."""
        return _by_id(self.types, type_id)

    def location(self, location_id: str | None) -> Item | None:
        """Return a location, None where there is none."""
        return _by_id(self.locations, location_id)

    def webhook(self, webhook_id: str) -> Item | None:
        """Return a webhook with its secret, None where there is none."""
        return _by_id(self.webhooks, webhook_id)


def _by_id(items: Iterable[Item], wanted: str | None) -> Item | None:
    return next((item for item in items if item.get("id") == wanted), None)

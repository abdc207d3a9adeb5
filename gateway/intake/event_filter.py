"""Which verified events are journalled, whichever way they come; the others are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from gateway.events import ABOUT_ASSETS, MAPPED_TYPES, is_test

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.events import EventPatterns
    from gateway.model import Event
    from gateway.status import IntakeStatus

log = structlog.get_logger()

_MOST_TYPES_COUNTED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Admits events of one organization that may concern the building, or whose type is in `published`.

    `on_assets_changed` is called when an event says that assets came, went or were edited.
    """

    organization: str
    published: EventPatterns
    status: IntakeStatus
    on_assets_changed: Callable[[], None]

    def admits(self, event: Event) -> bool:
        """Return whether to journal the event; count it if not."""
        status = self.status
        if is_test(event):
            status.test_events += 1
            log.info("intake.test_event", event_id=event.event_id, type=event.type)
            return False
        if self.is_foreign(event):
            status.other_organization += 1
            return False
        if event.type in MAPPED_TYPES:
            return True
        is_published = event.type in self.published
        if not is_published:
            known = event.type in status.ignored_types or len(status.ignored_types) < _MOST_TYPES_COUNTED
            status.ignored_types[event.type if known else "other"] += 1
        if event.type.startswith(ABOUT_ASSETS):
            self.on_assets_changed()
        return is_published

    def is_foreign(self, event: Event) -> bool:
        """Return whether an event is of another organization."""
        return event.document.get("organizationId") not in (None, self.organization)

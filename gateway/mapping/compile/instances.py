"""The instances of BACnet objects in bacnet.lock, by points and by numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.compile.sources import entries

if TYPE_CHECKING:
    from gateway.config.decode import Document
    from gateway.mapping.compile.object_lock import LockedObject, ObjectLockFile
    from gateway.mapping.compile.sources import Place
    from gateway.model import ObjectType


class ObjectEntry(NamedTuple):
    """An entry of bacnet.lock and where it is written."""

    locked: LockedObject
    place: Place


class LockedInstances:
    """The entries of bacnet.lock by type and point, and by type and instance. Some points may be gone.

    `reserved` are the types and instances that tables state, or once did.
    """

    def __init__(self, document: Document[ObjectLockFile] | None) -> None:
        """Report entries with the point or the instance of another one. `document`: None without a file."""
        self.by_point: dict[tuple[ObjectType, str], ObjectEntry] = {}
        self.by_instance: dict[tuple[ObjectType, int], ObjectEntry] = {}
        self.reserved: set[tuple[ObjectType, int]] = set()
        self._document = document
        if document is None or document.remains.value is None:
            return
        for place, locked in entries(document, "objects", document.remains.value.objects):
            self._add(ObjectEntry(locked, place))

    def _add(self, entry: ObjectEntry) -> None:
        kind, point, instance = entry.locked.object, entry.locked.point, entry.locked.instance
        if entry.locked.reserved:
            self.reserved.add((kind, instance))
            return
        first = self.by_point.setdefault((kind, point), entry)
        if first is not entry:
            entry.place.report(f"this point has an instance as {kind} already at {first.place}", "point")
            return
        first = self.by_instance.setdefault((kind, instance), entry)
        if first is not entry:
            message = f"{kind} {instance} belongs to {first.locked.point} at {first.place}"
            entry.place.report(message, "instance")

    @property
    def is_complete(self) -> bool:
        """Whether bacnet.lock has no problems."""
        return self._document is None or self._document.value is not None

    def instance_of(self, kind: ObjectType, point: str) -> int | None:
        """Return the instance of a point as an object of a type, None if it has none."""
        entry = self.by_point.get((kind, point))
        return None if entry is None else entry.locked.instance

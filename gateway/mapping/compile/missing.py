"""What only `gateway lock` can add: registers of assets, and instances of BACnet objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.compile.lock_file import LOCK_NAME
from gateway.mapping.compile.object_lock import OBJECT_LOCK_NAME
from gateway.text import count_text, short_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.mapping.compile.object_lock import ObjectLock
    from gateway.mapping.compile.sources import Place
    from gateway.mapping.compile.templates import Area, CompiledTemplate
    from gateway.model import ObjectType

_RUN = "run `gateway lock -c …`"
RUN_LOCK = f"{_RUN} (with `--replace OLD=NEW` for a sensor in the place of an old one)"


class SlotRequest(NamedTuple):
    """An asset whose relative registers have no place yet, and what it needs.

    `place`: of a listed asset, None for an automatic one, which has a `tag` instead.
    """

    asset: str
    template: str
    stride: int
    areas: frozenset[Area]
    place: Place | None
    tag: str | None


class ObjectRequest(NamedTuple):
    """A point whose object has no instance yet. `place`: where its asset is written, or itself."""

    type: ObjectType
    name: str
    place: Place
    is_automatic: bool


def report_missing_slots(requests: Iterable[SlotRequest], templates: Mapping[str, CompiledTemplate]) -> None:
    """Report assets without registers, to which `gateway lock` gives slots.

    Automatic ones are used without, with a warning. One command is enough for all assets of a template,
    so there is one message per template.
    """
    by_template: dict[tuple[str, bool], list[SlotRequest]] = {}
    for request in requests:
        by_template.setdefault((request.template, request.place is None), []).append(request)
    for (template, _), found in by_template.items():
        assets = short_list([request.asset for request in found])
        if (place := found[0].place) is not None:
            place.report(f"no `base` and no slot in {LOCK_NAME} for {assets}: write a base, or {RUN_LOCK}")
        else:
            message = f"not on Modbus, without a slot in {LOCK_NAME}: {assets}; {RUN_LOCK}"
            templates[template].place.warn(message, "auto")


def report_missing_instances(requests: Sequence[ObjectRequest], lock: ObjectLock, names: set[str]) -> None:
    """Report points without an instance: one message, for one command is enough for all.

    Those of automatic assets are a warning: they are not on BACnet until then. `names`: of all points.
    """
    if listed := [request for request in requests if not request.is_automatic]:
        message = f"no BACnet instance in {OBJECT_LOCK_NAME} for {_points(listed)}: {_RUN}"
        renamed = "; if points were renamed, write their new names there first, or they get new instances"
        message += renamed if {name for _, name in lock.instances} - names else ""
        stated = {(kind, point) for (kind, _), point in lock.reserved.items()}
        if lost := [request.name for request in listed if (request.type, request.name) in stated]:
            message += f"; the table had an `instance` for {short_list(lost)}: write it again to keep it"
        listed[0].place.report(message)
    if automatic := [request for request in requests if request.is_automatic]:
        message = f"not on BACnet, without an instance in {OBJECT_LOCK_NAME}: {_points(automatic)}; {_RUN}"
        automatic[0].place.warn(message, "auto")


def _points(requests: list[ObjectRequest]) -> str:
    return f"{count_text(len(requests), 'point')} ({short_list([request.name for request in requests])})"

"""Assets whose relative registers have no place yet: told to the user, or given slots by `gateway lock`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.slots.lock_file import LOCK_NAME
from gateway.text import short_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.mapping.compiling.footprint import Area
    from gateway.mapping.compiling.places import Place
    from gateway.mapping.compiling.templates import CompiledTemplate
    from gateway.mapping.slots.lock_file import Slot, Slots


class Need(NamedTuple):
    """One asset and what it needs. `place`: of a listed asset, None for an automatic one.

    `tag`: of an automatic asset, kept together with its slot.
    """

    asset: str
    template: str
    stride: int
    areas: frozenset[Area]
    place: Place | None
    tag: str | None


def report_needs(
    needs: Iterable[Need], templates: Mapping[str, CompiledTemplate], slots: Slots, *, left: Iterable[Slot]
) -> None:
    """Report listed assets without registers, and warn of automatic ones: they go on without.

    One `gateway lock` mends all of a template, so that is one message, at the first of them. `left` are the
    slots of assets that are gone: a new asset may be in the place of one of them.
    """
    if not slots.is_readable:  # the slots may be there, once the file is mended
        return
    gone: dict[str, list[str]] = {}
    for slot in left:
        gone.setdefault(slot.template, []).append(slot.asset)
    automatic: dict[str, list[Need]] = {}
    listed: dict[str, list[Need]] = {}
    for need in needs:
        if need.place is None:
            automatic.setdefault(need.template, []).append(need)
        else:
            listed.setdefault(need.template, []).append(need)
    for template, (first, *others) in listed.items():
        too = f", nor {'has' if len(others) == 1 else 'have'} {short_list([need.asset for need in others])}"
        assert first.place is not None  # noqa: S101 - only such are listed
        first.place.report(
            f"has no `base` and no slot in {LOCK_NAME}{too if others else ''}: run `gateway lock -c …`, or"
            f" write a base{_successor(gone.get(template), [first, *others])}"
        )
    for template, needed in automatic.items():
        assets = [need.asset for need in needed]
        has, is_on = ("has", "it is") if len(assets) == 1 else ("have", "they are")
        templates[template].place.warn(
            f"{short_list(assets)} {has} no slot in {LOCK_NAME}, so {is_on} on MQTT only: run `gateway lock"
            f" -c …`{_successor(gone.get(template), needed)}",
            "auto",
        )


def _successor(gone: list[str] | None, needs: list[Need]) -> str:
    """Return what to do where a new asset is in the place of one that is gone."""
    if not gone:
        return ""
    old, new = gone[0] if len(gone) == 1 else "OLD", needs[0].asset if len(needs) == 1 else "NEW"
    return (
        f"; if {'it' if len(needs) == 1 else 'one of them'} takes the place of"
        f" {short_list(gone, conjunction='or')}, `gateway lock -c … --replace {old}={new}` keeps the"
        " registers"
    )

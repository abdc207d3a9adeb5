"""Assets whose relative registers have no place yet: told to the user, or given slots by `gateway lock`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.mapping.slots.lock_file import LOCK_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.mapping.compiling.footprint import Area
    from gateway.mapping.compiling.places import Place
    from gateway.mapping.compiling.templates import CompiledTemplate
    from gateway.mapping.slots.lock_file import Slots

_MOST_NAMED = 5


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


def report_needs(needs: Iterable[Need], templates: Mapping[str, CompiledTemplate], slots: Slots) -> None:
    """Report listed assets without registers, and warn of automatic ones: they go on without.

    One `gateway lock` mends all of a template, so that is one message, at the first of them.
    """
    if not slots.is_readable:  # the slots may be there, once the file is mended
        return
    automatic: dict[str, list[str]] = {}
    listed: dict[str, list[Need]] = {}
    for need in needs:
        if need.place is None:
            automatic.setdefault(need.template, []).append(need.asset)
        else:
            listed.setdefault(need.template, []).append(need)
    for first, *others in listed.values():
        too = f", nor {'has' if len(others) == 1 else 'have'} {few([need.asset for need in others])}"
        assert first.place is not None  # noqa: S101 - only such are listed
        first.place.report(
            f"has no `base` and no slot in {LOCK_NAME}{too if others else ''}: run `gateway lock -c …`, or"
            " write a base"
        )
    for template, assets in automatic.items():
        has, is_on = ("has", "it is") if len(assets) == 1 else ("have", "they are")
        templates[template].place.warn(
            f"{few(assets)} {has} no slot in {LOCK_NAME}, so {is_on} on MQTT only: run `gateway lock -c …`",
            "auto",
        )


def few(assets: list[str]) -> str:
    """Return a few ids as messages name them: `ast-1, ast-2 and 3 more`."""
    rest = len(assets) - _MOST_NAMED
    return ", ".join(assets[:_MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")

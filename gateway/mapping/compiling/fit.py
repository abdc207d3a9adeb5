"""Whether a point's registers can show what the table promises of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.problems import show
from gateway.errors import EncodingError
from gateway.mapping.registers import encoder, sentinel_text
from gateway.model import StalePolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.mapping.compiling.blocks import Block
    from gateway.mapping.compiling.places import Layers
    from gateway.model import OnStale, Scalar


def check_fit(blocks: Iterable[Block], layers: Layers, value: Scalar, *steps: str | int) -> None:
    """Refuse a value, written at `steps`, that the table itself puts into a register."""
    for _, error in _misfits(blocks, value):
        layers.report(f"does not fit its register: {error}", *steps)


def check_reach(
    blocks: Iterable[Block], layers: Layers, bound: Scalar, *steps: str | int, on_stale: OnStale
) -> None:
    """Warn where a reading in range can be more than a register holds, and is bad; it may never happen."""
    shown = {StalePolicy.HOLD: "the last good value", StalePolicy.VALUE: show(on_stale.value)}
    for block, error in _misfits(blocks, bound):
        instead = shown.get(on_stale.policy, sentinel_text(block.register))
        layers.warn(
            f"reaches beyond its register, where {instead} and a dead letter take the value's place: {error}",
            *steps,
        )


def check_highest(blocks: Iterable[Block], layers: Layers, highest: int, what: str) -> None:
    """Refuse registers that could not follow a number of the gateway's own for long."""
    for block, error in _misfits(blocks, highest):
        layers.report(f"{what} {highest}: {error}", *block.steps)


def check_decimals(blocks: Iterable[Block], layers: Layers, decimals: int | None) -> None:
    """Warn of a register that cannot show the decimals which the point has elsewhere.

    Nor whole numbers, where `decimals` is None: none are written.
    """
    for block in blocks:
        register, least = block.register, 10 ** (decimals or 0)
        if "int" not in register.type or abs(register.scale) >= least:
            continue
        if decimals is not None:
            message = f"{register.type} at scale {register.scale:g} cannot show them; {least} could"
            layers.warn(message, "decimals")
        else:
            step = f"{1 / register.scale:g}"
            message = f"the register holds the value times this, in steps of {step}; did you mean {step}?"
            layers.warn(message, *block.steps, "scale")


def _misfits(blocks: Iterable[Block], value: Scalar) -> Iterator[tuple[Block, EncodingError]]:
    """Yield the blocks that cannot hold the value, each with the reason."""
    for block in blocks:
        try:
            encoder(block.register)(value)
        except EncodingError as error:
            yield block, error

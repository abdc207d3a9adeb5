"""Register numbers as a BMS engineer writes them: 3xxxx, 4xxxx, 0xxxx and 1xxxx, which also say the table."""

from __future__ import annotations

import re

from gateway.mapping.registers import HIGHEST_ADDRESS
from gateway.model import RegisterTable

_MODICON = {
    "0": RegisterTable.COIL,
    "1": RegisterTable.DISCRETE,
    "3": RegisterTable.INPUT,
    "4": RegisterTable.HOLDING,
}


def parse_modicon(written: int | str) -> tuple[RegisterTable, int]:
    """Return the table and the 0-based PDU address of a 3xxxx number: 31001 is (input, 1000).

    Five digits reach 9999, six reach 65536. Where leading zeros were dropped, short numbers are coils.
    """
    text = str(written).zfill(5) if isinstance(written, int) else written
    match = re.fullmatch(r"([0134])(\d{4}|\d{5})", text)
    if match is None or not 1 <= int(match[2]) <= HIGHEST_ADDRESS + 1:
        raise ValueError(
            "has 5 or 6 digits: 0 coil, 1 discrete, 3 input, 4 holding; then 0001 to 9999 or 00001 to 65536"
        )
    return _MODICON[match[1]], int(match[2]) - 1


def modicon(table: RegisterTable, address: int) -> str:
    """Return the number of a PDU address as a BMS engineer writes it, six digits only where five end."""
    digit = next(digit for digit, of_table in _MODICON.items() if of_table is table)
    return f"{digit}{address + 1:04d}" if address < 9999 else f"{digit}{address + 1:05d}"  # noqa: PLR2004

"""A client made by others: libmodbus, the C library behind many controllers and tools, through ctypes."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_ANSWER_WITHIN_S = 60
_library: Any = ctypes.CDLL("libmodbus.so.5", use_errno=True)
_library.modbus_new_tcp.restype = ctypes.c_void_p
_library.modbus_strerror.restype = ctypes.c_char_p
for _order in ("abcd", "badc", "cdab", "dcba"):
    getattr(_library, f"modbus_get_float_{_order}").restype = ctypes.c_float


class LibmodbusError(Exception):
    """An error of the library, or an exception of the other side."""


class Libmodbus:
    """A connected client. All of its methods block: they belong into a thread."""

    def __init__(self, context: ctypes.c_void_p) -> None:
        self._context = context
        self._words = (ctypes.c_uint16 * 125)()
        self._bits = (ctypes.c_uint8 * 2000)()

    def input_registers(self, address: int, count: int) -> list[int]:
        """Use function 4."""
        self._do(_library.modbus_read_input_registers, address, count, self._words)
        return self._words[:count]

    def holding_registers(self, address: int, count: int) -> list[int]:
        """Use function 3."""
        self._do(_library.modbus_read_registers, address, count, self._words)
        return self._words[:count]

    def coils(self, address: int, count: int) -> list[int]:
        """Use function 1."""
        self._do(_library.modbus_read_bits, address, count, self._bits)
        return self._bits[:count]

    def discrete_inputs(self, address: int, count: int) -> list[int]:
        """Use function 2."""
        self._do(_library.modbus_read_input_bits, address, count, self._bits)
        return self._bits[:count]

    def input_float(self, address: int, order: str) -> float:
        """Read two input registers as a float in the order `abcd`, `badc`, `cdab` or `dcba`."""
        self._do(_library.modbus_read_input_registers, address, 2, self._words)
        return float(getattr(_library, f"modbus_get_float_{order}")(self._words))

    def write_register(self, address: int, value: int) -> None:
        """Use function 6."""
        if _library.modbus_write_register(self._context, address, value) < 0:
            raise LibmodbusError(_reason())

    def _do(self, function: Any, address: int, count: int, found: ctypes.Array[Any]) -> None:
        if function(self._context, address, count, found) != count:
            raise LibmodbusError(_reason())


def _reason() -> str:
    text: bytes = _library.modbus_strerror(ctypes.get_errno())
    return text.decode()


@contextmanager
def libmodbus(port: int, *, unit: int = 1) -> Iterator[Libmodbus]:
    """Connect to a loopback port."""
    context = ctypes.c_void_p(_library.modbus_new_tcp(b"127.0.0.1", port))
    try:
        _library.modbus_set_response_timeout(context, _ANSWER_WITHIN_S, 0)
        _library.modbus_set_slave(context, unit)
        if _library.modbus_connect(context) < 0:
            raise LibmodbusError(_reason())
        yield Libmodbus(context)
    finally:
        _library.modbus_close(context)
        _library.modbus_free(context)

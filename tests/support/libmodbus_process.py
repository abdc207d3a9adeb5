"""A controller made of libmodbus (by ctypes), in a process of its own: runs as a program, see `main`.

It stores what is written and logs requests. Lines of JSON on its standard input are commands, such as to
answer some requests otherwise or to return its values; each gets a line on its output.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import socket
import struct
import sys
import time
from typing import Any, ClassVar

_SIZE = 10_000
_SINGLE = {5, 6}


class Mapping(ctypes.Structure):
    """`modbus_mapping_t`."""

    _fields_: ClassVar = [
        *((name, ctypes.c_int) for name in ("nb_bits", "start_bits", "nb_input_bits", "start_input_bits")),
        *((name, ctypes.c_int) for name in ("nb_input_registers", "start_input_registers")),
        *((name, ctypes.c_int) for name in ("nb_registers", "start_registers")),
        *((name, ctypes.POINTER(ctypes.c_uint8)) for name in ("tab_bits", "tab_input_bits")),
        *((name, ctypes.POINTER(ctypes.c_uint16)) for name in ("tab_input_registers", "tab_registers")),
    ]


LIBRARY = ctypes.CDLL("libmodbus.so.5")
LIBRARY.modbus_new_tcp.restype = LIBRARY.modbus_new_rtu.restype = ctypes.c_void_p
LIBRARY.modbus_mapping_new.restype = ctypes.POINTER(Mapping)


class Controller:
    """Answers requests; `rules` say which ones otherwise than libmodbus would."""

    def __init__(self, context: ctypes.c_void_p) -> None:
        self.context = context
        self.units: dict[int, Any] = {}
        self.rules: list[dict[str, Any]] = []
        self.requests: list[list[float]] = []
        self.open = self.accepted = 0  # connections
        self.hangs_up = False
        self.query = (ctypes.c_uint8 * 260)()
        self.header = LIBRARY.modbus_get_header_length(context)

    def unit(self, number: int) -> Any:
        """Return a unit's registers and coils, all 0 at first."""
        if number not in self.units:
            self.units[number] = LIBRARY.modbus_mapping_new(_SIZE, _SIZE, _SIZE, _SIZE)
        return self.units[number].contents

    def receive(self) -> bool:
        """Take one request and answer it; return False where the connection is over."""
        length: int = LIBRARY.modbus_receive(self.context, self.query)
        if length <= 0:
            return length == 0
        body = bytes(self.query[self.header - 1 : length])
        unit, function = body[0], body[1]
        address = int.from_bytes(body[2:4], "big")
        count = 1 if function in _SINGLE else int.from_bytes(body[4:6], "big")
        self.requests.append([unit, function, address, count, time.monotonic()])
        rule = self.rule_for(unit, function, address, count)
        self.answer(rule, unit, length)
        return "hangs_up" not in rule

    def rule_for(self, unit: int, function: int, address: int, count: int) -> dict[str, Any]:
        """Return the first rule whose conditions all hold; it may be for so many requests only."""
        for rule in self.rules:
            first, last = rule.get("addresses", (address, address))
            if (
                unit in rule.get("units", (unit,))
                and function in rule.get("functions", (function,))
                and address <= last
                and address + count > first
                and count >= rule.get("from_count", 1)
                and rule.get("times", 1) > 0
            ):
                if "times" in rule:
                    rule["times"] -= 1
                return rule
        return {}

    def answer(self, rule: dict[str, Any], unit: int, length: int) -> None:
        """Answer by the rule."""
        if rule.get("is_mute"):
            return
        time.sleep(rule.get("delay_s", 0))
        os.write(LIBRARY.modbus_get_socket(self.context), bytes.fromhex(rule.get("noise", "")))
        if "exception" in rule:
            LIBRARY.modbus_reply_exception(self.context, self.query, rule["exception"])
        elif "pdu" in rule:
            pdu = bytes.fromhex(rule["pdu"])
            transaction = (self.query[0] << 8 | self.query[1]) + rule.get("transactions_on", 0)
            head = struct.pack(">HH", transaction, 0) + (len(pdu) + 1).to_bytes(2, "big") + bytes([unit])
            os.write(LIBRARY.modbus_get_socket(self.context), head + pdu)
        else:
            mapping = self.unit(unit)
            LIBRARY.modbus_reply(self.context, self.query, length, self.units[unit])
            if rule.get("forgets"):
                ctypes.memset(mapping.tab_registers, 0, 2 * _SIZE)
                ctypes.memset(mapping.tab_bits, 0, _SIZE)

    def obey(self, command: dict[str, Any]) -> Any:
        """Do what the test asks."""
        match command.pop("do"):
            case "rule":
                self.rules.append(command)
            case "no rules":
                self.rules.clear()
            case "registers":
                return self.unit(command["unit"]).tab_registers[command["first"] : command["end"]]
            case "coils":
                return self.unit(command["unit"]).tab_bits[command["first"] : command["end"]]
            case "fill":
                self.unit(command["unit"]).tab_registers[command["first"]] = command["word"]
            case "requests":
                requests, self.requests = self.requests, []
                return requests
            case "hang up":
                self.hangs_up = True
            case "connections":
                return [self.open, self.accepted]
        return None


def accept(listener: int) -> int:
    """Return the socket of a new connection."""
    server = socket.socket(fileno=listener)
    connection, _ = server.accept()
    server.detach()
    return connection.detach()


def serve(controller: Controller, *, listener: int | None, line: int | None) -> None:
    """Answer requests and the test's commands until the test is gone."""
    clients = set() if line is None else {line}
    while True:
        watched = [sys.stdin.fileno(), *clients, *(() if listener is None else (listener,))]
        for ready in select.select(watched, [], [])[0]:
            if ready == sys.stdin.fileno():
                command = sys.stdin.readline()
                if not command:
                    return
                print(json.dumps(controller.obey(json.loads(command))), flush=True)
            elif listener is not None and ready == listener:
                clients.add(accept(listener))
                controller.accepted += 1
            else:
                LIBRARY.modbus_set_socket(controller.context, ready)
                if not controller.receive() and line is None:
                    clients.discard(ready)
                    os.close(ready)
        if controller.hangs_up:
            for client in clients:
                os.close(client)
            clients.clear()
            controller.hangs_up = False
        controller.open = len(clients)


def main() -> None:
    """Serve `tcp PORT`, or `rtu PORT UNIT` at 19,200 baud without parity: pseudo terminals have none."""
    if sys.argv[1] == "tcp":
        context = ctypes.c_void_p(LIBRARY.modbus_new_tcp(b"127.0.0.1", int(sys.argv[2])))
        listener = LIBRARY.modbus_tcp_listen(context, 8)
        assert listener >= 0, "cannot listen"
        line = None
    else:
        context = ctypes.c_void_p(
            LIBRARY.modbus_new_rtu(sys.argv[2].encode(), 19_200, ctypes.c_char(b"N"), 8, 1)
        )
        LIBRARY.modbus_set_slave(context, int(sys.argv[3]))
        assert LIBRARY.modbus_connect(context) == 0, "cannot open the serial port"
        listener, line = None, LIBRARY.modbus_get_socket(context)
    controller = Controller(context)
    print(json.dumps("ready"), flush=True)
    serve(controller, listener=listener, line=line)


if __name__ == "__main__":
    main()

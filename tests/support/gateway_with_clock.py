"""The gateway with a wall clock that a test sets while it runs; what has passed goes on being counted.

    python gateway_with_clock.py FILE run -c gateway.yaml

FILE holds eight bytes: by how many milliseconds the clock is ahead, as a little-endian number.
"""

import mmap
import struct
import sys
import time


def _use_clock_of(name: str) -> None:
    """Set the time of day ahead by the number in the file, at each moment."""
    with open(name, "rb") as file:  # noqa: PTH123 - nothing else is imported before
        ahead_ms = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    read_ns = time.time_ns
    time.time_ns = lambda: read_ns() + struct.unpack("<q", ahead_ms[:])[0] * 1_000_000
    time.time = lambda: time.time_ns() / 1e9


if __name__ == "__main__":
    _use_clock_of(sys.argv.pop(1))
    from gateway.__main__ import main

    main()

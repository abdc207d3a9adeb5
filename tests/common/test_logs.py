"""What reaches standard error, seen from outside the process."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

_PROGRAM = """
import logging, sys
import structlog
from gateway.logs import configure_logging

def verify(secret):
    raise RuntimeError("a bug")

configure_logging(level="info", form=sys.argv[1])
try:
    verify("whsec-" + "made-up")
except RuntimeError:
    structlog.get_logger().exception("intake.failed")
    logging.getLogger("library").exception("failed")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_tracebacks_show_no_values(form: str) -> None:
    """A traceback names places and no values of variables, which may be secrets."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, form], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.count("RuntimeError: a bug") == 2
    assert "in verify" in done.stderr
    assert "whsec-made-up" not in done.stderr


@pytest.mark.parametrize("form", ["json", "console"])
def test_names_from_elsewhere_steer_no_terminal(form: str) -> None:
    """Control characters in logged texts are escaped."""
    program = """
import sys, structlog
from gateway.logs import configure_logging
configure_logging(level="info", form=sys.argv[1])
structlog.get_logger().info("started", name="a" + chr(27) + "[2J" + chr(0x9b) + "b", many=[chr(27)])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, form], capture_output=True, text=True, check=True, timeout=60
    )
    assert r"a\u001b[2J\u009bb" in done.stderr
    assert "\x1b" not in done.stderr
    assert "\x9b" not in done.stderr


def test_terminals_get_lines_and_everything_else_json() -> None:
    """Unless the settings name a format."""
    program = """
import structlog
from gateway.logs import configure_logging
configure_logging(level="info", form=None)
structlog.get_logger().info("started", name="a")
"""
    piped = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(piped.stderr)["event"] == "started"
    terminal, theirs = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", program], stderr=theirs, check=True, timeout=60)
        shown = os.read(terminal, 10_000).decode()
    finally:
        os.close(terminal)
        os.close(theirs)
    assert "started" in shown
    assert not shown.startswith("{")


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_journal_of_the_system_gets_priorities(form: str) -> None:
    """Lines for journald begin with their priority, others do not."""
    program = """
import logging, sys, structlog
from gateway.logs import configure_logging
configure_logging(level="info", form=sys.argv[1])
log = structlog.get_logger()
log.info("calm")
log.warning("odd")
log.error("bad")
try:
    raise RuntimeError("a bug")
except RuntimeError:
    log.exception("worse")
log.critical("worst")
logging.getLogger("library").error("theirs")
"""
    readable, writable = os.pipe()
    status = os.fstat(writable)
    with os.fdopen(readable) as reader:
        for mark in (f"{status.st_dev}:{status.st_ino}", "1:2"):
            subprocess.run(
                [sys.executable, "-c", program, form],
                stderr=writable,
                env={**os.environ, "JOURNAL_STREAM": mark},
                check=True,
                timeout=30,
            )
        os.close(writable)
        lines = reader.read().splitlines()
    marked = [line for line in lines if line.startswith("<")]
    assert len(marked) == len(lines) / 2
    for word, priority in {"calm": 6, "odd": 4, "bad": 3, "worse": 3, "worst": 2, "theirs": 3}.items():
        assert any(line.startswith(f"<{priority}>") and word in line for line in marked)
    assert all(line[:3] in ("<2>", "<3>", "<4>", "<6>") for line in marked)

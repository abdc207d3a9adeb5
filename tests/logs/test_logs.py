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
    """A bug's traceback says where it happened, and not what the variables held: that may be a secret."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, form], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stderr.count("RuntimeError: a bug") == 2
    assert "in verify" in done.stderr
    assert "whsec-made-up" not in done.stderr


@pytest.mark.parametrize("form", ["json", "console"])
def test_names_from_elsewhere_steer_no_terminal(form: str) -> None:
    """Control characters in what is told are shown, not sent to whoever looks at the log."""
    program = """
import sys, structlog
from gateway.logs import configure_logging
configure_logging(level="info", form=sys.argv[1])
structlog.get_logger().info("told", name="a" + chr(27) + "[2J" + chr(0x9b) + "b", many=[chr(27)])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, form], capture_output=True, text=True, check=True, timeout=30
    )
    assert r"a\u001b[2J\u009bb" in done.stderr
    assert "\x1b" not in done.stderr
    assert "\x9b" not in done.stderr


def test_a_terminal_is_written_for_people_and_all_else_for_machines() -> None:
    """Unless the settings say which: journald gets JSON, whoever starts it by hand reads lines."""
    program = """
import structlog
from gateway.logs import configure_logging
configure_logging(level="info", form=None)
structlog.get_logger().info("told", name="a")
"""
    piped = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert json.loads(piped.stderr)["event"] == "told"
    terminal, theirs = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", program], stderr=theirs, check=True, timeout=30)
        shown = os.read(terminal, 10_000).decode()
    finally:
        os.close(terminal)
        os.close(theirs)
    assert "told" in shown
    assert not shown.startswith("{")

"""Texts from elsewhere never control the terminal of whoever runs a command."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import orjson
from hypothesis import given
from hypothesis import strategies as st
from support.commands import gateway
from support.config_files import write
from support.daemon import REPOSITORY

from gateway.cli.terminal import sanitised_output

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

STEERING = "\x1b]0;owned\x07\x1b[2J\x9b1A\r\u202e"


def event(key: str) -> str:
    """Return the body of an event with a reading of this name."""
    thing = {"id": "ast-1", "telemetry": {key: 21.5}}
    document = {"id": "evt_1", "type": "asset.telemetry.updated", "created": 1, "data": {"object": thing}}
    return json.dumps(document)


def steers(text: str) -> bool:
    """Return whether a text would control a terminal."""
    return any(mark in text for mark in "\x1b\x07\x9b\r\u202e")


def test_the_key_of_a_reading_is_sanitised(tmp_path: Path) -> None:
    """A reading's name cannot add lines to the output."""
    file = write(tmp_path, event(f"temp{STEERING}"), "event.json")
    done = gateway("explain", file)
    assert done.returncode == 0, done.stderr
    assert r"temp\u001b]0;owned\u0007\u001b[2J\u009b1A\u000d\u202e" in done.stdout
    assert not steers(done.stdout)


def test_errors_are_sanitised(tmp_path: Path) -> None:
    """Neither quoted values nor file names control the terminal."""
    file = write(tmp_path, "infodeck: {}\n", "gateway.yaml")
    done = gateway("points", "-c", file.with_name(f"none{STEERING}"))
    assert done.returncode == 1
    assert not steers(done.stderr)
    assert r"none\u001b" in done.stderr


@given(st.text(st.characters(codec="utf-8")))
def test_other_output_is_unchanged(text: str) -> None:
    """JSON is parsed as it was, and other text differs in control characters only."""
    shown = printed(orjson.dumps(text).decode())
    assert orjson.loads(shown) == text
    if text.isprintable():
        assert printed(f"{text}\r\n\t{text}\n") == f"{text}\r\n\t{text}\n"  # a spreadsheet's lines, too


def test_half_a_character_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """As in the name of a file that is no UTF-8."""
    with sanitised_output():
        sys.stdout.write("a\udcffb\n")
    assert capsys.readouterr().out == "a\\udcffb\n"


def test_a_closed_output_is_no_failure() -> None:
    """A command without an output does its work, and has its usual exit code."""
    command = [sys.executable, "-m", "gateway", "points", "-c", "config/gateway.yaml"]
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *command],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def printed(text: str) -> str:
    """Return the output for a text."""
    out = io.StringIO()
    with redirect_stdout(out), sanitised_output():
        sys.stdout.write(text)
    return out.getvalue()

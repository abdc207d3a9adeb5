"""`--help`: what a command does, an example that can be copied, and what its exit codes say."""

from __future__ import annotations

import re
import shlex

import pytest
from support.commands import gateway

from gateway.__main__ import parser

COMMANDS = [
    "discover",
    "doctor",
    "simulate",
    "nats",
    "nats setup",
    "nats republish",
    "webhooks",
    "webhooks list",
    "webhooks register",
    "webhooks test",
    "webhooks deliveries",
    "webhooks rotate",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_example_and_exit_codes(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a narrow terminal, the example is still one valid command line."""
    monkeypatch.setenv("COLUMNS", "60")
    shown = gateway(*command.split(), "--help").stdout
    (example,) = re.findall(r"^ {4}gateway (.*)$", shown, flags=re.MULTILINE)
    assert example.startswith(command)
    assert parser().parse_args(shlex.split(example)).config is not None
    codes = re.search(r"^Exit code 0: .*?(?=\n\n)", shown, flags=re.MULTILINE | re.DOTALL)
    assert codes is not None
    assert "; 1: " in " ".join(codes[0].split())


def test_text_is_filled_and_commands_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of prose fit the terminal, and paragraphs stay apart."""
    monkeypatch.setenv("COLUMNS", "60")
    shown = gateway("webhooks", "register", "--help").stdout
    prose, _, _ = shown[shown.index("Has Infodeck") :].partition("\noptions:")
    long = [line for line in prose.splitlines() if len(line) > 60]
    assert long == [line for line in prose.splitlines() if line.startswith("    gateway ")]
    assert [len(part.splitlines()) for part in prose.strip().split("\n\n")] == [3, 1, 1]


def test_exit_codes_of_all_commands() -> None:
    """`gateway --help` has the exit codes of all commands."""
    assert "2 the command line is not understood" in " ".join(gateway("--help").stdout.split())

"""docs/infodeck.md: the first day runs as it is written, and every setting is listed with its default."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest
import yaml
from support.asset_lists import API_KEY, items, types
from support.building import eventually
from support.config_files import complaints, write
from support.daemon import REPOSITORY
from support.guides import Box, Commands, Guide
from support.mosquitto import Mosquitto
from support.tokens import json_web_token

from gateway.__main__ import COMMANDS, parser
from gateway.demo.simulated_api import SimulatedApi
from gateway.demo.simulated_infodeck import EVENT_TYPES, SimulatedInfodeck
from gateway.settings import load_settings
from gateway.settings.infodeck import InfodeckSettings
from gateway.settings.shape import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

GUIDE = Guide("docs/infodeck.md")
ORGANIZATION = "o-xxxx"
WEBHOOK_URL = "https://gateway.example.com/webhooks/infodeck"
HEAD = "intake: {signing_secrets: [{credential: signing-secret}]}\n"
TOKEN = json_web_token(exp=time.time() + 90 * 86_400).decode()
CHECKLIST = 13  # lines of Infodeck's guide


@dataclass
class FirstDay(Box):
    """A box with the page's settings and secrets, and no point table yet."""

    def __post_init__(self) -> None:
        """Write what the reader has written before the first command."""
        super().__post_init__()
        for example in self.tables.iterdir():
            example.unlink()

    def write_settings(self) -> None:
        """Write the page's settings, with the rest as shipped, on ports of this test."""
        self.stand_ins = {**self.stand_ins, "8080": str(self.intake_port), WEBHOOK_URL: self.url}
        super().write_settings()
        settings = yaml.safe_load(self.config.read_text())
        (page,) = [text for kind, name, text in GUIDE.blocks if (kind, name) == ("yaml", "gateway.yaml")]
        self.config.write_text(yaml.safe_dump(settings | yaml.safe_load(self.here(page))))


@asynccontextmanager
async def simulated() -> AsyncIterator[SimulatedApi]:
    """Run an Infodeck with two rooms and no webhook."""
    known = [asset | {"organizationId": ORGANIZATION, "connectionStatus": True} for asset in items(2)]
    known[0]["id"] = "ast-a1b2c3d4"
    api = SimulatedApi(
        organization=ORGANIZATION, api_key=API_KEY, bearer_token=TOKEN, items=known, types=types("at-iaq")
    )
    async with (
        api,
        SimulatedInfodeck(organization=ORGANIZATION, api=api, duplicate_share=0, test_event=False),
    ):
        yield api


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder on a disk, as the doctor requires: the usual one may be in memory."""
    with TemporaryDirectory(prefix="gateway-guide-", dir="/var/tmp") as path:
        yield Path(path)


async def test_the_first_day_and_the_days_after(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the page, in order, prints what the page shows."""
    secrets = folder / "secrets"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secrets))
    async with simulated() as api:
        with Mosquitto(folder) as broker:
            box = FirstDay(
                folder,
                broker.port,
                guide=GUIDE,
                stand_ins={"https://app.infodeck.io/api/v2": api.url, "/etc/gateway": str(folder)},
            )
            secrets.mkdir()
            (secrets / "api-key").write_text(API_KEY)
            (secrets / "bearer-token").write_text(TOKEN)
            try:
                for script, shown in GUIDE.commands:
                    await asyncio.to_thread(prepare, box, script)
                    fed = fed_with_a_secret(script, api)
                    await asyncio.to_thread(box.run, Commands(fed, shown and box.here(shown)))
                    if "doctor" in script and box.process is not None:
                        await asyncio.to_thread(box.run, Commands(script, None))  # no problem: exit code 0
                await asyncio.to_thread(rotate_in_one_command, box, api)
            finally:
                box.stop()


def prepare(box: Box, script: str) -> None:
    """Do by hand what the page requires before some commands."""
    if "webhooks test" in script:
        box.start()
    if "doctor" in script and box.process is not None:
        eventually(lambda: box.status()["reconcile"]["state"], "ok")


def fed_with_a_secret(script: str, api: SimulatedApi) -> str:
    """Make a new secret in Infodeck's web page and paste it, if the page requires it."""
    if "--from-stdin" not in script:
        return script
    api.webhooks[0]["signingSecret"] = "made-in-the-web-page"
    return f"echo made-in-the-web-page | {script}"


def rotate_in_one_command(box: Box, api: SimulatedApi) -> None:
    """Follow the page for documents that name the API's path for new secrets."""
    (way,) = [text for text in examples() if "rotate:" in text]
    settings = yaml.safe_load(box.config.read_text())
    settings["infodeck"]["webhook"] = yaml.safe_load(box.here(way))["infodeck"]["webhook"]
    box.config.write_text(yaml.safe_dump(settings))
    (command,) = re.findall(r"^ {4}(gateway webhooks rotate .*)$", GUIDE.text, flags=re.MULTILINE)
    box.run(Commands(command, None))
    assert api.webhooks[0]["signingSecret"] != "made-in-the-web-page"
    box.run(Commands(f"gateway webhooks test -c {box.config}", "It arrived after … s: …"))


def examples() -> list[str]:
    """Return the examples of settings."""
    return [text for kind, _, text in GUIDE.blocks if kind == "yaml"]


@pytest.mark.parametrize("text", examples())
def test_settings(tmp_path: Path, text: str) -> None:
    """Each example is valid."""
    whole = text if "intake:" in text else HEAD + text
    assert complaints(load_settings(write(tmp_path, whole, "gateway.yaml"))) == []


def rows(heading: str) -> list[list[str]]:
    """Return the rows of the table below a heading."""
    section = re.split(rf"^##+ {re.escape(heading)}$", GUIDE.text, flags=re.MULTILINE)[1]
    section = re.split(r"^## ", section, flags=re.MULTILINE)[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def code(cell: str) -> list[str]:
    """Return the text in code marks of a cell."""
    return re.findall(r"`([^`]+)`", cell)


def keys_of(shape: Any) -> Iterator[str]:
    """Yield every key of a section's shape, joined by dots."""
    hints = get_type_hints(shape)
    for field in fields(shape):
        choices = [hints[field.name], *getattr(hints[field.name], "__args__", ())]
        inner = next((choice for choice in choices if _is_section(choice)), None)
        if inner is None:
            yield field.name
        else:
            yield from (f"{field.name}.{key}" for key in keys_of(inner))


def _is_section(shape: Any) -> bool:
    return is_dataclass(shape) and shape.__module__.startswith("gateway.settings.")


def test_every_setting_is_listed_with_its_default(tmp_path: Path) -> None:
    """The table has every key of `infodeck` once, with the default that holds."""
    told = [
        (key, default)
        for key_cell, _, default_cell in rows("Settings")
        for key, default in _pairs(key_cell, default_cell)
    ]
    assert sorted(key for key, _ in told) == sorted(keys_of(InfodeckSettings))
    usual = loaded(tmp_path, {})
    for key, default in told:
        if default is not None:
            section: Any = yaml.safe_load(default)
            for name in reversed(key.split(".")):
                section = {name: section}
            assert loaded(tmp_path, section) == usual, key


def _pairs(keys: str, defaults: str) -> Iterator[tuple[str, str | None]]:
    """Yield key and default of a row; None: the default is in words."""
    is_value = defaults and not re.sub(r"`[^`]+`|[, ]", "", defaults)
    values: list[str | None] = [*code(defaults)] if is_value else [None] * len(code(keys))
    return zip(code(keys), values, strict=True)


def loaded(folder: Path, section: dict[str, Any]) -> InfodeckSettings:
    """Return the settings of `infodeck` with some of its keys."""
    written = {"infodeck": {"organization": ORGANIZATION} | section} | yaml.safe_load(HEAD)
    return load_settings(write(folder, json.dumps(written), "gateway.yaml")).require().infodeck


def test_every_undocumented_fact_names_its_settings() -> None:
    """The page names a setting for each fact that Infodeck does not document."""
    named = {name for *_, cell in rows("What Infodeck's documents leave open") for name in code(cell)}
    answers = {"webhook.rotate", "refill.time", "refill.shadows", "refill.metric_time"}
    assert {f"infodeck.{key}" for key in (*answers, "refill.metric_value")} <= named


def test_the_checklist_is_whole() -> None:
    """Each line of Infodeck's checklist has what the gateway does and where that shows."""
    lines = rows("Before you go live")
    assert len(lines) == CHECKLIST
    assert all(len(line) == 3 and all(line) for line in lines)


async def test_names_and_commands_exist(tmp_path: Path) -> None:
    """Each command parses; each setting and status field exists."""
    with Mosquitto(tmp_path) as broker:
        box = Box(tmp_path, broker.port, guide=GUIDE)
        box.start()
        try:
            status = box.status()
        finally:
            box.stop()
    in_status = {f"{name}.{key}" for name, part in status.items() if isinstance(part, dict) for key in part}
    settings = {key for shape in (Settings, InfodeckSettings) for key in keys_of(shape)}
    sections = {key.rpartition(".")[0] for key in settings}
    known = settings | sections | in_status | {*EVENT_TYPES} | logged_of_secrets()
    for text in code(re.sub(r"^```.*?^```$", "", GUIDE.text, flags=re.MULTILINE | re.DOTALL)):
        is_command = text.startswith("gateway ")
        command, *arguments = shlex.split(text)[1:] if is_command else [""]
        if arguments:
            parser().parse_args([command, *arguments])
        elif command:
            assert command in COMMANDS, text
        elif re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", text) and not text.endswith(".yaml"):
            assert text in known, text


def logged_of_secrets() -> set[str]:
    """Return the names of the log events about signing secrets."""
    source = (REPOSITORY / "gateway/intake/signing_secrets.py").read_text(encoding="utf-8")
    return set(re.findall(r'"(signing_secrets\.\w+)"', source))


def test_the_messages_of_a_rotation_are_those_of_the_page() -> None:
    """Each message of the table is one of the program's."""
    section = GUIDE.text.partition("## A new signing secret\n")[2].partition("\n## ")[0]
    section = section.partition("| it says |")[2]
    said = re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE)
    sources = [
        *(REPOSITORY / "gateway/cli").glob("webhooks_*.py"),
        REPOSITORY / "gateway/cli/secret_file.py",
    ]
    texts = "".join(re.sub(r'"\s*f?"', "", source.read_text(encoding="utf-8")) for source in sources)
    assert len(said) == 7
    assert [text for text in said if text not in texts] == []
    named = set(re.findall(r"signing_secrets\.\w+", section))
    assert named
    assert named <= logged_of_secrets()

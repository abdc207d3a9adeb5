"""`gateway discover` as a user types it, against a simulated Infodeck and a journal on disk."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from support.asset_lists import API_KEY, ORGANIZATION, answer
from support.commands import gateway
from support.journal_parts import START_MS, sqlite_journal

from gateway.demo.simulated_api import SimulatedApi
from gateway.infodeck.backfill_events import newest_event
from gateway.model import Event, Reading
from gateway.records import AssetProperty, AssetSnapshot, AssetType, KnownAsset, StateChanges, UnmappedAsset

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from support.commands import Done

    from gateway.demo.simulated_answers import Answer

TYPES = [
    {
        "id": "at-iaq",
        "name": "Indoor air",
        "properties": [
            {"key": "temperature", "name": "Temperature", "type": "float", "unit": "°C"},
            {"key": "co2", "name": "CO2", "type": "integer", "unit": "ppm"},
        ],
    },
    {
        "id": "at-meter",
        "name": "Meter",
        "properties": [{"key": "Power", "name": "Power", "type": "integer", "unit": "W"}],
    },
]
LOCATIONS: list[dict[str, Any]] = [
    {"id": "loc-hq", "name": "HQ", "parentId": None},
    {"id": "loc-3", "name": "Level 3", "parentId": "loc-hq"},
]


def item(asset: str, name: str, asset_type: str, **readings: Any) -> dict[str, Any]:
    """Return an asset as the API lists it."""
    return {
        "id": asset,
        "organizationId": ORGANIZATION,
        "assetTypeId": asset_type,
        "name": name,
        "locationId": "loc-3",
        "shadows": {"DeviceUplink": {"state": {"reported": readings}}},
    }


ITEMS = [
    item("ast-2", "Room 2", "at-iaq"),
    item("ast-1", "Room 1", "at-iaq", temperature=21.5, occupancy="vacant"),
    item("ast-m", "Meter", "at-meter"),
    item("ast-x", "Beacon", "at-x"),
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return settings with an empty folder of tables; there is no API where they say it is."""
    (tmp_path / "mappings").mkdir()
    return write_settings(tmp_path, "http://127.0.0.1:9")


def write_settings(folder: Path, api: str, *, key: str = "{env: KEY}", mappings: str = "mappings") -> Path:
    """Write the settings; without `key`, Infodeck is never asked. `mappings`: the key of that name."""
    file = folder / "gateway.yaml"
    api_key = f", api_key: {key}" if key else ""
    file.write_text(
        f"infodeck: {{organization: {ORGANIZATION}, api: {api}{api_key}, request_share: 1}}\n"
        "intake: {signing_secrets: [{env: S}]}\n"
        f'journal: {{url: "sqlite:///{folder}/journal.db"}}\n'
        'sinks: {bms: {type: mqtt, url: "mqtt://127.0.0.1:1883"},'
        ' regs: {type: modbus_server, listen: "127.0.0.1:5020"}}\n'
        f"{mappings}: mappings\n"
    )
    return file


def simulated(items: list[dict[str, Any]], *, faults: Iterable[Answer] = ()) -> SimulatedApi:
    """Return the API of this building."""
    return SimulatedApi(
        organization=ORGANIZATION,
        api_key=API_KEY,
        items=items,
        types=TYPES,
        locations=LOCATIONS,
        faults=deque(faults),
    )


async def discover(folder: Path, api: SimulatedApi, *arguments: str | Path) -> Done:
    """Run the command while the API answers, beside it."""
    async with api:
        config = write_settings(folder, api.url)
        return await asyncio.to_thread(gateway, "discover", "-c", config, *arguments)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", API_KEY)


async def remember(folder: Path, notes: StateChanges, *events: Event) -> None:
    """Let the journal know what the running gateway would have noted."""
    async with sqlite_journal(folder) as journal:
        for event in events:
            await journal.append(event)
        journal.save(notes)


def reported(number: int, asset: str, **readings: Any) -> Event:
    """Return a webhook's event."""
    kind = "asset.telemetry.updated"
    document = {
        "id": f"evt_{number}",
        "type": kind,
        "organizationId": ORGANIZATION,
        "created": START_MS // 1000,
        "data": {"object": {"assetId": asset, "telemetry": readings}},
    }
    return Event(f"evt_{number}", kind, json.dumps(document).encode(), document, START_MS)


async def test_readings_come_from_the_shadows_that_the_settings_name(tmp_path: Path) -> None:
    """Where a building's devices report into other shadows than the usual one, their keys are drafted."""
    (tmp_path / "mappings").mkdir()
    beacon = item("ast-x", "Beacon", "at-x", decoy=1)
    beacon["shadows"]["Radio"] = {"state": {"reported": {"rssi": -70}}}
    async with simulated([beacon]) as api:
        config = write_settings(tmp_path, api.url)
        settings = config.read_text().replace(
            "request_share: 1", "request_share: 1, refill: {shadows: [Radio]}"
        )
        config.write_text(settings)
        done = await asyncio.to_thread(gateway, "discover", "-c", config)
    assert done.returncode == 0
    assert "from: rssi" in done.stdout
    assert "decoy" not in done.stdout


async def test_a_building_is_drafted_checked_and_then_there_is_nothing_left(config: Path) -> None:
    """From an empty folder to a table that checks; on stdout there is the table and not a word else."""
    folder = config.parent
    table = folder / "mappings" / "building.yaml"
    printed = await discover(folder, simulated(ITEMS))
    assert (printed.returncode, printed.stderr) == (
        0,
        "note: 1 asset left out: the end of the draft says why\n",
    )
    written = await discover(folder, simulated(ITEMS), "-o", table)
    assert written.stdout == f"{table}: 3 assets; edit it, then run `gateway check -c {config}`\n"
    drafted = [line for line in table.read_text().splitlines() if "as of" not in line]
    assert drafted == [line for line in printed.stdout.splitlines() if "as of" not in line]
    assert "  - {id: ast-1, tag: Room 1, use: at-iaq, base: 0}   # HQ / Level 3" in drafted
    assert "      OCCUPANCY: {from: occupancy}" in drafted
    assert "#   ast-x: no telemetry key of it is known" in drafted
    checked = gateway("check", "-c", config)
    assert (checked.returncode, checked.stdout) == (0, "ok: 3 assets, 7 points, 5 with a register\n")
    assert "Room 2/CO2" in gateway("points", "-c", config).stdout
    again = await discover(folder, simulated(ITEMS))
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr.splitlines()[0] == "note: 3 assets in the tables already"
    assert again.stderr.splitlines()[-1] == "note: nothing to draft"
    assert [file.name for file in table.parent.iterdir()] == ["building.yaml"]


async def test_a_new_room_is_added_to_the_table_that_is_there(config: Path) -> None:
    """What is mapped stays as it is; a further room uses the template of its kind, behind the others."""
    folder = config.parent
    await discover(folder, simulated(ITEMS), "-o", folder / "mappings" / "a.yaml")
    more = [*ITEMS, item("ast-3", "Room 3", "at-iaq", temperature=20)]
    done = await discover(folder, simulated(more), "-o", folder / "mappings" / "b.yaml")
    assert (done.returncode, done.stderr.count("note:")) == (0, 2)
    assert "{id: ast-3, tag: Room 3, use: at-iaq, base: 24}" in (folder / "mappings" / "b.yaml").read_text()
    assert gateway("check", "-c", config).stdout == "ok: 4 assets, 10 points, 7 with a register\n"


async def test_only_what_is_asked_for(config: Path) -> None:
    """--type and --asset add up; an unknown name is reported with a similar one."""
    folder = config.parent
    done = await discover(
        folder, simulated(ITEMS), "--type", "at-meter", "--asset", "ast-2", "--site", "tower"
    )
    assert [line[4:20] for line in done.stdout.splitlines() if "{id:" in line] == [
        "{id: ast-2, tag:",
        "{id: ast-m, tag:",
    ]
    assert "\nsite: tower\n" in done.stdout
    wrong = await discover(folder, simulated(ITEMS), "--type", "at-metre")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("gateway: --type at-metre: there is no type of this name, did you mean")
    wrong = await discover(folder, simulated(ITEMS), "--asset", "ast-9")
    assert "--asset ast-9: there is no asset of this name" in wrong.stderr
    wrong = await discover(folder, simulated(ITEMS), "--site", "a/b")
    assert "--site a/b: becomes part of a topic" in wrong.stderr


async def test_everything_is_drafted_anew_for_a_folder_of_its_own(config: Path) -> None:
    """--all repeats what the tables map, and so cannot stand beside them."""
    folder = config.parent
    await discover(folder, simulated(ITEMS), "-o", folder / "mappings" / "a.yaml")
    beside = await discover(folder, simulated(ITEMS), "--all", "-o", folder / "mappings" / "b.yaml")
    assert (beside.returncode, beside.stdout) == (1, "")
    assert "take another folder" in beside.stderr
    done = await discover(folder, simulated(ITEMS), "--all", "-o", folder / "new.yaml")
    assert done.returncode == 0
    assert "{id: ast-1, tag: Room 1, use: at-iaq, base: 0}" in (folder / "new.yaml").read_text()


async def test_a_file_that_is_there_is_never_overwritten(config: Path) -> None:
    """Nor is a name taken that the gateway would not read; nothing is asked for either."""
    for name, message in (("a.yaml", "is there already"), ("b.yml", "ends in .yaml")):
        file = config.parent / name
        file.write_text("mine")
        api = simulated(ITEMS)
        done = await discover(config.parent, api, "-o", file)
        assert (done.returncode, done.stdout, file.read_text(), api.asked) == (1, "", "mine", [])
        assert message in done.stderr


@pytest.mark.parametrize(
    ("key", "arguments", "note"),
    [
        ("", (), "note: drafted from the journal alone: infodeck.api_key is not set\n"),
        (
            "{env: NONE}",
            (),
            "note: drafted from the journal alone: Infodeck could not be asked: the environment variable",
        ),
        ("{env: KEY}", ("--offline",), None),
    ],
)
async def test_without_the_api_the_journal_is_drafted_from(
    config: Path, key: str, arguments: tuple[str, ...], note: str | None
) -> None:
    """Keys of assets that no table named, values of the last events, and what the API said before."""
    folder = config.parent
    write_settings(folder, "http://127.0.0.1:9", key=key)
    of_type = AssetType("at-iaq", "Indoor air", (AssetProperty("temperature", None, "float", "°C"),))
    hall = KnownAsset(id="ast-1", name="Hall", asset_type="at-iaq")
    snapshot = AssetSnapshot(START_MS, {"ast-1": hall}, {"at-iaq": of_type})
    unmapped_assets = [UnmappedAsset("ast-7", 2, START_MS, START_MS, ("power", "mode", "gone"))]
    events = [reported(1, "ast-7", power=12.5, mode="eco"), reported(2, "ast-1", temperature=21)]
    await remember(
        folder,
        StateChanges(assets=snapshot, unmapped_assets={one.asset: one for one in unmapped_assets}),
        *events,
    )
    done = gateway("discover", "-c", config, *arguments)
    assert done.returncode == 0
    assert done.stderr == "" if note is None else done.stderr.startswith(note)
    assert "from the journal and received telemetry as of 2027-01-15T08:00:00Z." in done.stdout
    assert "{id: ast-1, tag: Hall, use: at-iaq, base: 8}" in done.stdout
    assert "TEMPERATURE: {from: temperature, unit: degC, modbus: {register: 0, type: float32}}" in done.stdout
    assert "{id: ast-7, tag: ast-7, use: untyped, base: 0}" in done.stdout
    assert "MODE: {from: mode}" in done.stdout
    assert "POWER: {from: power, modbus: {register: 0, type: float32}}" in done.stdout
    assert "      # text: no register, unless by a `map`\n      GONE: {from: gone}" in done.stdout


async def test_a_path_that_was_refilled_is_no_telemetry_key(config: Path) -> None:
    """A point reads it already; nobody is reported of a key that no device has."""
    readings = [
        Reading("power", 12.5, START_MS),
        Reading("$.data.object.shadows.Up.state.reported.mode", "eco", START_MS),
    ]
    event = newest_event("ast-7", readings, tables_id="", organization=ORGANIZATION, now_ms=START_MS)
    unmapped = UnmappedAsset("ast-7", 1, START_MS, START_MS, ("power",))
    await remember(config.parent, StateChanges(unmapped_assets={unmapped.asset: unmapped}), event)
    done = gateway("discover", "-c", config, "--offline")
    assert "POWER: {from: power" in done.stdout
    assert "reported.mode" not in done.stdout


async def test_an_api_that_refuses_says_why_and_the_journal_helps_out(config: Path) -> None:
    """The troubleshooting of the key is on stderr, never the key; the draft is made all the same."""
    folder = config.parent
    await remember(folder, StateChanges(), reported(1, "ast-7", power=12.5))
    await remember(
        folder,
        StateChanges(unmapped_assets={"ast-7": UnmappedAsset("ast-7", 1, START_MS, START_MS, ("power",))}),
    )
    refused = answer({"message": "Invalid API key"}, status=401)
    done = await discover(folder, simulated(ITEMS, faults=[refused]))
    assert done.returncode == 0
    assert "Infodeck could not be asked: the API answered 401 (Invalid API key): check" in done.stderr
    assert API_KEY not in done.stderr
    assert "POWER: {from: power, modbus:" in done.stdout
    assert "from the journal and received telemetry as of " in done.stdout


async def test_parts_that_cannot_be_had_are_reported(config: Path) -> None:
    """Without types and locations, what was seen makes the draft."""
    api = simulated(ITEMS)
    for suffix in ("/locations", "/asset-types/at-iaq"):
        api.path_faults[suffix] = deque([answer({}, status=403)])
    done = await discover(config.parent, api)
    assert done.returncode == 0
    assert "note: locations are as before: the API answered 403" in done.stderr
    assert "note: asset types are as before: " in done.stderr
    assert "TEMPERATURE: {from: temperature, modbus: {register: 0, type: float32}}" in done.stdout


async def test_what_reports_but_is_not_listed_is_reported(config: Path) -> None:
    """A device that was deleted in Infodeck may go on reporting: it is no part of the building any more."""
    unmapped = UnmappedAsset("ast-7", 2, START_MS, START_MS, ("power",))
    await remember(config.parent, StateChanges(unmapped_assets={"ast-7": unmapped}))
    done = await discover(config.parent, simulated(ITEMS))
    assert "#   ast-7: Infodeck does not list it; last received 2027-01-15T08:00:00Z" in done.stdout


async def test_an_organization_without_assets(config: Path) -> None:
    """The API answers, and lists none."""
    done = await discover(config.parent, simulated([]))
    assert (done.returncode, done.stdout) == (1, "")
    assert "no asset of o-test is known: check infodeck.organization" in done.stderr


async def test_readings_arrive_by_a_draft(config: Path) -> None:
    """What was seen and is sent again shows on the point's topic and in its register."""
    folder = config.parent
    await discover(folder, simulated(ITEMS), "-o", folder / "mappings" / "a.yaml")
    event = reported(1, "ast-1", temperature=21.5, occupancy="vacant")
    explained = gateway("explain", "-c", config, "-", body=event.body.decode())
    assert "gw/v1/o-test/Room 1/TEMPERATURE" in explained.stdout
    assert '"value":21.5,"unit":"degC","quality":"good"' in explained.stdout
    assert '"value":"vacant"' in explained.stdout
    assert "41AC 0000" in explained.stdout.upper()


def test_with_nothing_known_it_says_what_to_do(config: Path) -> None:
    """Before the first start and without a key."""
    write_settings(config.parent, "http://127.0.0.1:9", key="")
    done = gateway("discover", "-c", config)
    assert (done.returncode, done.stdout) == (1, "")
    assert "infodeck.api_key, or let the gateway run until some have reported" in done.stderr


async def test_a_folder_that_is_not_there_is_reported_before_anybody_is_asked(config: Path) -> None:
    """A large organization is asked for minutes: not in vain."""
    api = simulated(ITEMS)
    done = await discover(config.parent, api, "-o", config.parent / "none" / "a.yaml")
    assert (done.returncode, done.stdout, api.asked) == (1, "", [])
    assert f"there is no folder {config.parent}/none" in done.stderr


async def test_files_with_problems_are_named(config: Path) -> None:
    """Settings and tables are mended first."""
    folder = config.parent
    (folder / "mappings" / "a.yaml").write_text("schema: gateway.points/1\nsite: a\npoint: []\n")
    done = await discover(folder, simulated(ITEMS))
    assert (done.returncode, done.stdout) == (1, "")
    assert "a.yaml:3:1: point:" in done.stderr
    assert "1 problem in" in done.stderr
    write_settings(folder, "http://127.0.0.1:9", mappings="mapping")
    done = gateway("discover", "-c", config, "--offline")
    assert "mapping: unknown key" in done.stderr


async def test_a_large_building_is_drafted_whole_and_quickly(config: Path) -> None:
    """10,000 assets of 20 types: each is in the draft, on as many units as their registers need."""
    keys = [f"key{number}" for number in range(8)]
    items = [
        item(f"ast-{number}", f"Room {number}", f"at-{number % 20}", **dict.fromkeys(keys, 1.5))
        for number in range(10_000)
    ]
    snapshot = AssetSnapshot(
        START_MS,
        {
            str(one["id"]): KnownAsset(
                id=str(one["id"]), name=str(one["name"]), asset_type=str(one["assetTypeId"])
            )
            for one in items
        },
    )
    events = [reported(number, f"ast-{number}", **dict.fromkeys(keys, 1.5)) for number in range(100)]
    await remember(config.parent, StateChanges(assets=snapshot), *events)
    table = config.parent / "mappings" / "all.yaml"
    began_s = time.process_time()
    done = await asyncio.to_thread(gateway, "discover", "-c", config, "--offline", "-o", table)
    assert done.stdout.startswith(f"{table}: 10000 assets;")
    assert time.process_time() - began_s < 20  # 3 s on a fast machine
    assert gateway("check", "-c", config).stdout == "ok: 10000 assets, 80000 points, 80000 with a register\n"

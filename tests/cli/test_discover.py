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
from gateway.infodeck.backfill import newest_event
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
    """Return settings with an empty folder of tables, and no API at their address."""
    (tmp_path / "mappings").mkdir()
    return write_settings(tmp_path, "http://127.0.0.1:9")


def write_settings(folder: Path, api: str, *, key: str = "{env: KEY}", mappings: str = "mappings") -> Path:
    """Write the settings. `key`: empty for none; `mappings`: the key of that name."""
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
    """Run the command while the API answers."""
    async with api:
        config = write_settings(folder, api.url)
        return await asyncio.to_thread(gateway, "discover", "-c", config, *arguments)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", API_KEY)


async def store_in_journal(folder: Path, notes: StateChanges, *events: Event) -> None:
    """Store events and state changes in a journal, as the running gateway does."""
    async with sqlite_journal(folder) as journal:
        for event in events:
            await journal.append(event)
        journal.save(notes)


def telemetry_event(number: int, asset: str, **readings: Any) -> Event:
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
    """The keys of the device shadows named in the settings are drafted, and no others."""
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


async def test_a_draft_checks_and_leaves_nothing_to_draft(config: Path) -> None:
    """A draft for an empty folder checks, and nothing is left to draft; stdout has the table only."""
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


async def test_a_further_room_uses_the_template_of_its_type(config: Path) -> None:
    """A further room uses the template of its type, with registers behind the others."""
    folder = config.parent
    await discover(folder, simulated(ITEMS), "-o", folder / "mappings" / "a.yaml")
    more = [*ITEMS, item("ast-3", "Room 3", "at-iaq", temperature=20)]
    done = await discover(folder, simulated(more), "-o", folder / "mappings" / "b.yaml")
    assert (done.returncode, done.stderr.count("note:")) == (0, 2)
    assert "{id: ast-3, tag: Room 3, use: at-iaq, base: 24}" in (folder / "mappings" / "b.yaml").read_text()
    assert gateway("check", "-c", config).stdout == "ok: 4 assets, 10 points, 7 with a register\n"


async def test_type_and_asset_select(config: Path) -> None:
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


async def test_all_needs_a_folder_of_its_own(config: Path) -> None:
    """--all repeats the assets of the tables, so the draft cannot be in their folder; it has their site."""
    folder = config.parent
    await discover(folder, simulated(ITEMS), "--site", "hq", "-o", folder / "mappings" / "a.yaml")
    beside = await discover(folder, simulated(ITEMS), "--all", "-o", folder / "mappings" / "b.yaml")
    assert (beside.returncode, beside.stdout) == (1, "")
    assert "take another folder" in beside.stderr
    done = await discover(folder, simulated(ITEMS), "--all", "-o", folder / "new.yaml")
    assert done.returncode == 0
    drafted = (folder / "new.yaml").read_text()
    assert "{id: ast-1, tag: Room 1, use: at-iaq, base: 0}" in drafted
    assert "\nsite: hq\n" in drafted


async def test_an_existing_file_is_never_overwritten(config: Path) -> None:
    """An existing file or a name that the gateway would not read is refused before any request."""
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
            "note: drafted from the journal alone: the environment variable NONE is not set",
        ),
        ("{env: KEY}", ("--offline",), None),
    ],
)
async def test_the_journal_is_enough(
    config: Path, key: str, arguments: tuple[str, ...], note: str | None
) -> None:
    """Without the API, a draft has unmapped assets, received values and the last answers of the API."""
    folder = config.parent
    write_settings(folder, "http://127.0.0.1:9", key=key)
    of_type = AssetType("at-iaq", "Indoor air", (AssetProperty("temperature", None, "float", "°C"),))
    hall = KnownAsset(id="ast-1", name="Hall", asset_type="at-iaq")
    snapshot = AssetSnapshot(START_MS, {"ast-1": hall}, {"at-iaq": of_type})
    unmapped_assets = [UnmappedAsset("ast-7", 2, START_MS, START_MS, ("power", "mode", "gone"))]
    events = [
        telemetry_event(1, "ast-7", power=12.5, mode="eco"),
        telemetry_event(2, "ast-1", temperature=21),
    ]
    await store_in_journal(
        folder,
        StateChanges(assets=snapshot, unmapped_assets={one.asset: one for one in unmapped_assets}),
        *events,
    )
    done = await asyncio.to_thread(gateway, "discover", "-c", config, *arguments)
    assert done.returncode == 0
    assert done.stderr == "" if note is None else done.stderr.startswith(note)
    assert "from the journal and received telemetry as of 2027-01-15T08:00:00Z." in done.stdout
    assert "{id: ast-1, tag: Hall, use: at-iaq, base: 8}" in done.stdout
    assert "TEMPERATURE: {from: temperature, unit: degC, modbus: {register: 0, type: float32}}" in done.stdout
    assert "{id: ast-7, tag: ast-7, use: untyped, base: 0}" in done.stdout
    assert "MODE: {from: mode}" in done.stdout
    assert "POWER: {from: power, modbus: {register: 0, type: float32}}" in done.stdout
    assert "      # text: no register, unless by a `map`\n      GONE: {from: gone}" in done.stdout


async def test_a_backfilled_path_is_no_telemetry_key(config: Path) -> None:
    """The path of a point in a backfilled event is not drafted as a key."""
    readings = [
        Reading("power", 12.5, START_MS),
        Reading("$.data.object.shadows.Up.state.reported.mode", "eco", START_MS),
    ]
    event = newest_event("ast-7", readings, tables_id="", organization=ORGANIZATION, now_ms=START_MS)
    unmapped = UnmappedAsset("ast-7", 1, START_MS, START_MS, ("power",))
    await store_in_journal(config.parent, StateChanges(unmapped_assets={unmapped.asset: unmapped}), event)
    done = gateway("discover", "-c", config, "--offline")
    assert "POWER: {from: power" in done.stdout
    assert "reported.mode" not in done.stdout


async def test_a_refusing_api_is_reported_without_the_key(config: Path) -> None:
    """The API's refusal is on stderr, without the key; the draft is made from the journal."""
    folder = config.parent
    await store_in_journal(folder, StateChanges(), telemetry_event(1, "ast-7", power=12.5))
    await store_in_journal(
        folder,
        StateChanges(unmapped_assets={"ast-7": UnmappedAsset("ast-7", 1, START_MS, START_MS, ("power",))}),
    )
    refused = answer({"message": "Invalid API key"}, status=401)
    done = await discover(folder, simulated(ITEMS, faults=[refused]))
    assert done.returncode == 0
    assert "drafted from the journal alone: the API answered 401 (Invalid API key): check" in done.stderr
    assert API_KEY not in done.stderr
    assert "POWER: {from: power, modbus:" in done.stdout
    assert "from the journal and received telemetry as of " in done.stdout


async def test_missing_parts_of_the_api_are_reported(config: Path) -> None:
    """Without types and locations, the received keys are drafted."""
    api = simulated(ITEMS)
    for suffix in ("/locations", "/asset-types/at-iaq"):
        api.path_faults[suffix] = deque([answer({}, status=403)])
    done = await discover(config.parent, api)
    assert done.returncode == 0
    assert "note: locations are as before: the API answered 403" in done.stderr
    assert "note: asset types are as before: " in done.stderr
    assert "TEMPERATURE: {from: temperature, modbus: {register: 0, type: float32}}" in done.stdout


async def test_a_reporting_asset_that_infodeck_does_not_list(config: Path) -> None:
    """A device that was deleted in Infodeck is not drafted, and a note names it."""
    unmapped = UnmappedAsset("ast-7", 2, START_MS, START_MS, ("power",))
    await store_in_journal(config.parent, StateChanges(unmapped_assets={"ast-7": unmapped}))
    done = await discover(config.parent, simulated(ITEMS))
    assert "Infodeck does not list them, so none is drafted: ast-7\n" in done.stderr
    assert "ast-7" not in done.stdout


async def test_an_organization_without_assets(config: Path) -> None:
    """An organization without assets is an error that names the setting."""
    done = await discover(config.parent, simulated([]))
    assert (done.returncode, done.stdout) == (1, "")
    assert "no asset of o-test is known: check infodeck.organization" in done.stderr


async def test_readings_arrive_through_a_draft(config: Path) -> None:
    """A reading that was drafted arrives on the point's topic and in its register."""
    folder = config.parent
    await discover(folder, simulated(ITEMS), "-o", folder / "mappings" / "a.yaml")
    event = telemetry_event(1, "ast-1", temperature=21.5, occupancy="vacant")
    explained = gateway("explain", "-c", config, "-", body=event.body.decode())
    assert "gw/v1/o-test/Room 1/TEMPERATURE" in explained.stdout
    assert '"value":21.5,"unit":"degC","quality":"good"' in explained.stdout
    assert '"value":"vacant"' in explained.stdout
    assert "41AC 0000" in explained.stdout.upper()


def test_without_any_evidence_the_error_names_the_remedy(config: Path) -> None:
    """Without a journal and a key, the error names the key and the running gateway."""
    write_settings(config.parent, "http://127.0.0.1:9", key="")
    done = gateway("discover", "-c", config)
    assert (done.returncode, done.stdout) == (1, "")
    assert "infodeck.api_key, or let the gateway run until some have reported" in done.stderr


async def test_a_missing_folder_is_reported_before_any_request(config: Path) -> None:
    """A missing folder is reported at once: a large organization takes minutes to read."""
    api = simulated(ITEMS)
    done = await discover(config.parent, api, "-o", config.parent / "none" / "a.yaml")
    assert (done.returncode, done.stdout, api.asked) == (1, "", [])
    assert f"there is no folder {config.parent}/none" in done.stderr


async def test_files_with_problems_are_named(config: Path) -> None:
    """Problems of settings and tables are printed with their places."""
    folder = config.parent
    (folder / "mappings" / "a.yaml").write_text("schema: gateway.points/1\nsite: a\npoint: []\n")
    done = await discover(folder, simulated(ITEMS))
    assert (done.returncode, done.stdout) == (1, "")
    assert "a.yaml:3:1: point:" in done.stderr
    assert "1 problem in" in done.stderr
    write_settings(folder, "http://127.0.0.1:9", mappings="mapping")
    done = gateway("discover", "-c", config, "--offline")
    assert "mapping: unknown key" in done.stderr


async def test_a_large_building_is_drafted_in_seconds(config: Path) -> None:
    """5,000 assets of 20 types are drafted on as many units as their registers need."""
    keys = [f"key{number}" for number in range(8)]
    items = [
        item(f"ast-{number}", f"Room {number}", f"at-{number % 20}", **dict.fromkeys(keys, 1.5))
        for number in range(5000)
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
    events = [telemetry_event(number, f"ast-{number}", **dict.fromkeys(keys, 1.5)) for number in range(100)]
    await store_in_journal(config.parent, StateChanges(assets=snapshot), *events)
    table = config.parent / "mappings" / "all.yaml"
    began_s = time.process_time()
    done = await asyncio.to_thread(gateway, "discover", "-c", config, "--offline", "-o", table)
    assert done.stdout.startswith(f"{table}: 5000 assets;")
    assert time.process_time() - began_s < 60  # 2 s on a fast machine
    assert gateway("check", "-c", config).stdout == "ok: 5000 assets, 40000 points, 40000 with a register\n"

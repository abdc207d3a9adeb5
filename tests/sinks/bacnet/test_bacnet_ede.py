"""The EDE files of a device and the device itself."""

from __future__ import annotations

from datetime import date

from support.bacnet_clients import Maker, bacnet_client
from support.bacnet_parts import DEVICE, SINK, BacnetRig, make_object
from support.ede_reader import read_ede, read_ede_records

from gateway.model import ObjectType
from gateway.tools.ede import EdeDevice, ede_files

MODES = ("off", "comfort", "eco")
POINTS = (
    make_object("L03/ZN-T", unit_of_measure="°C", description="Raumtemperatur Süd"),
    make_object("L03/AGE", 2, source="$age"),
    make_object("L03/DOOR", 1, ObjectType.BINARY_INPUT, values=(0, 1), texts=("shut", "open")),
    make_object("L03/MODE", 4, ObjectType.MULTI_STATE_INPUT, values=MODES, texts=MODES),
    make_object("L03/NOTE", 5, ObjectType.CHARACTERSTRING_VALUE, unit_of_measure="kWh"),
    make_object("L03/KWH", 6, ObjectType.LARGE_ANALOG_VALUE, unit_of_measure="kWh"),
)
PROPERTIES = ("object-name", "description", "units", "inactive-text", "active-text", "state-text")


async def test_files_and_device_have_the_same_objects() -> None:
    """A BMS that was set up from the files finds exactly their objects, names, units and texts."""
    rig = BacnetRig(POINTS)
    device = EdeDevice(SINK, DEVICE, "edge-1/bac")
    files = ede_files(POINTS, device, project="hq", author="", today=date(2026, 12, 1))
    texts = {number: found for number, *found in read_ede_records(files["_StateTexts.csv"])}
    listed, identifiers = {}, []
    for each in read_ede(files["_EDE.csv"])[1]:
        kind = next((kind for kind in ObjectType if str(kind.number) == each.type), "device")
        identifiers.append([int(each.type), int(each.instance)])
        states = [text for text in texts.get(each.state_texts, []) if text]
        listed[f"{kind},{each.instance}"] = (each.name, each.description, each.unit, states)
    async with rig.make_sink(), bacnet_client(Maker.BACPYPES, rig.address) as client:
        objects = await client.read(f"device,{DEVICE}", "object-list")
        read = await client.read_many(dict.fromkeys(listed, PROPERTIES))
    assert sorted(objects) == sorted(identifiers)
    for name, found in read.items():
        have = {key: value for key, value in found.items() if isinstance(value, list)}
        states = [*have.get("inactive-text", []), *have.get("active-text", []), *have.get("state-text", [])]
        unit = "".join(map(str, have.get("units", [])))
        description = "" if name.startswith("device") else have["description"][0]
        assert (have["object-name"][0], description, unit, states) == listed[name]

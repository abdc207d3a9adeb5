"""What each point tells Home Assistant: read by another maker's models, rendered by Jinja."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.home_assistant import Entity

from gateway.model import Conversion, Cov, OnStale, Point, Quality, StalePolicy, Update, ValueKind
from gateway.records import KnownAsset
from gateway.sinks.mqtt.home_assistant import HomeAssistantDiscovery
from gateway.sinks.mqtt.topics import ValueTopic

if TYPE_CHECKING:
    from gateway.model import Scalar

STATUS = "gw/v1/$gateway/edge-1/status"
TOPIC = "gw/v1/hq/L03-RM312/ZN-T"
NUMBER = Conversion(kind=ValueKind.NUMBER)
DISCOVERY = HomeAssistantDiscovery(prefix="homeassistant", gateway="edge-1", status_topic=STATUS, bare=False)
PLAIN = replace(DISCOVERY, bare=True)


def make(**traits: Any) -> Point:
    """Return a point of a room, with what a test says of it."""
    usual: dict[str, Any] = {
        "site": "hq",
        "tag": "L03-RM312",
        "point": "ZN-T",
        "asset": "ast-a1",
        "source": "k",
        "unit_of_measure": None,
        "stale_after_ms": 90_000,
        "on_stale": OnStale(StalePolicy.SENTINEL),
    }
    return Point(**(usual | traits))


def told(point: Point, discovery: HomeAssistantDiscovery = DISCOVERY, *, in_asset: bool = False) -> Entity:
    """Return the entity that Home Assistant makes of a point."""
    message = discovery.entity(point, topic=TOPIC, in_asset=in_asset)
    assert message is not None
    return Entity.discover(*message)


def live(point: Point, value: Scalar, quality: Quality = Quality.GOOD, *, plain: bool = False) -> bytes:
    """Return the payload of the point's own topic."""
    update = Update(point, value, value, quality, 1_795_507_200_000, 1, "evt_1")
    return ValueTopic(TOPIC, (point,), bare=plain).history((update,)).payload


def test_a_temperature_says_all_that_is_certain() -> None:
    """Name, unit and class, where its state is, who sends it, and when silence means something."""
    point = make(unit_of_measure="degC", conversion=replace(NUMBER, decimals=1), description="Zone air")
    message = DISCOVERY.entity(point, topic=TOPIC)
    assert message is not None
    assert message[0] == "homeassistant/sensor/edge-1/L03-RM312__ZN-T/config"
    config = orjson.loads(message[1])
    assert {key: config[key] for key in config if "template" not in key and key != "availability"} == {
        "unique_id": "edge-1__L03-RM312__ZN-T",
        "default_entity_id": "sensor.l03_rm312_zn_t",
        "name": "Zone air",
        "device": {"identifiers": ["edge-1__L03-RM312__ast-a1"], "name": "L03-RM312"},
        "origin": {"name": "building-gateway", "sw_version": "0.1.0"},
        "qos": 1,
        "unit_of_measurement": "°C",
        "device_class": "temperature",
        "state_class": "measurement",
        "suggested_display_precision": 1,
        "state_topic": TOPIC,
        "json_attributes_topic": TOPIC,
        "availability_mode": "all",
        "expire_after": 90,
    }


@pytest.mark.parametrize(
    ("unit", "tags", "expected"),
    [
        ("degC", None, ("°C", "temperature", "measurement")),
        ("°F", None, ("°F", "temperature", "measurement")),
        (
            "degC",
            {"brick": "Water_Differential_Temperature_Sensor"},
            ("°C", "temperature_delta", "measurement"),
        ),
        ("K", None, ("K", None, "measurement")),
        ("percent", None, ("%", None, "measurement")),
        ("%", {"brick": "brick:Zone_Air_Humidity_Sensor"}, ("%", "humidity", "measurement")),
        ("%RH", {"haystack": ("zone", "air", "humidity", "sensor")}, ("%", "humidity", "measurement")),
        ("percent", {"room": "humidity"}, ("%", None, "measurement")),
        ("ppm", None, ("ppm", None, "measurement")),
        ("ppm", {"haystack": ("zone", "co2", "sensor")}, ("ppm", "carbon_dioxide", "measurement")),
        ("ppm", {"brick": "CO2_Level_Sensor"}, ("ppm", "carbon_dioxide", "measurement")),
        ("ug/m3", {"brick": "PM2.5_Level_Sensor"}, ("μg/m³", "pm25", "measurement")),
        ("µg/m³", None, ("μg/m³", None, "measurement")),
        ("Pa", None, ("Pa", "pressure", "measurement")),
        ("kW", None, ("kW", "power", "measurement")),
        ("kWh", None, ("kWh", "energy", None)),
        ("kWh", {"state_class": "total_increasing"}, ("kWh", "energy", "total_increasing")),
        ("m3", {"device_class": "water", "state_class": "total"}, ("m³", "water", "total")),
        ("percent", {"device_class": "moisture"}, ("%", "moisture", "measurement")),
        ("m3/h", None, ("m³/h", "volume_flow_rate", "measurement")),
        ("l/s", None, ("L/s", "volume_flow_rate", "measurement")),
        ("rpm", None, ("rpm", None, None)),
        ("furlongs", None, ("furlongs", None, None)),
        (None, None, (None, None, None)),
    ],
)
def test_classes_are_told_only_where_unit_and_tags_leave_no_doubt(
    unit: str | None, tags: dict[str, Any] | None, expected: tuple[str | None, ...]
) -> None:
    """Units are in Home Assistant's spelling; a percentage is humidity only where it is tagged so."""
    config = told(make(unit_of_measure=unit, tags=tags, conversion=NUMBER)).config
    assert (
        tuple(config.get(key) for key in ("unit_of_measurement", "device_class", "state_class")) == expected
    )


@pytest.mark.parametrize(
    ("traits", "values"),
    [
        ({"conversion": Conversion(map={"vacant": 0, "occupied": 1})}, {0: "OFF", 1: "ON"}),
        ({"conversion": Conversion(map={"shut": False, "open": True})}, {False: "OFF", True: "ON"}),
        ({"conversion": Conversion(map={"open": 1, "ajar": 1, "shut": 0})}, {0: "OFF", 1: "ON"}),
        ({"conversion": Conversion(kind=ValueKind.SWITCH)}, {False: "OFF", True: "ON"}),
        ({"source": "$online"}, {0: "OFF", 1: "ON"}),
    ],
)
@pytest.mark.parametrize("plain", [False, True])
def test_what_is_on_or_off_is_a_binary_sensor(
    traits: dict[str, Any], values: dict[Scalar, str], *, plain: bool
) -> None:
    """A map to 0 and 1, a bit, a connection: on or off, by JSON and by bare values."""
    point = make(**traits)
    entity = told(point, PLAIN if plain else DISCOVERY)
    assert entity.component == "binary_sensor"
    for value, state in values.items():
        entity.receive(TOPIC, live(point, value, plain=plain))
        assert entity.state == state


@pytest.mark.parametrize(
    ("conversion", "unit"),
    [
        (Conversion(map={"off": 0, "low": 1, "high": 2}), None),
        (Conversion(map={"on": 1}), None),
        (Conversion(map={"off": 0, "on": 1}, gain=100.0), None),
        (Conversion(map={"off": 0, "on": 1}), "percent"),
        (Conversion(map={"off": 0, "on": 1, "fault": "fault"}), None),
        (Conversion(), None),
    ],
)
def test_all_else_is_a_sensor(conversion: Conversion, unit: str | None) -> None:
    """What has a third state, a gain or a unit is more than on and off."""
    assert told(make(conversion=conversion, unit_of_measure=unit)).component == "sensor"


def test_words_of_a_map_are_an_enumeration() -> None:
    """A map to words only has a fixed list of states; a unit has no place beside it."""
    point = make(conversion=Conversion(map={"0": "off", "1": "heat", "2": "cool", "3": "heat", "4": None}))
    config = told(replace(point, unit_of_measure="mode")).config
    assert (config["device_class"], config["options"]) == ("enum", ["off", "heat", "cool"])
    assert "unit_of_measurement" not in config
    assert told(point).receive_all([(TOPIC, live(point, "cool"))]).state == "cool"


@pytest.mark.parametrize(
    ("source", "expected"),
    [("$quality", ("sensor", "diagnostic")), ("$online", ("binary_sensor", "diagnostic"))],
)
def test_what_the_gateway_makes_itself_is_diagnostic(source: str, expected: tuple[str, str]) -> None:
    """The quality and the connection of a device stand apart from what it measures."""
    entity = told(make(source=source, stale_after_ms=None))
    assert (entity.component, entity.config["entity_category"]) == expected
    assert "expire_after" not in entity.config


def test_an_age_is_not_told() -> None:
    """On MQTT it moves only with its asset's events: between them, zero seconds would look fresh."""
    assert DISCOVERY.entity(make(source="$age"), topic=TOPIC) is None


def test_silence_within_a_deadband_is_no_bad_sign() -> None:
    """Readings that hardly differ are held back for `every`, so that much longer nothing may come."""
    assert told(make(cov=Cov(delta=0.1, every_ms=45_500))).config["expire_after"] == 136
    assert "expire_after" not in told(make(stale_after_ms=None)).config


def test_a_device_is_what_infodeck_knows_of_the_asset() -> None:
    """Name, make and place come from the API where it tells; the tag is the name where it does not."""
    known = KnownAsset(id="ast-a1", name="Room 312", model="IAQ-5", manufacturer="Acme", location="3rd floor")
    assert told(make(known=known)).config["device"] == {
        "identifiers": ["edge-1__L03-RM312__ast-a1"],
        "name": "Room 312",
        "model": "IAQ-5",
        "manufacturer": "Acme",
        "suggested_area": "3rd floor",
    }
    assert told(make(known=KnownAsset(id="ast-a1"))).config["device"]["name"] == "L03-RM312"


@pytest.mark.parametrize("quality", Quality)
@pytest.mark.parametrize(
    "traits", [{"conversion": NUMBER}, {"conversion": Conversion(kind=ValueKind.SWITCH)}]
)
def test_only_a_value_that_can_be_trusted_is_available(traits: dict[str, Any], quality: Quality) -> None:
    """Held, stale, bad and offline are unavailable at once, and their value is never taken for a state."""
    point = make(**traits)
    entity = told(point).receive_all([(STATUS, "online"), (TOPIC, live(point, 1))])
    assert entity.is_available
    entity.receive(TOPIC, live(point, 0, quality))
    trusted = quality in {Quality.GOOD, Quality.FORCED}
    assert entity.is_available is trusted
    assert (entity.state is not None) is trusted
    assert entity.attributes == {"quality": quality.name.lower()}


@pytest.mark.parametrize(
    "payload", ["", "null", "{}", "[]", "1", "text", '{"quality":"good"', '"good"', '{"points":1}']
)
@pytest.mark.parametrize("in_asset", [False, True])
def test_no_payload_makes_a_template_fail(payload: str, *, in_asset: bool) -> None:
    """A cleared topic, or another's message there, is unavailable; an error would leave it as it was."""
    entity = told(make(), in_asset=in_asset).receive_all([(STATUS, "online"), (TOPIC, payload)])
    assert (entity.is_available, entity.state, entity.attributes) == (False, None, {})


def test_nothing_is_available_before_its_first_value_nor_without_its_gateway() -> None:
    """An entity waits for its value; all are unavailable while the gateway is offline."""
    point = make()
    entity = told(point).receive_all([(STATUS, "online")])
    assert not entity.is_available
    assert entity.receive_all([(TOPIC, live(point, 1))]).is_available
    assert not entity.receive_all([(STATUS, "offline")]).is_available


@pytest.mark.parametrize(
    ("value", "state"), [(21.5, "21.5"), (21, "21"), ("cool", "cool"), (None, None), ("", None)]
)
def test_bare_values_are_shown_as_they_come_and_none_is_unavailable(value: Scalar, state: str | None) -> None:
    """With `payload: value`, what `on_stale: sentinel` shows in place of a value is unavailable."""
    point = make()
    entity = told(point, PLAIN).receive_all([(STATUS, "online"), (TOPIC, live(point, value, plain=True))])
    assert (entity.state, entity.is_available) == (state, state is not None)


NAMES = st.text(min_size=1, max_size=12)


@given(places=st.lists(st.tuples(NAMES, NAMES), min_size=2, max_size=8, unique=True), gateway=NAMES)
def test_no_two_points_share_a_topic_or_an_id(places: list[tuple[str, str]], gateway: str) -> None:
    """Whatever tags and points are called, their ids are of the characters allowed, and their own."""
    discovery = replace(DISCOVERY, gateway=gateway)
    points = [make(tag=tag, point=point) for tag, point in places]
    messages = [discovery.entity(point, topic=f"t/{number}") for number, point in enumerate(points)]
    entities = [Entity.discover(*message) for message in messages if message is not None]
    assert len({message[0] for message in messages if message is not None}) == len(points)
    assert len({entity.info.unique_id for entity in entities}) == len(points)


@given(name=NAMES, value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_point_is_found_in_its_assets_message_whatever_it_is_called(name: str, value: float) -> None:
    """Quotes, braces and other alphabets in a point's name do not break its template."""
    entity = told(make(point=name, conversion=NUMBER), in_asset=True)
    entity.receive(STATUS, "online")
    points = {"other": {"value": 0}, name: {"value": value, "quality": "good"}}
    entity.receive(TOPIC, orjson.dumps({"ts": "2026-11-24T08:00:00Z", "points": points}))
    assert entity.is_available
    assert float(entity.state or "nan") == value
    plain = told(make(point=name, conversion=NUMBER), PLAIN, in_asset=True)
    plain.receive(STATUS, "online")
    plain.receive(TOPIC, orjson.dumps({name: value}))
    assert plain.is_available
    assert float(plain.state or "nan") == value
    assert not plain.receive_all([(TOPIC, orjson.dumps({name: None}))]).is_available


@pytest.mark.parametrize("name", ["items", "keys", "value"])
@pytest.mark.parametrize("discovery", [DISCOVERY, PLAIN])
def test_a_point_that_its_assets_message_lacks_is_unavailable(
    name: str, discovery: HomeAssistantDiscovery
) -> None:
    """Whatever a template could take its name for, what is not there is not found."""
    for payload in ('{"points":{}}', '{"points":null}', "{}"):
        entity = told(make(point=name), discovery, in_asset=True).receive_all([(STATUS, "online")])
        entity.receive(TOPIC, payload)
        assert (entity.is_available, entity.state) == (False, None)

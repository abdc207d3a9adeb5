"""The discovery message of each kind of point, read by another maker's models and rendered by Jinja."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.home_assistant import Entity

from gateway.model import Conversion, Cov, OnStale, Point, Quality, StalePolicy, Update, ValueKind
from gateway.records import KnownAsset
from gateway.sinks.mqtt.home_assistant import HomeAssistantDiscovery
from gateway.sinks.mqtt.value_topics import ValueTopic

if TYPE_CHECKING:
    from gateway.model import Scalar

STATUS = "gw/v1/$gateway/edge-1/status"
TOPIC = "gw/v1/hq/L03-RM312/ZN-T"
NUMBER = Conversion(kind=ValueKind.NUMBER)
DISCOVERY = HomeAssistantDiscovery(prefix="homeassistant", gateway="edge-1", status_topic=STATUS, bare=False)
PLAIN = replace(DISCOVERY, bare=True)


def make(**traits: Any) -> Point:
    """Return a point of a room with these traits."""
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


def entity_of(
    point: Point, discovery: HomeAssistantDiscovery = DISCOVERY, *, in_asset: bool = False
) -> Entity:
    """Return the entity that Home Assistant makes of a point."""
    message = discovery.entity(point, topic=TOPIC, in_asset=in_asset)
    assert message is not None
    return Entity.discover(*message)


def live(point: Point, value: Scalar, quality: Quality = Quality.GOOD, *, plain: bool = False) -> bytes:
    """Return the payload of the point's own topic."""
    update = Update(point, value, value, quality, 1_795_507_200_000, 1, "evt_1")
    return ValueTopic(TOPIC, (point,), bare=plain).history((update,)).payload


def test_a_temperature_has_all_fields() -> None:
    """Name, unit, class, topic, device and origin, and when it expires."""
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
def test_classes_are_set_only_if_unit_and_tags_leave_no_doubt(
    unit: str | None, tags: dict[str, Any] | None, expected: tuple[str | None, ...]
) -> None:
    """Units are spelt as in Home Assistant; a percentage is humidity only if it is tagged so."""
    config = entity_of(make(unit_of_measure=unit, tags=tags, conversion=NUMBER)).config
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
    """A map to 0 and 1, a switch and a connection are on or off, with JSON and with bare values."""
    point = make(**traits)
    entity = entity_of(point, PLAIN if plain else DISCOVERY)
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
    """A third state, a gain or a unit makes a sensor."""
    assert entity_of(make(conversion=conversion, unit_of_measure=unit)).component == "sensor"


def test_words_of_a_map_are_an_enumeration() -> None:
    """A map to words only is a list of options, without a unit."""
    point = make(conversion=Conversion(map={"0": "off", "1": "heat", "2": "cool", "3": "heat", "4": None}))
    config = entity_of(replace(point, unit_of_measure="mode")).config
    assert (config["device_class"], config["options"]) == ("enum", ["off", "heat", "cool"])
    assert "unit_of_measurement" not in config
    assert entity_of(point).receive_all([(TOPIC, live(point, "cool"))]).state == "cool"


@pytest.mark.parametrize(
    ("source", "expected"),
    [("$quality", ("sensor", "diagnostic")), ("$online", ("binary_sensor", "diagnostic"))],
)
def test_pseudo_points_are_diagnostic(source: str, expected: tuple[str, str]) -> None:
    """Quality and connection are in the diagnostic category."""
    entity = entity_of(make(source=source, stale_after_ms=None))
    assert (entity.component, entity.config["entity_category"]) == expected
    assert "expire_after" not in entity.config


def test_an_age_is_no_entity() -> None:
    """It changes on MQTT only with its asset's events, so that an old 0 would look fresh."""
    assert DISCOVERY.entity(make(source="$age"), topic=TOPIC) is None


def test_a_deadband_delays_the_expiry() -> None:
    """Small changes are held back for up to `every`, which is added to `stale_after`."""
    assert entity_of(make(cov=Cov(delta=0.1, every_ms=45_500))).config["expire_after"] == 136
    assert "expire_after" not in entity_of(make(stale_after_ms=None)).config


def test_a_device_describes_the_asset() -> None:
    """Name, model, maker and place come from Infodeck; without a name, the tag is the name."""
    known = KnownAsset(id="ast-a1", name="Room 312", model="IAQ-5", manufacturer="Acme", location="3rd floor")
    assert entity_of(make(known=known)).config["device"] == {
        "identifiers": ["edge-1__L03-RM312__ast-a1"],
        "name": "Room 312",
        "model": "IAQ-5",
        "manufacturer": "Acme",
        "suggested_area": "3rd floor",
    }
    assert entity_of(make(known=KnownAsset(id="ast-a1"))).config["device"]["name"] == "L03-RM312"


@pytest.mark.parametrize("quality", Quality)
@pytest.mark.parametrize(
    "traits", [{"conversion": NUMBER}, {"conversion": Conversion(kind=ValueKind.SWITCH)}]
)
def test_only_a_value_that_can_be_trusted_is_available(traits: dict[str, Any], quality: Quality) -> None:
    """Values that are held, stale, bad or offline are unavailable at once and never become the state."""
    point = make(**traits)
    entity = entity_of(point).receive_all([(STATUS, "online"), (TOPIC, live(point, 1))])
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
    """A cleared topic or a foreign message makes the entity unavailable; a failing template would not."""
    entity = entity_of(make(), in_asset=in_asset).receive_all([(STATUS, "online"), (TOPIC, payload)])
    assert (entity.is_available, entity.state, entity.attributes) == (False, None, {})


def test_an_entity_needs_a_value_and_the_gateway() -> None:
    """An entity is unavailable before its first value and while the gateway is offline."""
    point = make()
    entity = entity_of(point).receive_all([(STATUS, "online")])
    assert not entity.is_available
    assert entity.receive_all([(TOPIC, live(point, 1))]).is_available
    assert not entity.receive_all([(STATUS, "offline")]).is_available


@pytest.mark.parametrize(
    ("value", "state"), [(21.5, "21.5"), (21, "21"), ("cool", "cool"), (None, None), ("", None)]
)
def test_a_bare_null_is_unavailable(value: Scalar, state: str | None) -> None:
    """With `payload: value`, the `null` of a sentinel is unavailable; other values are the state."""
    point = make()
    entity = entity_of(point, PLAIN).receive_all(
        [(STATUS, "online"), (TOPIC, live(point, value, plain=True))]
    )
    assert (entity.state, entity.is_available) == (state, state is not None)


NAMES = st.text(min_size=1, max_size=12)


@settings(max_examples=40)
@given(places=st.lists(st.tuples(NAMES, NAMES), min_size=2, max_size=8, unique=True), gateway=NAMES)
def test_no_two_points_share_a_topic_or_an_id(places: list[tuple[str, str]], gateway: str) -> None:
    """Any names of tags and points lead to valid and unique ids."""
    discovery = replace(DISCOVERY, gateway=gateway)
    points = [make(tag=tag, point=point) for tag, point in places]
    messages = [discovery.entity(point, topic=f"t/{number}") for number, point in enumerate(points)]
    entities = [Entity.discover(*message) for message in messages if message is not None]
    assert len({message[0] for message in messages if message is not None}) == len(points)
    assert len({entity.info.unique_id for entity in entities}) == len(points)


@settings(max_examples=40)
@given(name=NAMES, value=st.floats(allow_nan=False, allow_infinity=False))
def test_any_name_is_found_in_the_message_of_its_asset(name: str, value: float) -> None:
    """Quotes, braces and other alphabets in a point's name do not break its template."""
    entity = entity_of(make(point=name, conversion=NUMBER), in_asset=True)
    entity.receive(STATUS, "online")
    points = {"other": {"value": 0}, name: {"value": value, "quality": "good"}}
    entity.receive(TOPIC, orjson.dumps({"ts": "2026-11-24T08:00:00Z", "points": points}))
    assert entity.is_available
    assert float(entity.state or "nan") == value
    plain = entity_of(make(point=name, conversion=NUMBER), PLAIN, in_asset=True)
    plain.receive(STATUS, "online")
    plain.receive(TOPIC, orjson.dumps({name: value}))
    assert plain.is_available
    assert float(plain.state or "nan") == value
    assert not plain.receive_all([(TOPIC, orjson.dumps({name: None}))]).is_available


@pytest.mark.parametrize("name", ["items", "keys", "value"])
@pytest.mark.parametrize("discovery", [DISCOVERY, PLAIN])
def test_a_point_missing_from_the_message_of_its_asset_is_unavailable(
    name: str, discovery: HomeAssistantDiscovery
) -> None:
    """Also if its name is one of a method of dictionaries."""
    for payload in ('{"points":{}}', '{"points":null}', "{}"):
        entity = entity_of(make(point=name), discovery, in_asset=True).receive_all([(STATUS, "online")])
        entity.receive(TOPIC, payload)
        assert (entity.is_available, entity.state) == (False, None)

"""The settings of `type: mqtt`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.config_files import complaints, write

from gateway.config.decode import read_document
from gateway.mapping.topics import TopicScheme
from gateway.sinks.broker.config import BrokerUrl
from gateway.sinks.mqtt.config import MqttConfig

if TYPE_CHECKING:
    from pathlib import Path

LEAST = "type: mqtt\nurl: mqtts://broker.example\n"


def test_defaults(tmp_path: Path) -> None:
    """MQTT 5, JSON with history, prefix gw/v1, the usual port of the scheme."""
    config = read_document(write(tmp_path, LEAST), MqttConfig).require()
    assert config.url == BrokerUrl("broker.example", 8883, tls=True)
    assert (config.prefix, config.protocol, config.payload, config.history) == ("gw/v1", "5", "json", True)
    assert (config.keepalive, config.in_flight, config.client_id) == (30.0, 20, None)


def test_all_settings(tmp_path: Path) -> None:
    """Paths are relative to the file; the protocol is a number or text."""
    text = (
        "prefix: plant/a\nprotocol: 5\npayload: value\nhistory: false\nclient_id: gw\nuser: gw\n"
        "password: {env: MQTT_PASSWORD}\nca: ca.pem\ncertificate: gw.pem\nkey: gw.key\n"
        "keepalive: 1m\nin_flight: 1\n"
    )
    config = read_document(write(tmp_path, LEAST + text), MqttConfig).require()
    assert (config.ca, config.certificate, config.key) == tuple(
        tmp_path / name for name in ("ca.pem", "gw.pem", "gw.key")
    )
    assert (config.protocol, config.payload, config.history) == ("5", "value", False)
    assert (config.keepalive, config.in_flight, str(config.password)) == (60.0, 1, "{env: MQTT_PASSWORD}")
    older = read_document(write(tmp_path, f"{LEAST}protocol: 3.1.1\n"), MqttConfig).require()
    assert older.protocol == "3.1.1"


@pytest.mark.parametrize(
    ("text", "prefix"), [("{}", "homeassistant"), ("{discovery_prefix: ha/a}", "ha/a"), (None, None)]
)
def test_home_assistant(tmp_path: Path, text: str | None, prefix: str | None) -> None:
    """Discovery is off by default; its prefix is Home Assistant's default."""
    written = "" if text is None else f"home_assistant: {text}\n"
    home = read_document(write(tmp_path, LEAST + written), MqttConfig).require().home_assistant
    assert (home and home.discovery_prefix) == prefix


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883"),
        ("mqtt://[::1]:1884/", "mqtt://[::1]:1884"),
        ("mqtts://b:443", "mqtts://b:443"),
        ("ws://b", "ws://b:80/mqtt"),
        ("ws://b:8083/", "ws://b:8083/"),
        ("wss://b/a/mqtt", "wss://b:443/a/mqtt"),
    ],
)
def test_urls(tmp_path: Path, url: str, broker: str) -> None:
    """A URL is shown with its port."""
    config = read_document(write(tmp_path, f"type: mqtt\nurl: '{url}'\n"), MqttConfig).require()
    assert str(config.url) == broker


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("url: broker", "url: a broker is mqtt://host:1883, or mqtts://host:8883 for TLS"),
        ("url: mqtt://broker..example.com", "url: a broker is mqtt://host:1883"),
        ("url: mqtt://b:99999", "url: a broker is mqtt://host:1883"),
        ("url: mqtt://b/topic", "url: a broker's address ends after the port"),
        ("url: ws://b/mqtt?token=hunter2", 'url: a broker\'s address has no "?"'),
        ("url: 'ws://b/m qtt'", "url: the path of a websocket has no spaces"),
        ("url: mqtt://me:hunter2@b", "url: no user or password here: they have their own keys"),
        (
            "url: mqtt://b\nca: ca.pem",
            "`ca`, `certificate`, `key` and `alpn` are for TLS: write the url with mqtts://",
        ),
        ("url: ws://b\nalpn: [mqtt]", "for TLS: write the url with wss://"),
        ("url: mqtts://b\nalpn: []", "alpn: "),
        ("url: mqtts://b\nalpn: [mqtt, '']", "alpn[1]: the name of a protocol is 1 to 255"),
        ("url: mqtt://b\nprefix: gw/+", "prefix: a topic prefix looks like gw/v1"),
        ("url: mqtt://b\nprefix: /gw", "prefix: a topic prefix looks like gw/v1"),
        ('url: mqtt://b\nprefix: "gw\\n/v1"', "prefix: a topic prefix looks like gw/v1: printable"),
        ("url: mqtt://b\nprefix: $SYS", "prefix: a topic prefix looks like gw/v1"),
        ("url: mqtt://b\nprotocol: 4", "protocol: one of 5 or 3.1.1 is expected"),
        ("url: mqtt://b\npassword: {env: P}", "a `password` needs its `user`"),
        ("url: mqtt://b\nuser: me\npassword: hunter2", "password: a secret is not written here"),
        ("url: mqtts://b\ncertificate: c.pem", "`certificate` and `key` belong together"),
        ("url: mqtt://b\nkeepalive: 0.5s", "keepalive: "),
        ("url: mqtt://b\nin_flight: 1001", "in_flight: "),
        ("url: mqtt://b\nqos: 1", "qos: "),
    ],
)
def test_wrong_settings(tmp_path: Path, setting: str, problem: str) -> None:
    """Each wrong setting is one problem with a remedy, and no secret is repeated."""
    (found,) = complaints(read_document(write(tmp_path, f"type: mqtt\n{setting}\n"), MqttConfig))
    assert problem in found
    assert "hunter2" not in found


@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        (
            "{prefix}/{site}/{tag}",
            "topic: needs {point}, or all points of an asset would have",
        ),
        ("{prefix}/{point}", "topic: needs {tag} or {asset}, or all assets would have the same topic"),
        ("{prefix}/{tag}/{pint}", "topic: braces stand in pairs, around one of {prefix}"),
        ("{tag}/{point}/$meta", "topic: is a topic: it has no wildcard"),
        ("{tag}/{point}/#", "topic: is a topic: it has no wildcard"),
    ],
)
def test_a_template_with_one_topic_for_two_points_is_refused(
    tmp_path: Path, topic: str, problem: str
) -> None:
    """The message names the missing placeholder."""
    file = write(tmp_path, f"type: mqtt\nurl: mqtt://b\ntopic: '{topic}'\n")
    (found,) = complaints(read_document(file, MqttConfig))
    assert found.startswith("file.yaml:3:8: ")
    assert problem in found


@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        ("{prefix}/{site}", "asset_topic: needs {tag} or {asset}, or all assets would have the same topic"),
        ("{tag}/{point}", "asset_topic: is the topic of a whole asset and cannot contain {point}"),
        ("{tagg}/x", "asset_topic: braces stand in pairs, around one of {prefix}"),
        ("{tag}/+", "asset_topic: is a topic: it has no wildcard"),
    ],
)
def test_a_template_with_one_topic_for_two_assets_is_refused(
    tmp_path: Path, topic: str, problem: str
) -> None:
    """The topic of assets has no {point}, and differs between assets."""
    file = write(tmp_path, f"type: mqtt\nurl: mqtt://b\nlayout: asset\nasset_topic: '{topic}'\n")
    (found,) = complaints(read_document(file, MqttConfig))
    assert found.startswith("file.yaml:4:14: ")
    assert problem in found


@pytest.mark.parametrize(
    ("layout", "points", "assets"),
    [
        ("point", "{tag}.{point}", None),
        ("asset", None, "{prefix}/{site}/{tag}"),
        ("both", "{tag}.{point}", "{prefix}/{site}/{tag}"),
    ],
)
def test_a_layout_selects_the_templates(
    tmp_path: Path, layout: str, points: str | None, assets: str | None
) -> None:
    """The topic scheme has the templates of the layout only."""
    file = write(tmp_path, f"type: mqtt\nurl: mqtt://b\nlayout: {layout}\ntopic: '{{tag}}.{{point}}'\n")
    scheme = read_document(file, MqttConfig).require().topics("edge-1")
    assert scheme == TopicScheme("gw/v1", "edge-1", points=points, assets=assets, broker="b:1883")

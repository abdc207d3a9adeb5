"""Passwords and TLS of the MQTT sink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.authority import Authority
from support.certificates import make_authority
from support.mosquitto import Mosquitto, subscribe, write_password_file
from support.mqtt_parts import MqttRig, make_point, make_update

from gateway.config.secrets import SecretSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOPIC = "gw/v1/hq/L03-RM312/ZN-T"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mosquitto]:
    """Return a mosquitto that accepts only the user `gw`."""
    passwords = tmp_path / "passwords"
    write_password_file(passwords, user="gw", password="right")
    with Mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}") as broker:
        yield broker


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_the_password_comes_from_its_secret(
    guarded: Mosquitto, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With user and password, the sink connects and publishes."""
    monkeypatch.setenv("MQTT_PASSWORD", "right")
    point = make_point()
    password = SecretSource("env", "MQTT_PASSWORD")
    rig = MqttRig(guarded.url, [point], protocol=protocol, user="gw", password=password)
    async with rig.sink:
        await rig.deliver(make_update(point, 21.5))
    async with subscribe(guarded.port, "-u", "gw", "-P", "right") as subscriber:
        assert subscriber.last(TOPIC).json["value"] == 21.5


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_wrong_password_is_not_shown(
    guarded: Mosquitto, protocol: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The status says what to check; once the secret is right, the sink connects."""
    monkeypatch.setenv("MQTT_PASSWORD", "wrong-one")
    password = SecretSource("env", "MQTT_PASSWORD")
    rig = MqttRig(guarded.url, [make_point()], protocol=protocol, user="gw", password=password)
    async with rig.sink:
        await rig.until("away")
        assert str(rig.status.last_error).startswith(
            "the broker refuses the connection: Not authorized; check "
        )
        monkeypatch.setenv("MQTT_PASSWORD", "right")
        await rig.until("up")
    assert "wrong-one" not in "".join(capfd.readouterr())


async def test_an_unreadable_secret_keeps_the_sink_away(guarded: Mosquitto) -> None:
    """The status names the missing variable."""
    password = SecretSource("env", "NO_SUCH_VARIABLE")
    rig = MqttRig(guarded.url, [make_point()], user="gw", password=password)
    async with rig.sink:
        await rig.until("away")
    assert rig.status.last_error == "the environment variable NO_SUCH_VARIABLE is not set"


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """Return a folder with `ca.pem`, and with keys and certificates of the broker and of a client."""
    return make_authority(tmp_path)


@pytest.fixture
def encrypted(authority: Path) -> Iterator[Mosquitto]:
    """Return a mosquitto with TLS that requires a client certificate."""
    settings = [f"{key} {authority / name}" for key, name in
                (("cafile", "ca.pem"), ("certfile", "broker.pem"), ("keyfile", "broker.key"))]  # fmt: skip
    with Mosquitto(authority, "allow_anonymous true", "require_certificate true", *settings) as broker:
        yield broker


def subscriber_options(authority: Path) -> list[str]:
    """Return the TLS options of mosquitto's own clients."""
    files = {"--cafile": "ca.pem", "--cert": "client.pem", "--key": "client.key"}
    return [part for option, name in files.items() for part in (option, str(authority / name))]


async def test_tls_with_a_client_certificate(encrypted: Mosquitto, authority: Path) -> None:
    """`mqtts://` checks the broker's certificate against `ca` and sends the gateway's own."""
    updates = [make_update(make_point(f"T/P{n}"), n) for n in range(300)]
    files = {"ca": "ca.pem", "certificate": "client.pem", "key": "client.key"}
    rig = MqttRig(
        f"mqtts://127.0.0.1:{encrypted.port}",
        [update.point for update in updates],
        **{key: authority / name for key, name in files.items()},
    )
    async with rig.sink:
        await rig.deliver(*updates)
    async with subscribe(encrypted.port, *subscriber_options(authority)) as subscriber:
        values = [m.json["value"] for m in subscriber.seen if m.topic.startswith("gw/v1/hq/")]
    assert sorted(values) == list(range(300))
    assert rig.status.reconnects == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "certificate verify failed"),
        ({"ca": "missing.pem"}, "cannot connect: {}/missing.pem can't be read: No such file or directory"),
        ({"ca": "broker.key"}, "cannot connect: {}/broker.key can't be used: no certificate or crl found"),
        (
            {"ca": "ca.pem", "certificate": "client.pem", "key": "broker.key"},
            "cannot connect: {0}/client.pem and {0}/broker.key can't be used: key values mismatch",
        ),
        (
            {"ca": "ca.pem"},
            "the broker ended TLS: certificate required; check `certificate` and `key`",
        ),
        (
            {"ca": "ca.pem", "certificate": "strange-client.pem", "key": "strange-client.key"},
            "the broker ended TLS: unknown ca; check `certificate` and `key`",
        ),
    ],
)
async def test_wrong_certificates_keep_the_sink_away(
    encrypted: Mosquitto, authority: Path, settings: dict[str, Any], words: str
) -> None:
    """The status has the reason: unknown authority, unusable file, missing or foreign client certificate."""
    Authority(authority, "strange").issue("client")
    files = {key: authority / name for key, name in settings.items()}
    rig = MqttRig(f"mqtts://127.0.0.1:{encrypted.port}", [], **files)
    async with rig.sink:
        await rig.until("away")
        assert words.format(authority) in str(rig.status.last_error)

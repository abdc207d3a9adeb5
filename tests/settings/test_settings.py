"""`gateway.yaml`: its defaults and rules; all problems are reported in one run."""

from __future__ import annotations

import re
import socket
from dataclasses import fields
from inspect import signature
from ipaddress import ip_network
from itertools import chain
from pathlib import Path
from typing import Literal, get_type_hints

import pytest
from support.config_files import complaints, write
from support.processes import run_script

from gateway.config.secrets import SecretSource
from gateway.config.value_types import HostPort
from gateway.errors import ConfigError
from gateway.settings import (
    SINK_TYPES,
    AdminSettings,
    InfodeckSettings,
    IntakeSettings,
    JournalSettings,
    LogSettings,
    ReconcileSettings,
    Settings,
    TlsFiles,
    import_class,
    load_settings,
    resolve_secrets,
)
from gateway.sinks.modbus_server.sink import ModbusServerConfig
from gateway.sinks.mqtt.config import MqttConfig

EXAMPLE = Path(__file__).parents[2] / "config" / "gateway.yaml"
LEAST = """\
infodeck: {organization: o-1}
intake: {signing_secrets: [{env: SIGNING_SECRET}]}
"""
HOME = "{type: mqtt, url: mqtt://b"
BROKEN = Path(__file__).parent / "broken"


def settings_of(folder: Path, text: str) -> Settings:
    """Return the settings of a file without problems."""
    document = load_settings(write(folder, text, "gateway.yaml"))
    assert complaints(document) == []
    return document.require()


def complaints_of(folder: Path, text: str) -> list[str]:
    """Return the problems of a file without its name."""
    document = load_settings(write(folder, text, "gateway.yaml"))
    return [line.removeprefix("gateway.yaml:") for line in complaints(document)]


def test_example() -> None:
    """The shipped example is valid and has no secrets in it."""
    document = load_settings(EXAMPLE)
    settings = document.require()
    assert settings.name == "edge-1"
    assert [type(sink) for sink in settings.sinks.values()] == [MqttConfig, ModbusServerConfig]
    assert settings.signing_secrets == (SecretSource("env", "INFODECK_SIGNING_SECRET"),)
    assert settings.mappings == EXAMPLE.parents[1] / "mappings"


def test_example_shows_every_setting() -> None:
    """The example has every setting, except those of single sinks."""
    text = EXAMPLE.read_text()
    sections = (
        InfodeckSettings,
        ReconcileSettings,
        IntakeSettings,
        TlsFiles,
        JournalSettings,
        AdminSettings,
        LogSettings,
    )
    shapes = [fields(shape) for shape in (Settings, *sections)]
    for field in chain(*shapes):
        assert f"{field.name}:" in text, field.name


def test_commented_settings_of_the_example_are_valid(tmp_path: Path) -> None:
    """Every commented key and sink is valid without its `# `, and each type of sink is there."""
    text = re.sub(r"^(  +)# (?=(?:  )?[a-z_]+:)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    text = text.replace("listen: 127.0.0.1:8080", "listen: 0.0.0.0:8080")  # what `tls` is for
    settings = settings_of(tmp_path, text)
    assert {sink.type for sink in settings.sinks.values()} == set(SINK_TYPES)
    assert settings.infodeck.api_key is not None
    assert settings.intake is not None
    assert settings.intake.tls is not None
    assert settings.admin.socket == Path("/run/gateway/control.sock")


@pytest.mark.parametrize("key", ["tls", "path", "trusted_proxies"])
def test_a_key_without_a_value_is_refused(tmp_path: Path, key: str) -> None:
    """`tls:` without a value is refused, not taken for plain HTTP."""
    text = LEAST.replace("intake: {", f"intake: {{{key}: , ")
    (complaint,) = complaints_of(tmp_path, text)
    assert f"intake.{key}: " in complaint


def test_defaults(tmp_path: Path) -> None:
    """An organization and a signing secret are enough."""
    settings = settings_of(tmp_path, LEAST)
    assert settings.name == socket.gethostname()
    assert settings.infodeck == InfodeckSettings(organization="o-1")
    assert (settings.infodeck.api, settings.infodeck.api_key) == ("https://app.infodeck.io/api/v2", None)
    assert settings.infodeck.reconcile.every == 900.0
    intake = settings.intake
    assert intake is not None
    assert (intake.listen, intake.path) == (HostPort("127.0.0.1", 8080), "/webhooks/infodeck")
    assert (intake.tls, intake.trusted_proxies, intake.tolerance, intake.max_body) == (
        None,
        (),
        300.0,
        1 << 20,
    )
    assert settings.journal == JournalSettings()
    assert settings.journal.path == Path("/var/lib/gateway/journal.db")
    assert (settings.journal.retention, settings.journal.max_size) == (172800.0, 2 << 30)
    assert settings.sinks == {}
    assert settings.mappings == tmp_path.parent / "mappings"
    assert settings.admin == AdminSettings(listen=HostPort("127.0.0.1", 9680))
    assert settings.control_socket == Path("/var/lib/gateway/control.sock")
    assert settings.log == LogSettings(level="info", format=None)


def test_everything_set(tmp_path: Path) -> None:
    """Files are relative to gateway.yaml, networks are networks, URLs end without a slash."""
    settings = settings_of(
        tmp_path,
        """\
        infodeck: {organization: o-1, api: "http://127.0.0.1:9000/api/", api_key: {file: key}}
        intake:
          listen: 0.0.0.0:443
          tls: {certificate: tls/cert.pem, key: /etc/key.pem}
          trusted_proxies: [10.0.0.0/24, "fd00::1"]
          signing_secrets: [{env: A}, {credential: b}]
        journal: {url: "sqlite:////srv/j.db", retention: 25h, max_size: 16MiB}
        mappings: tables
        """,
    )
    assert settings.infodeck.api == "http://127.0.0.1:9000/api"
    assert settings.infodeck.api_key == SecretSource("file", str(tmp_path / "key"))
    assert settings.intake is not None
    assert settings.intake.tls is not None
    assert settings.intake.tls.certificate == tmp_path / "tls/cert.pem"
    assert settings.intake.tls.key == Path("/etc/key.pem")
    assert settings.intake.trusted_proxies == (ip_network("10.0.0.0/24"), ip_network("fd00::1/128"))
    assert settings.journal.path == Path("/srv/j.db")
    assert settings.mappings == tmp_path / "tables"


def test_broken_file() -> None:
    """A file with 30 mistakes has 30 problems, each at its exact place, and no secret in them."""
    document = load_settings(BROKEN / "gateway.yaml")
    expected = (BROKEN / "problems.txt").read_text()
    assert "".join(f"{line}\n" for line in complaints(document)) == expected
    assert len(document.problems) == 30
    assert "hunter2" not in expected
    with pytest.raises(ConfigError) as refused:
        resolve_secrets(document)
    assert len(refused.value.problems) == 30


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: ''", "1:7: name: a name is one level of an MQTT topic"),
        ("name: a+b", "1:7: name: a name is one level"),
        ("name: a b", "1:7: name: a name is one level"),
        ("name: 'a#'", "1:7: name: a name is one level"),
        ("journal: {url: 'postgres://x'}", "1:16: journal.url: the journal is sqlite:/// and an"),
        ("journal: {url: 'sqlite:///'}", "1:16: journal.url: the journal is sqlite:///"),
        ("journal: {url: 'sqlite:///var/'}", "1:16: journal.url: the journal is sqlite:///"),
        ("journal: {url: 'sqlite:///j.db?mode=ro'}", "1:16: journal.url: the journal is sqlite:///"),
        ("journal: {retention: 24.9h}", "1:22: journal.retention: must be at least 25h: Infodeck retries"),
        ("journal: {max_size: 1MiB}", "1:21: journal.max_size: must be at least 16MiB"),
        ("sinks: {a.b: {type: mqtt, url: mqtt://b}}", '1:9: sinks."a.b": the name of a sink has'),
        ("sinks: {a: {type: opcua}}", "1:19: sinks.a.type: one of mqtt, mqtt_sparkplug, modbus"),
        ("sinks: [a]", "1:8: sinks: a mapping is expected"),
        (f"sinks: {{a: {HOME}, home_assistant: true}}}}",
         "1:56: sinks.a.home_assistant: a mapping is expected (true)"),
        ("admin: {listen: 192.0.2.1:9680, token: {env: T}}",
         "1:17: admin.listen: the token would travel in the clear beyond this machine: set `tls`, or"),
        ("admin: {listen: 192.0.2.1:9680, trusted_proxies: [192.0.2.7/32]}",
         "1:17: admin.listen: other machines could look at everything: set `token`, or listen on"),
        ("admin: {listen: localhost:8080}", "1:17: admin.listen: intake.listen listens on this port already"),
        ("sinks: {a: {type: modbus_server, listen: 0.0.0.0:8080}}",
         '1:42: sinks.a.listen: intake.listen listens on this port already ("0.0.0.0:8080")'),
        (f"sinks: {{a: {HOME}, home_assistant: {{}}}}, c: {HOME}, prefix: x, home_assistant: {{}}}}}}",
         "1:119: sinks.c.home_assistant: sinks.a publishes each point to Home Assistant on"),
        (f"sinks: {{a: {HOME}, home_assistant: {{discovery_prefix: a/+}}}}}}",
         "1:75: sinks.a.home_assistant.discovery_prefix: a topic prefix"),
        *((f"sinks: {{a: {HOME}, events: [booking.created, '{wrong}']}}}}",
           "1:66: sinks.a.events[1]: is no event type: write workorder.created, workorder.* or, for all")
          for wrong in ("", "workorder*", "*.created", "work order.*", "a/b", "booking..x", "a.*.b")),
        ("log: {level: trace}", "1:14: log.level: one of debug, info, warning or error is expected"),
    ],
)  # fmt: skip
def test_rules(tmp_path: Path, text: str, problem: str) -> None:
    """A broken rule is reported at its place."""
    (found,) = complaints_of(tmp_path, f"{text}\n{LEAST}")
    assert found.startswith(problem)


def test_an_event_type_that_is_not_documented(tmp_path: Path) -> None:
    """New types appear, so it is a warning, at its place."""
    events = "[workorder.*, '*', asset.telemetry.updated, bookings.created, visits.*]"
    path = write(tmp_path, f"sinks: {{a: {HOME}, events: {events}}}}}\n{LEAST}", "gateway.yaml")
    document = load_settings(path)
    assert not document.problems
    first, second = (str(each).removeprefix(f"{path}:") for each in document.warnings)
    unknown = "matches no event type in Infodeck's documents"
    assert first.startswith(f"1:92: sinks.a.events[3]: {unknown}, did you mean `booking.created`?")
    assert second == f'1:110: sinks.a.events[4]: {unknown} ("visits.*")'


@pytest.mark.parametrize(
    ("one", "other", "problem"),
    [
        (
            "prefix: a",
            "prefix: a",
            "sinks.b.prefix: sinks.a publishes its state under this on the same broker",
        ),
        (
            "history: true",
            "user: u",
            "sinks.b.prefix: sinks.a publishes its state under this on the same broker",
        ),
        (
            "client_id: x",
            "client_id: x, prefix: a",
            "sinks.b.client_id: sinks.a is known by this on the same",
        ),
        ("prefix: a", "layout: both", None),
        ("client_id: x", "client_id: x, url: 'mqtt://c'", None),
    ],
)
def test_two_sinks_on_one_broker(tmp_path: Path, one: str, other: str, problem: str | None) -> None:
    """Two sinks with the same client id or prefix on one broker are refused."""
    first, second = (
        f"{{type: mqtt, {keys}{'' if 'url' in keys else ', url: mqtt://b:1'}}}" for keys in (one, other)
    )
    found = complaints_of(tmp_path, f"sinks: {{a: {first}, b: {second}}}\n{LEAST}")
    assert len(found) == (0 if problem is None else 1)
    assert all(line.split(": ", 1)[1].startswith(problem or "") for line in found)


def test_sink_conflicts_are_reported_beside_other_mistakes(tmp_path: Path) -> None:
    """Conflicts between sinks are reported together with mistakes elsewhere."""
    text = f"""\
infodeck: {{organisation: o-1}}
intake: {{}}
log: {{level: loud}}
sinks:
  a: {HOME}, layot: both}}
  b: {HOME}, home_assistant: {{}}}}
  c: {HOME}, home_assistant: {{}}}}
  d: {{type: modbus_client, host: h}}
  e: {{type: modbus_client, host: h}}
"""
    found = [line.split(": ")[1] for line in complaints_of(tmp_path, text)]
    assert found == [
        "infodeck.organisation", "intake.signing_secrets", "log.level", "sinks.a.layot",
        "sinks.c.prefix", "sinks.c.home_assistant", "sinks.e.host",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "problem"),
    [
        ("host: h", "host: h, port: 502", "sinks.b.host: sinks.a writes to this controller already"),
        ("host: h, units: [1, 2]", "host: h, units: [2]", "sinks.b.host: sinks.a writes to this controller"),
        ("host: h, units: [1]", "host: h, units: [2]", None),
        ("host: h", "host: h, port: 503", None),
        ("host: 127.0.0.1", "host: localhost", "sinks.b.host: sinks.a writes to this controller already"),
        ("host: '::1'", "host: LocalHost", "sinks.b.host: sinks.a writes to this controller already"),
        ("host: PLC-1.example", "host: plc-1.example", "sinks.b.host: sinks.a writes to this controller"),
        ("host: '2001:db8::1'", "host: '2001:DB8:0::1'", "sinks.b.host: sinks.a writes to this controller"),
        ("host: 127.0.0.1", "host: 127.0.0.2", None),
        ("serial: {port: /dev/a}, units: [1]", "serial: {port: /dev/../dev/a}, units: [2]",
         "sinks.b.serial.port: sinks.a is on this line already"),
        ("serial: {port: /dev/a}", "serial: {port: /dev/b}", None),
    ],
)  # fmt: skip
def test_two_sinks_for_one_controller(tmp_path: Path, one: str, other: str, problem: str | None) -> None:
    """Two sinks that write to the same unit or serial line are refused."""
    first, second = (f"{{type: modbus_client, {keys}}}" for keys in (one, other))
    found = complaints_of(tmp_path, f"sinks: {{a: {first}, b: {second}}}\n{LEAST}")
    assert len(found) == (0 if problem is None else 1)
    assert all(line.split(": ", 1)[1].startswith(problem or "") for line in found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("api: https://me:hunter2@h/", "infodeck.api: no user or password here: the API takes `api_key`"),
        ("api: app.infodeck.io", "infodeck.api: a URL is expected, such as https://app.infodeck.io/api/v2"),
        ("api: https://h:99999", "infodeck.api: a URL is expected"),
        ("api: 'https://[x'", "infodeck.api: a URL is expected"),
        ("api: 'https://h?a=b'", "infodeck.api: a URL is expected"),
        ("api: https://app..infodeck.io/api/v2", "infodeck.api: a URL is expected"),
        (f"api: https://{'x' * 64}.io", "infodeck.api: a URL is expected"),
        ("api: 'https://app\\infodeck.io'", "infodeck.api: a URL is expected"),
        ("api: http://app.infodeck.io", "infodeck.api: https:// is required"),
        ("reconcile: {every: 0ms}", "infodeck.reconcile.every: must be more than 0s"),
        (
            "webhook: {url: 'http://gateway.example.com/hook'}",
            "infodeck.webhook.url: the public https address is expected",
        ),
        (
            "webhook: {url: https://gateway..example.com/hook}",
            "infodeck.webhook.url: the public https address",
        ),
        ("webhook: {url: 'https://h /hook'}", "infodeck.webhook.url: the public https address"),
        ('webhook: {url: "https://h/hook\\n"}', "infodeck.webhook.url: the public https address"),
        ("webhook: {url: 'https://hunter2@h/hook'}", "infodeck.webhook.url: the public https address"),
        ("organization: o/1", "infodeck.organization: an organization id is letters, digits and `-`"),
    ],
)
def test_infodeck_rules(tmp_path: Path, text: str, problem: str) -> None:
    """URLs and organizations are checked, and plain HTTP is refused for the API."""
    organization = "" if "organization" in text else "organization: o-1, "
    intake = LEAST.splitlines()[1]
    (found,) = complaints_of(tmp_path, f"infodeck: {{{organization}{text}}}\n{intake}")
    assert found.split(": ", 1)[1].startswith(problem)
    assert "hunter2" not in found


@pytest.mark.parametrize("url", ["https://gateway.example.com/hook", "http://127.0.0.1:8080/hook"])
def test_a_webhook_leads_here_by_https_or_from_this_machine(tmp_path: Path, url: str) -> None:
    """A webhook's URL is https, or http on this machine."""
    infodeck = f"infodeck: {{organization: o-1, webhook: {{url: '{url}'}}}}\n"
    webhook = settings_of(tmp_path, infodeck + LEAST.splitlines()[1]).infodeck.webhook
    assert webhook is not None
    assert webhook.url == url


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("path: webhooks", "intake.path: a path starts with `/`"),
        ("path: /a?b", "intake.path: a path starts with `/`"),
        ("tolerance: 0s", "intake.tolerance: must be more than 0s"),
        ("max_body: 0B", "intake.max_body: must be more than 0B"),
        ("trusted_proxies: [10.0.0.1/8]", "intake.trusted_proxies[0]: the address has bits outside"),
        ("trusted_proxies: [proxy.example]", "intake.trusted_proxies[0]: a network is an address and"),
        ("tls: {certificate: a}", "intake.tls.key: this key is required"),
        (
            "listen: 0.0.0.0:80",
            "intake.listen: events would travel in the clear beyond this machine: set `tls`",
        ),
        ("listen: 'gateway:80', trusted_proxies: []", "intake.listen: events would travel in the clear"),
        ("signing_secrets: []", "intake.signing_secrets: needs 1 or more entries"),
        ("signing_secrets: hunter2", "intake.signing_secrets: a list of secrets is expected"),
    ],
)
def test_intake_rules(tmp_path: Path, text: str, problem: str) -> None:
    """The intake's settings are checked: no plain HTTP beyond this machine, limits above zero."""
    secrets = "" if "signing_secrets" in text else "signing_secrets: [{env: A}], "
    (found,) = complaints_of(tmp_path, f"infodeck: {{organization: o-1}}\nintake: {{{secrets}{text}}}")
    assert found.split(": ", 1)[1].startswith(problem)
    assert "hunter2" not in found


@pytest.mark.parametrize(
    "text",
    [
        "intake: {signing_secrets: [{env: A}], listen: 0.0.0.0:80, trusted_proxies: [10.0.0.0/8]}",
        "intake: {signing_secrets: [{env: A}], listen: 0.0.0.0:80, tls: {certificate: c, key: k}}",
        "intake: {signing_secrets: [{env: A}], listen: '[::1]:80'}",
        "intake: {signing_secrets: [{env: A}], listen: 127.0.0.1:0}\nadmin: {listen: 127.0.0.1:0}",
        "intake: {signing_secrets: [{env: A}], listen: 127.0.0.1:80}\nadmin: {listen: 127.0.0.2:80}",
    ],
)
def test_allowed_listeners(tmp_path: Path, text: str) -> None:
    """TLS, a proxy or loopback allow a listener; so do port 0 and one port on two addresses."""
    settings_of(tmp_path, f"infodeck: {{organization: o-1}}\n{text}")


def test_sink_types() -> None:
    """A sink's name in the registry is the `type` of its config, which its constructor takes."""
    for name, sink_type in SINK_TYPES.items():
        assert get_type_hints(sink_type.config)["type"] == Literal[name]
        assert (
            signature(import_class(sink_type.constructor)).parameters["config"].annotation
            == sink_type.config.__name__
        )


def test_a_missing_library_is_named() -> None:
    """Where an extra is not installed, the reason says what to install."""
    script = """
import sys
sys.modules["nats"] = None
from gateway.errors import GatewayError
from gateway.settings import SINK_TYPES, import_class
try:
    import_class(SINK_TYPES["nats"].constructor)
except GatewayError as error:
    print(error)
"""
    shown = run_script(f"python - <<'END'\n{script}END")
    assert shown == "nats is not installed: install building-gateway[nats]\n"


def test_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are resolved after the settings, in their order."""
    monkeypatch.setenv("OLD", "hunter2")
    write(tmp_path, b"hunter3\n", "new").chmod(0o600)
    infodeck = "infodeck: {organization: o-1, api_key: {env: OLD}}"
    intake = "intake: {signing_secrets: [{file: new}, {env: OLD}]}"
    document = load_settings(write(tmp_path, f"{infodeck}\n{intake}"))
    secrets = resolve_secrets(document)
    assert secrets.api_key is not None
    assert secrets.api_key.reveal() == b"hunter2"
    assert [secret.reveal() for secret in secrets.signing_secrets] == [b"hunter3", b"hunter2"]
    assert "hunter" not in f"{secrets} {document.value}"


def test_missing_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All unreadable secrets are reported at once, each at its reference."""
    monkeypatch.delenv("NONE", raising=False)
    write(tmp_path, b"hunter2", "open").chmod(0o644)
    text = "infodeck: {organization: o-1, api_key: {env: NONE}}\nintake: {signing_secrets: [{file: open}]}"
    document = load_settings(write(tmp_path, text))
    assert complaints(document) == []
    with pytest.raises(ConfigError) as refused:
        resolve_secrets(document)
    file, key = tmp_path / "file.yaml", tmp_path / "open"
    advice = f"others may read the secret file {key} (0644): chmod 600 {key}"
    assert refused.value.problems == (
        f"{file}:1:40: infodeck.api_key: the environment variable NONE is not set",
        f"{file}:2:28: intake.signing_secrets[0]: {advice}",
    )


def test_control_socket_beside_the_journal(tmp_path: Path) -> None:
    """The control socket is beside the journal, unless `admin.socket` names another path."""
    journal = 'journal: {url: "sqlite:///srv/gw/events.db"}\n'
    assert settings_of(tmp_path, LEAST + journal).control_socket == Path("/srv/gw/control.sock")
    named = settings_of(tmp_path, LEAST + journal + "admin: {socket: here.sock}\n")
    assert named.control_socket == tmp_path / "here.sock"


def test_too_long_a_path_of_the_control_socket(tmp_path: Path) -> None:
    """A path that is too long for a Unix socket is reported at its place, with what to do."""
    long = "/srv/" + 90 * "x" + "/gw.sock"
    [problem] = complaints_of(tmp_path, LEAST + f"admin: {{socket: {long}}}\n")
    assert problem.startswith("3:17: admin.socket: the path of a Unix socket has 100 bytes at most")
    journal = f'journal: {{url: "sqlite://{long}/journal.db"}}\n'
    [problem] = complaints_of(tmp_path, LEAST + journal)
    assert problem.startswith("3:16: journal.url: the path of a Unix socket")
    assert "set `admin.socket` to a shorter one, such as /run/gateway/control.sock" in problem
    assert complaints_of(tmp_path, LEAST + journal + "admin: {socket: /run/gateway/control.sock}\n") == []


def test_answers_wait_for_a_sink_that_keeps_events(tmp_path: Path) -> None:
    """`acknowledge` names a sink that exists and whose server keeps what it has acknowledged."""
    text = """\
infodeck: {{organization: o-1}}
intake: {{signing_secrets: [{{env: SIGNING_SECRET}}], acknowledge: {written}}}
sinks:
  fan: {{type: mqtt, url: "mqtt://127.0.0.1:1883"}}
  regs: {{type: modbus_server, listen: 127.0.0.1:5020}}
"""
    for written, sink in {"journal": None, "{forwarded: fan}": "fan"}.items():
        intake = settings_of(tmp_path, text.format(written=written)).intake
        assert intake is not None
        assert intake.forwarded_by == sink
    for written, problem in {
        "{forwarded: fun}": "there is no sink of this name, did you mean `fan`?",
        "{forwarded: regs}": "this sink is of type modbus_server, which keeps nothing if",
        "forwarded": "journal or a mapping is expected",
    }.items():
        (complaint,) = complaints_of(tmp_path, text.format(written=written))
        assert problem in complaint


SOURCE = """\
type: nats, servers: ["tls://nats-1:4222", "tls://nats-2"], stream: INFODECK, consumer: hq-tower,\
 subjects: ["infodeck.o-1.hq-tower.>"]"""


def test_a_source_takes_the_place_of_an_intake(tmp_path: Path) -> None:
    """It has servers, stream, consumer and subjects; no port of an intake is taken, and no secret needed."""
    text = f"""\
infodeck: {{organization: o-1}}
source: {{{SOURCE}, credentials: {{file: box.creds}}, tls: {{ca: ca.pem}}}}
admin: {{listen: "127.0.0.1:8080"}}
"""
    settings = settings_of(tmp_path, text)
    source = settings.source
    assert source is not None
    assert [str(server) for server in source.servers] == ["tls://nats-1:4222", "tls://nats-2:4222"]
    assert (source.stream, source.consumer) == ("INFODECK", "hq-tower")
    assert source.subjects == ("infodeck.o-1.hq-tower.>",)
    assert source.credentials == SecretSource("file", str(tmp_path / "box.creds"))
    assert source.tls is not None
    assert source.tls.ca == tmp_path / "ca.pem"
    assert (settings.intake, settings.signing_secrets) == (None, ())
    with pytest.raises(ConfigError, match=r"source\.credentials: .*box.creds cannot be read"):
        resolve_secrets(load_settings(tmp_path / "gateway.yaml"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: a", "intake: is missing: write `intake` with the webhook's `signing_secrets`, or `source`"),
        (f"{LEAST.splitlines()[1]}\nsource: {{{SOURCE}}}", "source: events come from an intake or from a"),
        (f"source: {{{SOURCE}, subject: a}}", "source.subject: unknown key, did you mean `subjects`?"),
        (f"source: {{{SOURCE.replace('tower.>', 'tower>')}}}", "source.subjects[0]: subjects are words with"),
        (
            f"source: {{{SOURCE.replace('nats-2', 'u:p@nats-2')}}}",
            "source.servers[1]: no user, password",
        ),
        ("source: {type: kafka}", "source"),
    ],
)
def test_source_rules(tmp_path: Path, text: str, problem: str) -> None:
    """Events come in at one place; each mistake in a source has its place and what to write."""
    found = complaints_of(tmp_path, f"infodeck: {{organization: o-1}}\n{text}\n")
    assert problem in found[0]
    assert "u:p" not in "".join(found)

"""Findings about brokers, controllers, ports, the disk and the journal's file."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from support.mosquitto import Mosquitto, write_password_file
from support.odd_server import answering
from support.ports import free_port

if TYPE_CHECKING:
    import pytest
    from support.installation import Installation


async def test_a_broker_that_is_down(installation: Installation) -> None:
    """The finding names the sink and its URL."""
    assert installation.broker is not None
    installation.broker.kill()
    finding = (await installation.diagnose()).finding("brokers")
    assert finding.level == "problem"
    assert finding.found == f"bms: {installation.broker.url} can't be reached: Connection refused"
    assert (finding.remedy or "").startswith("is the broker running")


async def test_a_broker_whose_name_is_unknown(installation: Installation) -> None:
    """The remedy is to correct the setting or the name servers."""
    installation.change("sinks.bms.url", "mqtt://broker.invalid")
    finding = (await installation.diagnose()).finding("brokers")
    assert finding.found.startswith("bms: mqtt://broker.invalid:1883 can't be reached: its name is not found")
    assert (finding.remedy or "").startswith("correct the name in sinks.bms.url")


async def test_a_broker_that_does_not_speak_tls(installation: Installation) -> None:
    """The remedy names the usual ports with and without TLS."""
    async with answering() as port:
        installation.change("sinks.bms.url", f"mqtts://127.0.0.1:{port}")
        finding = (await installation.diagnose()).finding("brokers")
    assert finding.found == f"bms: mqtts://127.0.0.1:{port} does not speak TLS"
    assert (finding.remedy or "").startswith("does the broker serve TLS on this port?")


async def test_a_broker_whose_certificate_is_not_trusted(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy is to set the authority."""
    async with answering(tls=installation.server_tls()) as port:
        monkeypatch.delenv("SSL_CERT_FILE")
        installation.change("sinks.bms.url", f"mqtts://127.0.0.1:{port}")
        finding = (await installation.diagnose()).finding("brokers")
    assert " shows a certificate of an authority that is not known here" in finding.found
    assert (finding.remedy or "").startswith("set the authority that issued it as sinks.bms.ca")


async def test_a_broker_that_wants_a_client_certificate(installation: Installation) -> None:
    """With TLS 1.3, the broker refuses only after the handshake."""
    assert installation.authority is not None
    certificate, key = installation.authority.issue("broker")
    settings = {"cafile": installation.authority.certificate, "certfile": certificate, "keyfile": key}
    lines = [f"{name} {file}" for name, file in settings.items()]
    with Mosquitto(installation.folder, "allow_anonymous true", "require_certificate true", *lines) as broker:
        installation.change("sinks.bms.url", f"mqtts://127.0.0.1:{broker.port}")
        finding = (await installation.diagnose()).finding("brokers")
    assert finding.found.endswith("the broker ended TLS: certificate required")
    assert finding.remedy == "check `certificate` and `key` (sinks.bms)"


async def test_files_and_secrets_of_a_broker_that_cannot_be_read(installation: Installation) -> None:
    """A missing file is a finding here, a missing secret one of the check of secrets."""
    assert installation.broker is not None
    url = installation.broker.url
    installation.change("sinks.bms", {"type": "mqtt", "url": f"mqtts{url[4:]}", "ca": "missing.pem"})
    finding = (await installation.diagnose()).finding("brokers")
    assert finding.found.endswith(
        f"{installation.folder}/missing.pem can't be read: No such file or directory"
    )
    assert finding.remedy == "correct the files that sinks.bms names"
    installation.change(
        "sinks.bms", {"type": "mqtt", "url": url, "user": "u", "password": {"env": "NOT_SET"}}
    )
    diagnosis = await installation.diagnose()
    assert "NOT_SET is not set" in diagnosis.finding("secrets").found
    assert "brokers" not in {one.check for one in diagnosis.findings}


async def test_a_broker_of_an_older_protocol(installation: Installation) -> None:
    """The remedy is the setting `protocol`, not the password."""
    refusal = b"\x20\x03\x00\x84\x00"  # CONNACK of MQTT 5: unsupported protocol version

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(refusal)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        installation.change("sinks.bms.url", f"mqtt://127.0.0.1:{port}")
        finding = (await installation.diagnose()).finding("brokers")
    assert finding.found.endswith("the broker refuses the connection: Unsupported protocol version")
    assert finding.remedy == 'set `protocol: "3.1.1"` (sinks.bms)'


async def test_another_service_on_the_broker_s_port(installation: Installation) -> None:
    """The remedy mentions that another service may have the port."""
    async with answering() as port:
        installation.change("sinks.bms.url", f"mqtt://127.0.0.1:{port}")
        finding = (await installation.diagnose()).finding("brokers")
    assert finding.level == "problem"
    assert "another service may have the port" in (finding.remedy or "")


async def test_a_broker_that_refuses_the_password(installation: Installation) -> None:
    """The finding quotes the broker's reason."""
    passwords = installation.folder / "passwords"
    write_password_file(passwords, user="gateway", password="right")
    installation.secret("password", b"wrong")
    with Mosquitto(installation.folder, f"password_file {passwords}") as broker:
        installation.change(
            "sinks.bms",
            {"type": "mqtt", "url": broker.url, "user": "gateway", "password": {"file": "password"}},
        )
        finding = (await installation.diagnose()).finding("brokers")
    assert finding.level == "problem"
    assert "the broker refuses the connection: Not authorized" in finding.found
    assert (finding.remedy or "").startswith("check `user` and `password`")


async def test_the_doctor_does_not_disturb_the_gateway_s_session(installation: Installation) -> None:
    """It has its own client id, disconnects properly, and sets no will."""
    installation.change("sinks.bms.client_id", "the-gateway")
    assert (await installation.diagnose()).finding("brokers").level == "ok"
    assert installation.broker is not None
    log = installation.broker.log
    assert "the-gateway" not in log
    assert "as gateway-doctor-" in log
    assert "No will message specified" in log
    assert "Received DISCONNECT from gateway-doctor-" in log


async def test_a_controller_that_is_down(installation: Installation) -> None:
    """The finding names the sink and its address."""
    assert installation.controller is not None
    installation.controller.kill()
    finding = (await installation.diagnose()).finding("controllers")
    assert finding.level == "problem"
    assert finding.found == f"ahu: 127.0.0.1:{installation.controller.port}: Connection refused"
    assert (finding.remedy or "").startswith("is the controller on")


async def test_a_controller_whose_name_is_unknown(installation: Installation) -> None:
    """The remedy has the command that resolves it."""
    installation.change("sinks.ahu.host", "ahu.invalid")
    finding = (await installation.diagnose()).finding("controllers")
    assert "getent hosts ahu.invalid" in (finding.remedy or "")


async def test_controllers_get_no_request(installation: Installation) -> None:
    """The doctor connects and sends nothing."""
    assert (await installation.diagnose()).finding("controllers").level == "ok"
    assert installation.controller is not None
    assert installation.controller.requests() == []


async def test_a_serial_port_that_is_not_there(installation: Installation) -> None:
    """The remedy is to look for the adapter."""
    installation.change("sinks.ahu", {"type": "modbus_client", "serial": {"port": "/dev/ttyNOWHERE0"}})
    finding = (await installation.diagnose()).finding("controllers")
    assert finding.found == "ahu: /dev/ttyNOWHERE0: there is no serial port"
    assert "is the adapter plugged in" in (finding.remedy or "")


async def test_a_port_that_another_program_has(installation: Installation) -> None:
    """While the gateway is down, a used port is a problem."""
    async with answering(port=installation.modbus_port):
        finding = (await installation.diagnose()).finding("ports")
    assert finding.level == "problem"
    address = f"127.0.0.1:{installation.modbus_port}"
    assert finding.found == f"sinks.regs.listen: {address} cannot be listened on: Address already in use"
    assert f"ss -ltnp 'sport = :{installation.modbus_port}'" in (finding.remedy or "")


async def test_ports_that_a_gateway_with_other_settings_has(installation: Installation) -> None:
    """They are problems, and the remedy mentions another admin.listen."""
    await asyncio.to_thread(installation.start)
    installation.change("admin.listen", f"127.0.0.1:{free_port()}")
    found = [one for one in (await installation.diagnose()).findings if one.check == "ports"]
    assert [one.found.partition(":")[0] for one in found] == ["intake.listen", "sinks.regs.listen"]
    assert all("a gateway with another admin.listen" in (one.remedy or "") for one in found)


async def test_an_allow_list_that_lets_in_everybody_or_nobody(installation: Installation) -> None:
    """Both are warnings, and so is a loopback port with other networks allowed."""
    everywhere = f"0.0.0.0:{free_port()}"
    installation.change("sinks.regs", {"type": "modbus_server", "listen": everywhere, "allow": ["0.0.0.0/0"]})
    assert (
        f"sinks.regs.allow lets every machine poll {everywhere}"
        in (await installation.diagnose()).finding("ports").found
    )
    installation.change("sinks.regs", {"type": "modbus_server", "listen": everywhere})
    assert (await installation.diagnose()).finding(
        "ports"
    ).found == "sinks.regs.allow lets in no other machine"
    installation.change(
        "sinks.regs",
        {"type": "modbus_server", "listen": f"127.0.0.1:{free_port()}", "allow": ["10.0.0.0/8"]},
    )
    assert "where no other machine gets to" in (await installation.diagnose()).finding("ports").found


async def test_a_disk_with_less_room_than_the_journal_may_take(installation: Installation) -> None:
    """It is a warning: the disk would be full before the journal."""
    installation.change("journal.max_size", "900000GiB")
    finding = (await installation.diagnose()).finding("disk")
    assert finding.level == "warning"
    assert "the journal may grow to 900000GiB" in finding.found
    assert "lower journal.max_size" in (finding.remedy or "")


async def test_a_journal_in_memory(installation: Installation) -> None:
    """It is a problem: a restart would lose acknowledged events."""
    folder = "/dev/shm"  # noqa: S108 - nothing is written there
    installation.change("journal.url", f"sqlite:///{folder}/journal.db")
    finding = (await installation.diagnose()).finding("disk", "problem")
    assert finding.found.startswith(f"{folder} is in memory")
    assert "put the journal on a disk" in (finding.remedy or "")


async def test_a_folder_that_is_not_there(installation: Installation) -> None:
    """The remedy has the command that makes the folder."""
    installation.change("journal.url", f"sqlite://{installation.folder}/none/journal.db")
    finding = (await installation.diagnose()).finding("disk")
    assert f"install -d -m 0700 {installation.folder}/none" in (finding.remedy or "")


async def test_a_journal_that_the_gateway_could_not_start_with(installation: Installation) -> None:
    """A newer layout, a damaged file and a folder are problems with one finding each."""
    journal = installation.folder / "journal.db"
    assert "journal" not in {one.check for one in (await installation.diagnose()).findings}
    with closing(sqlite3.connect(journal)) as database:
        database.execute("PRAGMA user_version=99")
    diagnosis = await installation.diagnose()
    finding = diagnosis.finding("journal")
    assert (finding.level, finding.remedy) == ("problem", "install that version again")
    assert "written by a newer gateway (layout 99" in finding.found
    assert diagnosis.finding("point tables").level == "ok"
    journal.write_bytes(b"no database at all, but long enough to be taken for one" * 50)
    finding = (await installation.diagnose()).finding("journal")
    assert (finding.level, "file is not a database" in finding.found) == ("problem", True)
    assert "start the gateway, which moves the file aside" in (finding.remedy or "")
    installation.change("journal.url", f"sqlite://{installation.folder}")
    finding = (await installation.diagnose()).finding("journal")
    assert finding.level == "problem"
    assert "name a file in journal.url" in (finding.remedy or "")

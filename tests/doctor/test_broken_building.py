"""Brokers, controllers, ports and the disk."""

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
    from support.doctored import Doctored


async def test_a_broker_that_is_down(patient: Doctored) -> None:
    """By the sink's name."""
    assert patient.broker is not None
    patient.broker.kill()
    seen = (await patient.diagnose()).of("brokers")
    assert seen.level == "problem"
    assert seen.found == f"bms: {patient.broker.url} can't be reached: Connection refused"
    assert (seen.remedy or "").startswith("is the broker running")


async def test_a_broker_whose_name_is_unknown(patient: Doctored) -> None:
    """The setting and the name servers are what to look at, not the broker."""
    patient.change("sinks.bms.url", "mqtt://broker.invalid")
    seen = (await patient.diagnose()).of("brokers")
    assert seen.found.startswith("bms: mqtt://broker.invalid:1883 can't be reached: its name is not found")
    assert (seen.remedy or "").startswith("correct the name in sinks.bms.url")


async def test_a_broker_that_does_not_speak_tls(patient: Doctored) -> None:
    """The commonest mistake with `mqtts`: the port without TLS."""
    async with answering() as port:
        patient.change("sinks.bms.url", f"mqtts://127.0.0.1:{port}")
        seen = (await patient.diagnose()).of("brokers")
    assert seen.found == f"bms: mqtts://127.0.0.1:{port} does not speak TLS"
    assert (seen.remedy or "").startswith("does the broker serve TLS on this port?")


async def test_a_broker_whose_certificate_is_not_trusted(
    patient: Doctored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authority is what is missing here."""
    async with answering(tls=patient.server_tls()) as port:
        monkeypatch.delenv("SSL_CERT_FILE")
        patient.change("sinks.bms.url", f"mqtts://127.0.0.1:{port}")
        seen = (await patient.diagnose()).of("brokers")
    assert " shows a certificate of an authority that is not known here" in seen.found
    assert (seen.remedy or "").startswith("set the authority that issued it as sinks.bms.ca")


async def test_a_broker_that_wants_a_client_certificate(patient: Doctored) -> None:
    """With TLS 1.3, it says so when all else is done."""
    assert patient.authority is not None
    certificate, key = patient.authority.issue("broker")
    settings = {"cafile": patient.authority.certificate, "certfile": certificate, "keyfile": key}
    lines = [f"{name} {file}" for name, file in settings.items()]
    with Mosquitto(patient.folder, "allow_anonymous true", "require_certificate true", *lines) as broker:
        patient.change("sinks.bms.url", f"mqtts://127.0.0.1:{broker.port}")
        seen = (await patient.diagnose()).of("brokers")
    assert seen.found.endswith("the broker ended TLS: certificate required")
    assert seen.remedy == "check `certificate` and `key` (sinks.bms)"


async def test_files_and_secrets_of_a_broker_that_cannot_be_read(patient: Doctored) -> None:
    """The file is what is wrong, not the way to the broker; a secret is told by the check of all secrets."""
    assert patient.broker is not None
    url = patient.broker.url
    patient.change("sinks.bms", {"type": "mqtt", "url": f"mqtts{url[4:]}", "ca": "missing.pem"})
    seen = (await patient.diagnose()).of("brokers")
    assert seen.found.endswith(f"{patient.folder}/missing.pem can't be read: No such file or directory")
    assert seen.remedy == "correct the files that sinks.bms names"
    patient.change("sinks.bms", {"type": "mqtt", "url": url, "user": "u", "password": {"env": "NOT_SET"}})
    diagnosis = await patient.diagnose()
    assert "NOT_SET is not set" in diagnosis.of("secrets").found
    assert "brokers" not in {one.check for one in diagnosis.findings}


async def test_a_broker_of_an_older_protocol(patient: Doctored) -> None:
    """The remedy is the setting; no password has anything to do with it."""
    refusal = b"\x20\x03\x00\x84\x00"  # CONNACK of MQTT 5: unsupported protocol version

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(refusal)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        patient.change("sinks.bms.url", f"mqtt://127.0.0.1:{port}")
        seen = (await patient.diagnose()).of("brokers")
    assert seen.found.endswith("the broker refuses the connection: Unsupported protocol version")
    assert seen.remedy == 'set `protocol: "3.1.1"` (sinks.bms)'


async def test_what_is_no_broker_at_all(patient: Doctored) -> None:
    """Another service has the port."""
    async with answering() as port:
        patient.change("sinks.bms.url", f"mqtt://127.0.0.1:{port}")
        seen = (await patient.diagnose()).of("brokers")
    assert seen.level == "problem"
    assert "another service may have the port" in (seen.remedy or "")


async def test_a_broker_that_refuses_the_password(patient: Doctored) -> None:
    """Told apart from one that is away."""
    passwords = patient.folder / "passwords"
    write_password_file(passwords, user="gateway", password="right")
    patient.secret("password", b"wrong")
    with Mosquitto(patient.folder, f"password_file {passwords}") as broker:
        patient.change(
            "sinks.bms",
            {"type": "mqtt", "url": broker.url, "user": "gateway", "password": {"file": "password"}},
        )
        seen = (await patient.diagnose()).of("brokers")
    assert seen.level == "problem"
    assert "the broker refuses the connection: Not authorized" in seen.found
    assert (seen.remedy or "").startswith("check `user` and `password`")


async def test_the_doctor_throws_nobody_out(patient: Doctored) -> None:
    """It has a client id of its own, leaves in order, and no will of it is ever published."""
    patient.change("sinks.bms.client_id", "the-gateway")
    assert (await patient.diagnose()).of("brokers").level == "ok"
    assert patient.broker is not None
    log = patient.broker.log
    assert "the-gateway" not in log
    assert "as gateway-doctor-" in log
    assert "No will message specified" in log
    assert "Received DISCONNECT from gateway-doctor-" in log


async def test_a_controller_that_is_down(patient: Doctored) -> None:
    """By the sink's name."""
    assert patient.controller is not None
    patient.controller.kill()
    seen = (await patient.diagnose()).of("controllers")
    assert seen.level == "problem"
    assert seen.found == f"ahu: 127.0.0.1:{patient.controller.port}: Connection refused"
    assert (seen.remedy or "").startswith("is the controller on")


async def test_a_controller_whose_name_is_unknown(patient: Doctored) -> None:
    """The remedy has the command that resolves it."""
    patient.change("sinks.ahu.host", "ahu.invalid")
    seen = (await patient.diagnose()).of("controllers")
    assert "getent hosts ahu.invalid" in (seen.remedy or "")


async def test_controllers_are_asked_nothing(patient: Doctored) -> None:
    """Connected to, and left alone."""
    assert (await patient.diagnose()).of("controllers").level == "ok"
    assert patient.controller is not None
    assert patient.controller.requests() == []


async def test_a_serial_port_that_is_not_there(patient: Doctored) -> None:
    """An adapter that is not plugged in."""
    patient.change("sinks.ahu", {"type": "modbus_client", "serial": {"port": "/dev/ttyNOWHERE0"}})
    seen = (await patient.diagnose()).of("controllers")
    assert seen.found == "ahu: /dev/ttyNOWHERE0: there is no serial port"
    assert "is the adapter plugged in" in (seen.remedy or "")


async def test_a_port_that_another_program_has(patient: Doctored) -> None:
    """While the gateway is down, its ports must be free."""
    async with answering(port=patient.modbus_port):
        seen = (await patient.diagnose()).of("ports")
    assert seen.level == "problem"
    assert seen.found == (
        f"sinks.regs.listen: 127.0.0.1:{patient.modbus_port} cannot be listened on: Address already in use"
    )
    assert f"ss -ltnp 'sport = :{patient.modbus_port}'" in (seen.remedy or "")


async def test_ports_that_a_gateway_with_other_settings_has(patient: Doctored) -> None:
    """A gateway runs, but its admin port is another one."""
    await asyncio.to_thread(patient.start)
    patient.change("admin.listen", f"127.0.0.1:{free_port()}")
    found = [one for one in (await patient.diagnose()).findings if one.check == "ports"]
    assert [one.found.partition(":")[0] for one in found] == ["intake.listen", "sinks.regs.listen"]
    assert all("a gateway with another admin.listen" in (one.remedy or "") for one in found)


async def test_an_allow_list_that_lets_in_everybody_or_nobody(patient: Doctored) -> None:
    """Neither is what a building wants."""
    everywhere = f"0.0.0.0:{free_port()}"
    patient.change("sinks.regs", {"type": "modbus_server", "listen": everywhere, "allow": ["0.0.0.0/0"]})
    assert (
        f"sinks.regs.allow lets every machine poll {everywhere}"
        in (await patient.diagnose()).of("ports").found
    )
    patient.change("sinks.regs", {"type": "modbus_server", "listen": everywhere})
    assert (await patient.diagnose()).of("ports").found == "sinks.regs.allow lets in no other machine"
    patient.change(
        "sinks.regs",
        {"type": "modbus_server", "listen": f"127.0.0.1:{free_port()}", "allow": ["10.0.0.0/8"]},
    )
    assert "where no other machine gets to" in (await patient.diagnose()).of("ports").found


async def test_a_disk_with_less_room_than_the_journal_may_take(patient: Doctored) -> None:
    """So that the disk would be full first."""
    patient.change("journal.max_size", "900000GiB")
    seen = (await patient.diagnose()).of("disk")
    assert seen.level == "warning"
    assert "the journal may grow to 900000GiB" in seen.found
    assert "lower journal.max_size" in (seen.remedy or "")


async def test_a_journal_in_memory(patient: Doctored) -> None:
    """What is acknowledged there does not outlive a restart; every Linux has such a folder."""
    folder = "/dev/shm"  # noqa: S108 - nothing is written there
    patient.change("journal.url", f"sqlite:///{folder}/journal.db")
    seen = (await patient.diagnose()).of("disk", "problem")
    assert seen.found.startswith(f"{folder} is in memory")
    assert "put the journal on a disk" in (seen.remedy or "")


async def test_a_folder_that_is_not_there(patient: Doctored) -> None:
    """With the command that makes it."""
    patient.change("journal.url", f"sqlite://{patient.folder}/none/journal.db")
    seen = (await patient.diagnose()).of("disk")
    assert f"install -d -m 0700 {patient.folder}/none" in (seen.remedy or "")


async def test_a_journal_that_the_gateway_could_not_start_with(patient: Doctored) -> None:
    """Of a newer gateway, damaged, or no file at all: a line of its own, once, with what to do."""
    journal = patient.folder / "journal.db"
    assert "journal" not in {one.check for one in (await patient.diagnose()).findings}
    with closing(sqlite3.connect(journal)) as database:
        database.execute("PRAGMA user_version=99")
    diagnosis = await patient.diagnose()
    seen = diagnosis.of("journal")
    assert (seen.level, seen.remedy) == ("problem", "install that version again")
    assert "written by a newer gateway (layout 99" in seen.found
    assert diagnosis.of("point tables").level == "ok"
    journal.write_bytes(b"no database at all, but long enough to be taken for one" * 50)
    seen = (await patient.diagnose()).of("journal")
    assert (seen.level, "file is not a database" in seen.found) == ("problem", True)
    assert "start the gateway, which moves the file aside" in (seen.remedy or "")
    patient.change("journal.url", f"sqlite://{patient.folder}")
    seen = (await patient.diagnose()).of("journal")
    assert seen.level == "problem"
    assert "name a file in journal.url" in (seen.remedy or "")

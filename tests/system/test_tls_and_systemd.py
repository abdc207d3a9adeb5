"""The daemon over TLS, and its messages to systemd."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.authority import Authority
from support.cipher_suites import FORWARD_SECRET, spoken_at
from support.daemon import REPOSITORY, Daemon, sign, telemetry
from support.notified import notification_socket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.mosquitto import Mosquitto

ROOM = "ast-a1b2c3d4"


def install_certificate(folder: Path, name: str) -> None:
    """Put a certificate for `name` and its key at the paths of the settings."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-keyout", "key.pem", "-out", "certificate.pem", "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def shown_by(daemon: Daemon) -> str:
    """Return what openssl prints of the certificate."""
    connected = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{daemon.intake_port}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return next(line for line in connected.stdout.splitlines() if line.startswith("subject="))


@pytest.fixture
def encrypted(tmp_path: Path, broker: Mosquitto) -> Iterator[Daemon]:
    """Run the gateway with a certificate on the intake."""
    install_certificate(tmp_path, "gateway.test")
    daemon = Daemon(tmp_path, broker.port)
    settings = daemon.config.read_text()
    tls = "intake: {tls: {certificate: certificate.pem, key: key.pem}, "
    daemon.config.write_text(settings.replace("intake: {", tls))
    daemon.start()
    yield daemon
    daemon.kill()


def test_intake_over_tls(encrypted: Daemon) -> None:
    """`gateway send` works over TLS; the port refuses plain HTTP and TLS 1.1."""
    command = [sys.executable, "-m", "gateway", "send", "-c", str(encrypted.config), "--asset", ROOM]
    sent = subprocess.run(
        [*command, "temperature=21"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert sent.stdout.endswith('200 {"received":true}\n'), sent.stderr
    with pytest.raises((urllib.error.URLError, OSError)):
        encrypted.post(telemetry("evt_plain", ROOM, {"temperature": 20}))
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", encrypted.intake_port), timeout=60) as connection,
        pytest.raises(ssl.SSLError),
    ):
        old.wrap_socket(connection)
    assert "Traceback" not in encrypted.log


@pytest.mark.parametrize("kind", FORWARD_SECRET)
def test_the_intake_speaks_forward_secret_suites_only(tmp_path: Path, broker: Mosquitto, kind: str) -> None:
    """Of all suites of TLS 1.2, it accepts those with ephemeral keys and authenticated encryption."""
    certificate, key = Authority(tmp_path).issue("gateway.test", kind=kind)
    daemon = Daemon(tmp_path, broker.port)
    tls = f"intake: {{tls: {{certificate: {certificate}, key: {key}}}, "
    daemon.config.write_text(daemon.config.read_text().replace("intake: {", tls))
    daemon.start()
    try:
        assert spoken_at(daemon.intake_port) == FORWARD_SECRET[kind]
    finally:
        daemon.kill()


def test_a_renewed_certificate_drops_no_delivery(encrypted: Daemon) -> None:
    """Every delivery is answered with 200, on an old connection and on new ones."""
    trusting = ssl._create_unverified_context()  # noqa: S323 - openssl shows whose certificate it is
    lasting = http.client.HTTPSConnection("127.0.0.1", encrypted.intake_port, context=trusting, timeout=60)
    answers = Counter[int]()

    def deliver(connection: http.client.HTTPSConnection) -> None:
        body = telemetry(f"evt_{answers.total()}", ROOM, {"temperature": 20})
        headers = {"x-infodeck-signature": sign(body)}
        connection.request("POST", "/webhooks/infodeck", body, headers)
        answer = connection.getresponse()
        answer.read()
        answers[answer.status] += 1

    assert shown_by(encrypted) == "subject=CN=gateway.test"
    install_certificate(encrypted.folder, "renewed.test")
    deadline = time.monotonic() + 60
    while shown_by(encrypted) != "subject=CN=renewed.test":
        assert time.monotonic() < deadline
        deliver(lasting)
        with closing(
            http.client.HTTPSConnection("127.0.0.1", encrypted.intake_port, context=trusting)
        ) as new:
            deliver(new)
    deliver(lasting)
    lasting.close()
    assert answers == {200: answers.total()}
    assert encrypted.log.count("certificate.renewed") == 1


def test_an_unusable_certificate_ends_the_start(encrypted: Daemon) -> None:
    """The error names the file, without a traceback."""
    encrypted.stop()
    (encrypted.folder / "certificate.pem").write_text("no certificate")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "run", "-c", str(encrypted.config)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert "certificate.pem" in done.stderr
    assert "Traceback" not in done.stderr


def test_systemd_gets_ready_watchdog_and_stopping(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ready is sent once, the watchdog is fed while there is progress, then stopping."""
    with notification_socket(tmp_path, monkeypatch) as notified:
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        daemon = Daemon(tmp_path, broker.port)
        daemon.start()
        received = [notified.next() for _ in range(4)]
        assert received[0].startswith("READY=1\nSTATUS=")
        assert received[1:] == ["WATCHDOG=1"] * 3
        assert daemon.stop() == 0
        while (message := notified.next()) == "WATCHDOG=1":
            pass
        assert message == "STOPPING=1"

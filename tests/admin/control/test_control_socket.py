"""The control socket: who may connect, when it is replaced, how bad requests are answered."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from support.building import ask_control, gateway
from support.config_files import write

from gateway.admin.control_socket import control_socket
from gateway.cli.control_client import ask
from gateway.errors import CommandError, GatewayError

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon


def test_only_the_gateways_user_may_connect(daemon: Daemon) -> None:
    """The socket is beside the journal, with mode 0600."""
    mode = (daemon.folder / "control.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/force", b"{", 400, "the body is not JSON"),
        ("/force", b"[]", 400, "the body is not a JSON object"),
        ("/force", b'{"value": 1, "for_s": 1}', 400, "`point` is missing"),
        ("/force", b'{"point": "R8/ZN-T", "value": 1}', 400, "for more than 0 s and for 24 h at most"),
        ("/force", b'{"point": "R8/ZN-T", "value": 1, "for_s": true}', 400, "for more than 0 s"),
        ("/force", b'{"point": "R8/ZN-T", "value": 1, "for_s": 86401}', 400, "24 h at most"),
        ("/force", b'{"point": "R8/ZN-T", "for_s": 1}', 400, "a number, true, false or text is expected"),
        (
            "/force",
            b'{"point": "R8/ZN-T", "value": [1], "for_s": 1}',
            400,
            "a number, true, false or text is expected",
        ),
        ("/force", b'{"point": "R8/ZN-T", "value": "warm", "for_s": 1}', 400, "it shows numbers, not text"),
        ("/force", b'{"point": "R8/ZN-T", "value": 85, "for_s": 1}', 400, "its range is -20 to 60 degC"),
        ("/force", b'{"point": "R8/ZN-RH", "value": 7000, "for_s": 1}', 400, "at scale 10 is beyond uint16"),
        ("/force", b'{"point": "R8/QUAL", "value": 0, "for_s": 1}', 400, "the gateway makes itself"),
        ("/force", b'{"point": "R8/ZN", "value": 1, "for_s": 1}', 404, "did you mean `R8/ZN-"),
        ("/release", b'{"point": "R8/ZN-T"}', 409, "R8/ZN-T is not forced"),
        ("/release", b"{}", 400, "`point` is missing"),
        ("/release", b'{"all": 1}', 400, "`point` is missing"),
        ("/elsewhere", b"{}", 404, "Not Found"),
        ("/forced", b"{}", 405, "Method Not Allowed"),
        ("/force", b" " * 100_000, 413, "Maximum request body size"),
    ],
)
def test_bad_requests_are_explained(daemon: Daemon, path: str, body: bytes, status: int, error: str) -> None:
    """Every error is JSON with a text for the user."""
    answered, document = ask_control(daemon, path, body)
    assert (answered, list(document)) == (status, ["error"])
    assert error in document["error"]
    assert not [name for name in daemon.status()["mapping"]["forced"] if name.startswith("R8/")]


async def _serve(path: Path) -> None:
    """Serve at `path` and stop at once."""
    async with control_socket(path, web.Application(), no_http=Counter()):
        pass


async def test_a_socket_that_cannot_be_removed_is_left(tmp_path: Path) -> None:
    """The stop does not fail; the next start replaces the socket."""
    folder = tmp_path / "state"
    folder.mkdir()
    async with control_socket(folder / "control.sock", web.Application(), no_http=Counter()):
        folder.rename(tmp_path / "away")
        folder.touch()  # not even root can remove a file below a file
    assert (tmp_path / "away" / "control.sock").is_socket()
    await _serve(tmp_path / "away" / "control.sock")


async def test_socket_of_a_killed_gateway_is_replaced(tmp_path: Path) -> None:
    """An orderly stop removes the socket."""
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    async with control_socket(path, web.Application(), no_http=Counter()):
        _, writer = await asyncio.open_unix_connection(path)
        writer.close()
        await writer.wait_closed()
    assert not path.exists()


async def test_socket_of_a_running_gateway_stays(tmp_path: Path) -> None:
    """A second gateway cannot listen on it."""
    path = tmp_path / "control.sock"
    async with control_socket(path, web.Application(), no_http=Counter()):
        with pytest.raises(GatewayError, match=r"control\.sock already$"):
            await _serve(path)
        _, writer = await asyncio.open_unix_connection(path)
        writer.close()
        await writer.wait_closed()


async def test_path_that_cannot_be_a_socket(tmp_path: Path) -> None:
    """Another file is kept, and a missing folder is named."""
    file = tmp_path / "notes.txt"
    file.write_text("keep me")
    with pytest.raises(GatewayError, match=r"admin\.socket: .*notes\.txt: Address already in use"):
        await _serve(file)
    assert file.read_text() == "keep me"
    with pytest.raises(GatewayError, match=r"No such file or directory; .* write in .*none, and"):
        await _serve(tmp_path / "none" / "control.sock")


def test_a_command_without_a_gateway_names_the_socket(tmp_path: Path) -> None:
    """The message is the same for a missing and a stale socket."""
    settings = "infodeck: {organization: o-1}\nintake: {signing_secrets: [{env: S}]}\n"
    config = write(tmp_path, settings + "admin: {socket: control.sock}\n", "gateway.yaml")
    for leave_a_socket in (False, True):
        if leave_a_socket:
            with socket.socket(socket.AF_UNIX) as left_behind:
                left_behind.bind(str(tmp_path / "control.sock"))
        with pytest.raises(CommandError) as refusal:
            ask(config, "/forced")
        message = str(refusal.value)
        assert message.startswith(f"nobody listens on {tmp_path}/control.sock: the gateway is not running")
        assert "systemctl status gateway" in message


def test_second_gateway_leaves_the_socket_alone(daemon: Daemon) -> None:
    """A start that fails on the journal's lock does not touch the socket."""
    assert gateway(daemon, "run").returncode == 1
    assert gateway(daemon, "force", "--list").returncode == 0

"""Secrets: where they may be, and that no output has them."""

from __future__ import annotations

import codecs
import copy
import os
import pickle
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic.dataclasses import dataclass
from support.config_files import complaints, write

from gateway.config.decode import STRICT, read_document
from gateway.config.secrets import (
    Secret,
    SecretReference,
    SecretReferences,
    SecretSource,
    others_may_read,
)
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Keys:
    """A file that names secrets."""

    one: SecretReference | None = None
    many: SecretReferences = ()


def private(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    """Write a secret's file."""
    file = write(folder, content, "key")
    file.chmod(mode)
    return file


def refusal(source: SecretSource, environ: dict[str, str] | None = None) -> str:
    """Return why the secret cannot be read."""
    with pytest.raises(ConfigError) as refused:
        source.resolve(environ or {})
    return str(refused.value)


def test_where_secrets_are(tmp_path: Path) -> None:
    """A file says where its secrets are; files are relative to it."""
    file = write(tmp_path, "one: {env: KEY}\nmany: [{file: keys/a}, {file: /etc/b}, {credential: c.d}]")
    assert read_document(file, Keys).require() == Keys(
        one=SecretSource("env", "KEY"),
        many=(
            SecretSource("file", f"{tmp_path}/keys/a"),
            SecretSource("file", "/etc/b"),
            SecretSource("credential", "c.d"),
        ),
    )


@pytest.mark.parametrize(
    "written",
    [
        "hunter2", "'hunter2'", "12345678", "[hunter2]", "{hunter2}", "{hunter2: x}", "{env: [hunter2]}",
        "{env: hunter2-}", "{env: 'hunter2 '}", "{env: A, file: hunter2}", "{value: hunter2}", "{file: ''}",
        '{file: "hunter2\\n"}', "{credential: ../hunter2}", "{credential: ..}", "{env: whsec_hunter2}",
        "{file: idt_live_hunter2}", "!hunter2", "*hunter2", "hunter2: hunter2",
        "{env: A, env: hunter2}", "!!binary hunter2", "99999999999999999999999",
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", ["one: {}", "many: [{}]", "many: {}"])
def test_literals(tmp_path: Path, written: str, layout: str) -> None:
    """Anything but a reference is refused, and the message does not repeat it."""
    document = read_document(write(tmp_path, layout.replace("{}", written)), Keys)
    assert document.value is None
    assert "hunter2" not in "".join(complaints(document))
    assert "999" not in "".join(complaints(document))


def test_advice(tmp_path: Path) -> None:
    """The message for a literal says what to write instead."""
    (complaint,) = complaints(read_document(write(tmp_path, "one: hunter2"), Keys))
    assert complaint == (
        "file.yaml:1:6: one: a secret is not written here: write {env: NAME}, {file: PATH} or"
        " {credential: NAME}, and keep the secret itself out of this file"
    )


NO_NEWLINE = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\x85\u2028\u2029{"), max_size=12)
MARKS = st.text(alphabet=" !*&%@`}[]:,#|>'\"?-_~<=\\", max_size=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=MARKS | NO_NEWLINE, after=MARKS | NO_NEWLINE, key=st.sampled_from(["one", "many"]))
def test_literals_never_shown(tmp_path: Path, before: str, after: str, key: str) -> None:
    """No message has a literal secret, whatever stands around it."""
    file = write(tmp_path, f"{key}: {before}S3cretW0rd{after}\n".encode())
    document = read_document(file, Keys)
    assert "S3cretW0rd" not in "".join(complaints(document)) + repr(document.value)


def test_environment() -> None:
    """A variable holds the secret, without a line end behind it; missing and empty ones are named."""
    source = SecretSource("env", "KEY")
    assert source.resolve({"KEY": "a b\n"}).reveal() == b"a b"
    assert source.resolve({"KEY": os.fsdecode(b"\xff")}).reveal() == b"\xff"
    assert refusal(source) == "the environment variable KEY is not set"
    assert refusal(source, {"KEY": "\n"}) == "the secret {env: KEY} is empty"


@pytest.mark.parametrize("content", [b"hunter2", b"hunter2\n", b"hunter2\r\n"])
def test_file(tmp_path: Path, content: bytes) -> None:
    """A file holds the secret, without the line end that editors put behind it."""
    assert SecretSource("file", str(private(tmp_path, content))).resolve().reveal() == b"hunter2"
    assert SecretSource("file", str(private(tmp_path, content, 0o400))).resolve().reveal() == b"hunter2"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_file_of_others(tmp_path: Path, mode: int) -> None:
    """A file that others may use in any way is refused with the command that mends it."""
    file = private(tmp_path, b"hunter2", mode)
    assert refusal(SecretSource("file", str(file))) == (
        f"others may read the secret file {file} ({mode:04o}): chmod 600 {file}"
    )


@pytest.mark.parametrize("mode", [0o440, 0o444])
def test_file_that_a_container_mounts(tmp_path: Path, mode: int) -> None:
    """Read-only secrets of Kubernetes (0440) and Docker Swarm (0444) are accepted."""
    assert SecretSource("file", str(private(tmp_path, b"hunter2", mode))).resolve().reveal() == b"hunter2"


@pytest.mark.parametrize(
    ("mode", "user", "group", "refused"),
    [
        (0o440, 0, os.getegid(), False),
        (0o444, os.geteuid(), 54321, False),
        (0o440, 54321, os.getegid(), False),
        (0o444, 54321, 54321, True),  # somebody else's, who may change it at any time
        (0o640, 0, os.getegid(), True),  # as a umask leaves it, by nobody's decision
        (0o644, 0, 0, True),
        (0o600, 54321, 54321, False),
    ],
)
def test_who_may_grant_a_secret(mode: int, user: int, group: int, refused: bool) -> None:  # noqa: FBT001 - a row
    """A file that others may read is accepted if it is read-only and belongs to us or root."""
    assert others_may_read(os.stat_result((mode, 0, 0, 1, user, group, 7, 0, 0, 0))) is refused


def test_unusable_files(tmp_path: Path) -> None:
    """Missing, empty and oversized files, folders and pipes are refused, and nothing hangs."""
    assert "No such file" in refusal(SecretSource("file", str(tmp_path / "none")))
    assert "is empty" in refusal(SecretSource("file", str(private(tmp_path, b"\n"))))
    assert "larger than 64 KiB" in refusal(SecretSource("file", str(private(tmp_path, b"x" * 65537))))
    assert "Is a directory" in refusal(SecretSource("file", str(tmp_path)))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    assert "is not a regular file" in refusal(SecretSource("file", str(pipe)))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b" \t \n", "is empty"),
        (b"\0" * 32, "is empty"),  # as after a power cut; as a key of HMAC, the same as none
        (codecs.BOM_UTF8 + b"hunter2\r\n", "begins with a byte order mark"),
        ("hunter2".encode("utf-16"), "begins with a byte order mark"),
    ],
)
def test_damaged_or_wrapped_by_an_editor(tmp_path: Path, content: bytes, found: str) -> None:
    """Blank files and byte order marks are refused."""
    text = refusal(SecretSource("file", str(private(tmp_path, content))))
    assert found in text
    assert "hunter" not in text


def test_credential(tmp_path: Path) -> None:
    """A systemd credential is read from where systemd put it, whatever its mode."""
    private(tmp_path, b"hunter2\n", 0o444)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert SecretSource("credential", "key").resolve(environ).reveal() == b"hunter2"
    assert "No such file" in refusal(SecretSource("credential", "other"), environ)
    assert "LoadCredential=key:" in refusal(SecretSource("credential", "key"))


def test_masked() -> None:
    """A secret is masked in texts, and cannot be pickled or copied."""
    secret = Secret(b"hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} {secret:}"
    for leak in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="not to be written"):
            leak(secret)

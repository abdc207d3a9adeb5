"""The settings of a NATS sink: what does not go together, and URLs that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "infodeck: {organization: o-1}\nintake: {signing_secrets: [{env: A}]}\nsinks:\n  fan: {type: nats, "
USUAL = 'servers: ["tls://nats-1:4222"], stream: S'


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (f"{USUAL}, credentials: {{env: C}}, nkey: {{env: N}}", "leave `nkey` out"),
        (f"{USUAL}, credential: {{env: C}}", "did you mean `credentials`?"),
        (f"{USUAL}, credentials: SUAAA", "a secret is not written here"),
        (f"{USUAL}, tls: {{certificate: c.pem}}", "`certificate` and `key` belong together"),
        ("servers: [], stream: S", "servers"),
        ("servers: [nats-1], stream: S", "a server is nats://host:4222"),
        ('servers: ["nats://me:secret@nats-1"], stream: S', "no user, password or token here"),
        ('servers: ["nats://a", "tls://b"], stream: S', "write all `servers` with tls://"),
        ('servers: ["nats://a"], stream: S, tls: {ca: ca.pem}', "write the `servers` with tls://"),
        ('servers: ["nats://a"], stream: "a.b"', "the name of a stream"),
        ('servers: ["nats://a"]', "stream"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, keys: str, complaint: str) -> None:
    """Each is one problem at its place, which repeats no secret."""
    file = tmp_path / "gateway.yaml"
    file.write_text(f"{HEAD}{keys}}}\n")
    (problem,) = load_settings(file).problems
    assert complaint in str(problem)
    assert str(problem).startswith(f"{file}:4:")
    assert "secret@" not in str(problem)
    assert "SUAAA" not in str(problem)


def test_its_client_certificate_is_watched(tmp_path: Path) -> None:
    """The gateway warns before it ends, as with every other certificate."""
    file = tmp_path / "gateway.yaml"
    file.write_text(f"{HEAD}{USUAL}, tls: {{certificate: c.pem, key: k.pem}}}}\n")
    settings = load_settings(file).require()
    assert [(each.setting, each.certificate) for each in settings.certificates()] == [
        ("sinks.fan.tls", tmp_path / "c.pem")
    ]

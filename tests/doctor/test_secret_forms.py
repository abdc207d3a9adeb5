"""Flaws of secrets that can be finding without asking Infodeck."""

from __future__ import annotations

import pytest
from support.tokens import json_web_token

from gateway.doctor.secret_checks import api_key_flaw, bearer_token_flaw, jwt_expiry_s, signing_secret_flaw

_KEY = b"idt_live_0123456789abcdef0123456789abcdef"


def test_an_api_key_as_the_guide_describes_it_is_pass() -> None:
    """The prefix and 32 characters are no flaw; blanks around them are never sent."""
    assert api_key_flaw(_KEY) is None
    assert api_key_flaw(b" " + _KEY + b"\n") is None


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (_KEY.replace(b"idt_live_", b"idt_life_"), "does not begin with `idt_live_`"),
        (b"whsec_0123456789", "does not begin with `idt_live_`"),
        (_KEY[:-3], "has 29 characters behind `idt_live_`, 32 are expected"),
        (_KEY + b"0", "has 33 characters behind `idt_live_`, 32 are expected"),
        (b'"' + _KEY + b'"', "has quotes around it that are not part of it"),
        (_KEY[:20] + b"\n" + _KEY[20:], "has blanks or line ends in it"),
        (json_web_token(exp=1), "does not begin with `idt_live_`"),
        (b"", "does not begin with `idt_live_`"),
    ],
)
def test_a_wrong_api_key_is_recognised(key: bytes, found: str) -> None:
    """The flaw is named without quoting the key."""
    flaw = api_key_flaw(key)
    assert flaw is not None
    assert flaw.found == found
    assert flaw.remedy
    assert not key or key.decode() not in flaw.found + flaw.remedy


@pytest.mark.parametrize(
    ("secret", "found"),
    [
        (_KEY, "is an API key"),
        (b" secret", "has blanks or line ends in it"),
        (b"'secret'", "has quotes around it that are not part of it"),
        ("secret".encode("utf-16-le"), "has characters that no secret has"),
    ],
)
def test_a_wrong_signing_secret_is_recognised(secret: bytes, found: str) -> None:
    """Blanks are a flaw: the secret is an HMAC key, byte for byte."""
    flaw = signing_secret_flaw(secret)
    assert flaw is not None
    assert flaw.found == found


@pytest.mark.parametrize(
    ("secret", "found"),
    [
        (b"x", "is so short or simple that it can be guessed"),
        (b"0123456789a", "is so short or simple that it can be guessed"),
        (b"aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "is so short or simple that it can be guessed"),
        (b"changeme", "is a placeholder, not a secret"),
        (b"please-Change_Me-before-production", "is a placeholder, not a secret"),
        (b"<your signing secret>", "is a placeholder, not a secret"),
        (b"your-signing-secret", "is a placeholder, not a secret"),
        (b"INFODECK_SIGNING_SECRET=whsec_0123456789abcdef", "has a name and `=` before it"),
        (b"export SECRET=whsec_0123456789abcdef", "has a name and `=` before it"),
    ],
)
def test_a_guessable_signing_secret_is_recognised(secret: bytes, found: str) -> None:
    """Short texts, placeholders and assignments are flaws; none is quoted."""
    flaw = signing_secret_flaw(secret)
    assert flaw is not None
    assert flaw.found == found
    assert len(secret) < 2 or secret.decode() not in flaw.found + flaw.remedy


@pytest.mark.parametrize(
    "secret", [b"whsec_x/y+z=", b"dGhpcyBpcyBubyBzZWNyZXQ=", b"0123456789abcdef0123456789abcdef"]
)
def test_an_opaque_signing_secret_is_pass(secret: bytes) -> None:
    """Infodeck does not document a form, so none is required."""
    assert signing_secret_flaw(secret) is None


def test_the_expiry_of_a_jwt_is_read_without_verifying_it() -> None:
    """It is the claim `exp`, None without one."""
    assert jwt_expiry_s(json_web_token(exp=1_800_000_000)) == 1_800_000_000
    assert jwt_expiry_s(json_web_token(sub="me")) is None


@pytest.mark.parametrize("token", [b"", b"opaque", _KEY, b"a.b.c", b"eyJh.e30x.x", b"a.b"])
def test_other_texts_are_no_jwt(token: bytes) -> None:
    """An API key or an incomplete token raises ValueError."""
    with pytest.raises(ValueError, match=r"."):
        jwt_expiry_s(token)


@pytest.mark.parametrize(
    ("token", "found"),
    [
        (b'"%b"' % json_web_token(exp=1_900_000_000), "has quotes around it that are not part of it"),
        (json_web_token(exp=1_900_000_000).replace(b".", b"\n.", 1), "has blanks or line ends in it"),
    ],
)
def test_a_token_with_more_around_it_is_recognised(token: bytes, found: str) -> None:
    """Its expiry can be read all the same, but Infodeck refuses it."""
    flaw = bearer_token_flaw(token, now_s=1_800_000_000)
    assert flaw is not None
    assert flaw.found == found

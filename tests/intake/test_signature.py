"""Signature verification, compared with signatures made by openssl and by hand."""

from __future__ import annotations

import hashlib
import hmac
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import SignatureError
from gateway.intake.signature import Verifier, sign

SECRET = b"whsec-made-up"
BODY = b'{"id":"evt_1"}'
NOW = 1_771_911_526


def v1(body: bytes = BODY, secret: bytes = SECRET, timestamp: str = str(NOW)) -> str:
    """Sign as the guide describes, independently of the code under test."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def reason(header: str | None, *, body: bytes = BODY, now_s: float = NOW) -> str:
    """Return why the delivery is refused."""
    with pytest.raises(SignatureError) as refused:
        Verifier([SECRET], tolerance_s=300).verify(body, header, now_s=now_s)
    return str(refused.value)


def test_openssl_signature_is_accepted() -> None:
    """A signature made by openssl over `t.body` verifies."""
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", SECRET.decode()],
        input=f"{NOW}.".encode() + BODY,
        capture_output=True,
        check=True,
    )
    digest = done.stdout.decode().split()[-1]
    assert Verifier([SECRET], tolerance_s=300).verify(BODY, f"t={NOW},v1={digest}", now_s=NOW) == 0


def test_several_secrets_and_several_v1() -> None:
    """Any accepted secret and any v1 verifies, and the index of the secret is returned."""
    verifier = Verifier([b"old", SECRET], tolerance_s=300)
    assert verifier.verify(BODY, f"t={NOW},v1={'0' * 64},v1={v1()}", now_s=NOW) == 1
    assert verifier.verify(BODY, f"t={NOW},v1={v1(secret=b'old')}", now_s=NOW) == 0


def test_signed_with_both_counts_as_signed_with_the_first() -> None:
    """A delivery signed with both secrets counts for the first one."""
    verifier = Verifier([SECRET, b"old"], tolerance_s=300)
    for digests in ((v1(), v1(secret=b"old")), (v1(secret=b"old"), v1())):
        header = ",".join([f"t={NOW}", *(f"v1={digest}" for digest in digests)])
        assert verifier.verify(BODY, header, now_s=NOW) == 0


@pytest.mark.parametrize(
    "header",
    [
        " t = {t} , v1 = {v1} ",
        "v1={v1},t={t}",
        "v0=abc,t={t},v1={v1},v2=x,novalue,",
        "T={t},V1={v1}",
        "t={t},v1=short,v1={v1}",
    ],
)
def test_order_spaces_case_and_unknown_schemes_do_not_matter(header: str) -> None:
    """The header is read by key, not by position."""
    given_header = header.format(t=NOW, v1=v1())
    assert Verifier([SECRET], tolerance_s=300).verify(BODY, given_header, now_s=NOW) == 0


@pytest.mark.parametrize(
    "header",
    [
        "",
        ",",
        "garbage",
        "t=,v1={v1}",
        "v1={v1}",
        "t={t}",
        "t={t},t={t},v1={v1}",
        "t=+{t},v1={v1}",
        "t={t}.0,v1={v1}",
        "t=1_771_911_526,v1={v1}",
        "t=\u0661\u0667\u0667,v1={v1}",
        "t={t},v1=zz",
        "t={t},v1=é" + "0" * 63,
        "t={t},v1={v1}" + "," * 5000,
        "t=" + "9" * 5000 + ",v1={v1}",
    ],
)
def test_malformed_header_is_refused_as_such(header: str) -> None:
    """An unreadable header is refused as malformed, with no other exception."""
    assert reason(header.format(t=NOW, v1=v1())) == "malformed"


def test_missing_and_wrong_signatures() -> None:
    """A missing header and a wrong signature have reasons of their own."""
    assert reason(None) == "missing"
    assert reason(f"t={NOW},v1={v1()}", body=BODY + b" ") == "mismatch"
    assert reason(f"t={NOW + 1},v1={v1()}") == "mismatch"
    assert reason(f"t={NOW},v1={v1(secret=b'other')}") == "mismatch"


@pytest.mark.parametrize(("offset", "accepted"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_tolerance_holds_in_both_directions(offset: int, *, accepted: bool) -> None:
    """A right signature is refused if it is too old or from the future."""
    header = f"t={NOW + offset},v1={v1(timestamp=str(NOW + offset))}"
    if accepted:
        assert Verifier([SECRET], tolerance_s=300).verify(BODY, header, now_s=NOW) == 0
    else:
        assert reason(header) == "outside tolerance"


@pytest.mark.parametrize("age_s", [400, -400])
def test_outside_tolerance_says_by_how_much(age_s: int) -> None:
    """The error has the age of a right signature outside the tolerance, negative from the future."""
    header = f"t={NOW - age_s},v1={v1(timestamp=str(NOW - age_s))}"
    with pytest.raises(SignatureError) as refused:
        Verifier([SECRET], tolerance_s=300).verify(BODY, header, now_s=NOW + 0.5)
    assert refused.value.age_s == age_s + 0.5
    with pytest.raises(SignatureError) as refused:
        Verifier([b"other"], tolerance_s=300).verify(BODY, header, now_s=NOW)
    assert refused.value.age_s is None


@given(header=st.text())
def test_any_text_is_refused_plainly(header: str) -> None:
    """No header makes verification raise anything but SignatureError."""
    assert reason(header) in {"malformed", "mismatch", "outside tolerance"}


@given(body=st.binary(), secret=st.binary(min_size=1), timestamp=st.integers(0, 10**11))
def test_sign_and_verify_agree(body: bytes, secret: bytes, timestamp: int) -> None:
    """`verify` accepts what `sign` returns, for any bytes."""
    header = sign(body, secret, timestamp)
    assert Verifier([secret], tolerance_s=1).verify(body, header, now_s=timestamp) == 0


def test_empty_secret_is_refused() -> None:
    """A verifier without secrets, or with an empty one, is refused."""
    with pytest.raises(ValueError, match="secret"):
        Verifier([], tolerance_s=300)
    with pytest.raises(ValueError, match="secret"):
        Verifier([b""], tolerance_s=300)

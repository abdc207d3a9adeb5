"""Each row of the troubleshooting table about the API, and what lies on the way to it."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest
from support.asset_lists import answer, items
from support.odd_server import answering
from support.ports import free_port

from gateway.demo.simulated_answers import Answer

if TYPE_CHECKING:
    from support.doctored import Doctored

_REFUSED = [
    (
        answer({"message": "Invalid API key"}, status=401),
        "the API answered 401 (Invalid API key)",
        "check infodeck.api_key: it begins with `idt_live_`",
    ),
    (
        answer({"message": "API access requires Professional plan"}, status=403),
        "the API answered 403 (API access requires Professional plan)",
        "Professional plan, and a key that may read the organization o-test: ask whoever manages it",
    ),
    (
        answer({"message": "Access denied"}, status=403),
        "the API answered 403 (Access denied)",
        "a key that may read the organization o-test",
    ),
    (
        answer({"message": "Not found"}, status=404),
        "the API answered 404 (Not found)",
        "check infodeck.organization",
    ),
    (
        answer({"message": "Invalid"}, status=422),
        "the API answered 422 (Invalid)",
        "check infodeck.organization",
    ),
    (
        Answer(status=302, headers={"Location": "https://elsewhere.example/"}),
        "the API answered 302, a redirect to https://elsewhere.example/",
        "infodeck.api must be the address itself",
    ),
    (
        Answer(status=429, headers={"Retry-After": "30"}),
        "answered 429",
        "one API key per integration",
    ),
    (Answer(status=503), "answered 503", "wait and try again"),
    (Answer(body=b"<html>Sign in</html>"), "the answer is not JSON", "what stands between this machine and"),
]


@pytest.mark.parametrize(("fault", "found", "remedy"), _REFUSED)
async def test_what_the_api_answers(patient: Doctored, fault: Answer, found: str, remedy: str) -> None:
    """The key was taken to be well; the API's own words are repeated, and what to do is said once."""
    patient.api.path_faults["/assets"] = type(patient.api.faults)([fault])
    diagnosis = await patient.diagnose()
    seen = diagnosis.of("organization")
    assert seen.level == "problem"
    assert found in seen.found
    assert remedy in (seen.remedy or "")
    assert remedy not in seen.found
    assert diagnosis.of("API").level == "ok"


async def test_another_organization(patient: Doctored) -> None:
    """As the API itself refuses an id that it does not know. Of webhooks it says the same, once."""
    patient.change("infodeck.organization", "o-other")
    diagnosis = await patient.diagnose()
    seen = diagnosis.of("organization")
    assert seen.found == "the API answered 404 (Organization not found)"
    assert diagnosis.levels["problem"] == ["organization"]
    assert (seen.remedy or "").startswith("check infodeck.organization")


@pytest.mark.parametrize(("count", "shown"), [(1, "1 asset"), (2, "2 assets"), (250, "250 assets")])
async def test_how_many_assets_there_are(patient: Doctored, count: int, shown: str) -> None:
    """The number that Infodeck's own page shows, in words that fit it."""
    patient.api.items = items(count)
    assert (await patient.diagnose()).of("organization").found == f"o-test is known, with {shown}"


async def test_key_and_token_are_refused_each_for_itself(patient: Doctored) -> None:
    """The same answer to two secrets has two causes."""
    for path in ("/assets", "/webhooks"):
        patient.api.path_faults[path] = type(patient.api.faults)([Answer(status=401)])
    assert (await patient.diagnose()).levels["problem"] == ["organization", "webhook"]


async def test_something_else_answers_in_place_of_the_api(patient: Doctored) -> None:
    """A sign-in page of the network: one line, not one for each question."""
    async with answering(body="<html>Sign in</html>") as port:
        patient.change("infodeck.api", f"http://127.0.0.1:{port}")
        diagnosis = await patient.diagnose()
    assert diagnosis.levels["problem"] == ["organization"]
    assert "the answer is not JSON" in diagnosis.of("organization").found


async def test_an_organization_without_assets(patient: Doctored) -> None:
    """Not wrong in itself, but hardly what was meant."""
    patient.api.items = []
    seen = (await patient.diagnose()).of("organization")
    assert (seen.level, seen.found) == ("warning", "o-test has no assets")


async def test_an_api_that_nobody_listens_for(patient: Doctored) -> None:
    """One line says it; whatever would follow from it is not told."""
    patient.change("infodeck.api", f"http://127.0.0.1:{free_port()}")
    diagnosis = await patient.diagnose()
    seen = diagnosis.of("API")
    assert (seen.level, seen.found) == (
        "problem",
        "127.0.0.1 can't be reached: Connection refused",
    )
    assert (seen.remedy or "").startswith("let this machine out to 127.0.0.1")
    assert diagnosis.levels["problem"] == ["API"]


async def test_an_api_that_nobody_needs(patient: Doctored) -> None:
    """Without key and token only the clock is compared with it: no problem where it is not reached."""
    patient.change("infodeck.api", f"http://127.0.0.1:{free_port()}")
    patient.change("infodeck.api_key", None)
    patient.change("infodeck.bearer_token", None)
    diagnosis = await patient.diagnose()
    assert (diagnosis.of("API").level, diagnosis.code) == ("warning", 0)


async def test_an_api_whose_name_is_unknown(patient: Doctored) -> None:
    """Told apart from one that is away."""
    patient.change("infodeck.api", "https://api.infodeck.invalid/api/v2")
    seen = (await patient.diagnose()).of("API")
    assert seen.found.startswith("api.infodeck.invalid can't be reached: its name is not found")
    assert "getent hosts api.infodeck.invalid" in (seen.remedy or "")


async def test_an_api_behind_a_certificate_that_is_not_trusted(
    patient: Doctored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a firewall that looks into TLS shows it."""
    monkeypatch.delenv("SSL_CERT_FILE")
    async with answering(tls=patient.server_tls()) as port:
        patient.change("infodeck.api", f"https://127.0.0.1:{port}")
        seen = (await patient.diagnose()).of("API")
    assert seen.found == (
        "127.0.0.1 shows a certificate of an authority that is not known here, or without the chain to one"
    )
    assert (seen.remedy or "").startswith("where a firewall or proxy looks into TLS")


async def test_plain_http_where_tls_is_expected(patient: Doctored) -> None:
    """Another port than was meant."""
    patient.change("infodeck.api", patient.api.url.replace("http:", "https:"))
    seen = (await patient.diagnose()).of("API")
    assert seen.found == "127.0.0.1 does not speak TLS"


@pytest.mark.parametrize(
    ("offset_s", "level", "found"),
    [
        (600, "problem", "s behind Infodeck's"),
        (-600, "problem", "s ahead of Infodeck's"),
        (60, "warning", "s behind Infodeck's"),
        (0, "ok", "right to the second"),
    ],
)
async def test_the_clock_against_the_api_s(patient: Doctored, offset_s: int, level: str, found: str) -> None:
    """Ten minutes off, every signature is refused; a minute off, that is on its way."""
    date = formatdate(time.time() + offset_s, usegmt=True)
    async with answering(status=401, headers={"Date": date}) as port:
        patient.change("infodeck.api", f"http://127.0.0.1:{port}")
        seen = (await patient.diagnose()).of("clock")
    assert seen.level == level
    assert found in seen.found
    assert level != "problem" or "every delivery is refused with 401" in seen.found
    assert level == "ok" or seen.remedy == "have it set by a time service: timedatectl set-ntp true"


async def test_mapped_assets_that_infodeck_does_not_know(patient: Doctored) -> None:
    """And those online that no table names; more than one page of them."""
    patient.api.items = items(250)[1:]
    diagnosis = await patient.diagnose()
    gone, left_out = diagnosis.of("inventory", "problem"), diagnosis.of("inventory", "warning")
    assert gone.found == "Infodeck does not know 1 asset of the tables: ast-0"
    assert left_out.found.startswith("124 online assets in no table: ast-10, ast-100, ast-102, ")
    assert "gateway discover" in (left_out.remedy or "")


async def test_one_asset_less(patient: Doctored) -> None:
    """While others are known, that is a warning: a device was taken out, say."""
    table = patient.tables / "hq.yaml"
    row = table.read_text().splitlines()[-1].replace("-0", "-7").replace("register: 0", "register: 2")
    table.write_text(f"{table.read_text()}{row}\n")
    seen = (await patient.diagnose()).of("inventory")
    assert (seen.level, seen.found) == ("warning", "Infodeck does not know 1 asset of the tables: ast-7")
    assert (seen.remedy or "").startswith("correct their ids, or take them out")


async def test_offline_asks_nobody_on_the_internet(patient: Doctored) -> None:
    """Neither the API nor the public address."""
    diagnosis = await patient.diagnose("--offline")
    assert patient.api.asked == []
    checks = {one.check for one in diagnosis.findings}
    assert checks.isdisjoint({"API", "organization", "webhook", "deliveries", "public address"})
    assert {"clock", "brokers", "controllers", "disk"} <= checks

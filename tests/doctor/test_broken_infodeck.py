"""Findings about the API: each row of the troubleshooting table, and how requests can fail."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.asset_lists import answer, items
from support.journal_parts import START_MS, sqlite_journal
from support.odd_server import answering
from support.ports import free_port

from gateway.demo.simulated_answers import Answer
from gateway.records import AssetSnapshot, KnownAsset, StateChanges

if TYPE_CHECKING:
    from support.installation import Installation

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
async def test_what_the_api_answers(
    installation: Installation, fault: Answer, found: str, remedy: str
) -> None:
    """The finding quotes the API's answer; the remedy does not repeat it."""
    installation.api.path_faults["/assets"] = type(installation.api.faults)([fault])
    diagnosis = await installation.diagnose()
    finding = diagnosis.finding("organization")
    assert finding.level == "problem"
    assert found in finding.found
    assert remedy in (finding.remedy or "")
    assert remedy not in finding.found
    assert diagnosis.finding("API").level == "ok"


async def test_another_organization(installation: Installation) -> None:
    """The same refusal of two requests is reported once."""
    installation.change("infodeck.organization", "o-other")
    diagnosis = await installation.diagnose()
    finding = diagnosis.finding("organization")
    assert finding.found == "the API answered 404 (Organization not found)"
    assert diagnosis.levels["problem"] == ["organization"]
    assert (finding.remedy or "").startswith("check infodeck.organization")


@pytest.mark.parametrize(("count", "shown"), [(1, "1 asset"), (2, "2 assets"), (250, "250 assets")])
async def test_how_many_assets_there_are(installation: Installation, count: int, shown: str) -> None:
    """The number of assets is shown."""
    installation.api.items = items(count)
    assert (await installation.diagnose()).finding("organization").found == f"o-test is known, with {shown}"


async def test_key_and_token_are_refused_each_for_itself(installation: Installation) -> None:
    """A refused key and a refused token are two problems."""
    for path in ("/assets", "/webhooks"):
        installation.api.path_faults[path] = type(installation.api.faults)([Answer(status=401)])
    assert (await installation.diagnose()).levels["problem"] == ["organization", "webhook"]


async def test_something_else_answers_in_place_of_the_api(installation: Installation) -> None:
    """An answer that is not JSON is reported once for all requests."""
    async with answering(body="<html>Sign in</html>") as port:
        installation.change("infodeck.api", f"http://127.0.0.1:{port}")
        diagnosis = await installation.diagnose()
    assert diagnosis.levels["problem"] == ["organization"]
    assert "the answer is not JSON" in diagnosis.finding("organization").found


async def test_an_organization_without_assets(installation: Installation) -> None:
    """It is a warning."""
    installation.api.items = []
    finding = (await installation.diagnose()).finding("organization")
    assert (finding.level, finding.found) == ("warning", "o-test has no assets")


async def test_an_api_that_cannot_be_reached(installation: Installation) -> None:
    """It is the only problem; checks that depend on it report nothing."""
    installation.change("infodeck.api", f"http://127.0.0.1:{free_port()}")
    diagnosis = await installation.diagnose()
    finding = diagnosis.finding("API")
    assert (finding.level, finding.found) == (
        "problem",
        "127.0.0.1 can't be reached: Connection refused",
    )
    assert (finding.remedy or "").startswith("let this machine out to 127.0.0.1")
    assert diagnosis.levels["problem"] == ["API"]


async def test_an_api_that_nobody_needs(installation: Installation) -> None:
    """Without key and token, an unreachable API is only a warning."""
    installation.change("infodeck.api", f"http://127.0.0.1:{free_port()}")
    installation.change("infodeck.api_key", None)
    installation.change("infodeck.bearer_token", None)
    diagnosis = await installation.diagnose()
    assert (diagnosis.finding("API").level, diagnosis.code) == ("warning", 0)


async def test_an_api_whose_name_is_unknown(installation: Installation) -> None:
    """The remedy has the command that resolves the name."""
    installation.change("infodeck.api", "https://api.infodeck.invalid/api/v2")
    finding = (await installation.diagnose()).finding("API")
    assert finding.found.startswith("api.infodeck.invalid can't be reached: its name is not found")
    assert "getent hosts api.infodeck.invalid" in (finding.remedy or "")


async def test_an_api_behind_a_certificate_that_is_not_trusted(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy mentions firewalls that intercept TLS."""
    monkeypatch.delenv("SSL_CERT_FILE")
    async with answering(tls=installation.server_tls()) as port:
        installation.change("infodeck.api", f"https://127.0.0.1:{port}")
        finding = (await installation.diagnose()).finding("API")
    assert finding.found == (
        "127.0.0.1 shows a certificate of an authority that is not known here, or without the chain to one"
    )
    assert (finding.remedy or "").startswith("where a firewall or proxy looks into TLS")


async def test_plain_http_where_tls_is_expected(installation: Installation) -> None:
    """The finding says that the server does not speak TLS."""
    installation.change("infodeck.api", installation.api.url.replace("http:", "https:"))
    finding = (await installation.diagnose()).finding("API")
    assert finding.found == "127.0.0.1 does not speak TLS"


@pytest.mark.parametrize(
    ("offset_s", "level", "found"),
    [
        (600, "problem", "s behind Infodeck's"),
        (-600, "problem", "s ahead of Infodeck's"),
        (60, "warning", "s behind Infodeck's"),
        (0, "ok", "right to the second"),
    ],
)
async def test_the_clock_against_the_api_s(
    installation: Installation, offset_s: int, level: str, found: str
) -> None:
    """A difference beyond intake.tolerance is a problem, above 30 s a warning."""
    date = formatdate(time.time() + offset_s, usegmt=True)
    async with answering(status=401, headers={"Date": date}) as port:
        installation.change("infodeck.api", f"http://127.0.0.1:{port}")
        finding = (await installation.diagnose()).finding("clock")
    assert finding.level == level
    assert found in finding.found
    assert level != "problem" or "every delivery is refused with 401" in finding.found
    assert level == "ok" or finding.remedy == "have it set by a time service: timedatectl set-ntp true"


async def test_the_clock_without_the_api(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is compared with nothing and set by no time service is a warning."""
    for is_set, level in ((True, "ok"), (False, "warning")):
        monkeypatch.setattr("gateway.doctor.infodeck_checks._is_synchronised", partial(bool, is_set))
        assert (await installation.diagnose("--offline")).finding("clock").level == level


async def test_mapped_assets_that_infodeck_does_not_know(installation: Installation) -> None:
    """Unknown assets of tables and online assets in no table are findings."""
    installation.api.items = items(250)[1:]
    diagnosis = await installation.diagnose()
    gone, left_out = diagnosis.finding("inventory", "problem"), diagnosis.finding("inventory", "warning")
    assert gone.found == "Infodeck does not know 1 asset of the tables: ast-0"
    assert left_out.found.startswith("124 online assets in no table: ast-10, ast-100, ast-102, ")
    assert "gateway discover" in (left_out.remedy or "")


async def test_one_asset_less(installation: Installation) -> None:
    """An unknown asset among known ones is a warning, not a problem."""
    table = installation.tables / "hq.yaml"
    row = table.read_text().splitlines()[-1].replace("-0", "-7").replace("register: 0", "register: 2")
    table.write_text(f"{table.read_text()}{row}\n")
    finding = (await installation.diagnose()).finding("inventory")
    assert (finding.level, finding.found) == (
        "warning",
        "Infodeck does not know 1 asset of the tables: ast-7",
    )
    assert (finding.remedy or "").startswith("correct their ids, or take them out")


async def test_the_stored_assets_are_compared_where_the_list_is_not_complete(
    installation: Installation,
) -> None:
    """Offline, or with more assets than the doctor lists, those of the last reconciliation count."""
    async with sqlite_journal(installation.folder) as journal:
        journal.save(StateChanges(assets=AssetSnapshot(START_MS, {"ast-7": KnownAsset(id="ast-7")})))
    installation.api.items = items(2100)
    for arguments in ([], ["--offline"]):
        finding = (await installation.diagnose(*arguments)).finding("inventory")
        assert finding.found == "Infodeck does not know 1 asset of the tables: ast-0"


async def test_offline_asks_nobody_on_the_internet(installation: Installation) -> None:
    """With `--offline`, neither the API nor the public address gets a request."""
    diagnosis = await installation.diagnose("--offline")
    assert installation.api.asked == []
    checks = {one.check for one in diagnosis.findings}
    assert checks.isdisjoint({"API", "organization", "webhook", "deliveries", "public address"})
    assert {"clock", "brokers", "controllers", "disk"} <= checks

"""Checks of Infodeck's API: is it reached, does it know key and organization; and the clock."""

from __future__ import annotations

import ctypes
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.config.scalars import duration_text
from gateway.doctor.cloud_answers import is_about_secret, refused
from gateway.doctor.findings import Finding, counted, ok, problem, warning
from gateway.doctor.probe import Failure, Response, Stage
from gateway.infodeck.request_errors import API_ADVICE

if TYPE_CHECKING:
    from gateway.doctor.setup import Setup

_SLOW_S = 5.0
_CLOCK_WARNING_S = 30.0
_CLOCK_ROUNDING_S = 1.5  # HTTP dates are whole seconds, and an answer takes its time
_NOT_SYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)
_REMEDIES = API_ADVICE | {
    Stage.NAME: "check the name in infodeck.api, and this machine's name servers: getent hosts {host}",
    Stage.CONNECTION: "let this machine out to {host}, port {port}: firewall, route, proxy",
    Stage.TIME: "let this machine out to {host}, port {port}: a firewall may drop packets",
    Stage.PLAIN: "check the port in infodeck.api, and what stands between this machine and {host}",
    Stage.TLS: "check the port in infodeck.api, and what stands between this machine and {host}",
    Stage.BROKEN_OFF: "check infodeck.api, and what stands between this machine and {host}",
    Stage.HTTP: "check infodeck.api, and what stands between this machine and {host}",
}


async def check_api(setup: Setup) -> Finding:
    """Reach the API without a key: name, connection, TLS, HTTP."""
    api = setup.settings.infodeck.api
    host = urlsplit(api).hostname or ""
    answer = await setup.api_host()
    if isinstance(answer, Failure):
        port = urlsplit(api).port or 443
        is_needed = setup.access.api_key is not None or setup.access.bearer_token is not None
        level = problem if is_needed else warning  # without them, nothing but this examination asks it
        return level(f"{host} {answer.reason}", _REMEDIES[answer.stage].format(host=host, port=port))
    proxy = setup.access.proxy_url()
    through = "" if proxy is None else f" through the proxy {proxy.host}:{proxy.port}"
    took = f"{answer.took_s * 1000:.0f} ms{through}"
    if answer.took_s > _SLOW_S:
        return warning(f"{host} takes {took} to answer", "see how this machine gets to the internet")
    return ok(f"{host} answers in {took}")


async def check_organization(setup: Setup) -> Finding | list[Finding]:
    """Ask for the organization's assets with the key."""
    infodeck = setup.settings.infodeck
    if setup.access.api_key is None or isinstance(await setup.api_host(), Failure):
        return []
    listed = await setup.assets()
    if listed.error is not None and not listed.items:
        if setup.api_key_flaw is not None and is_about_secret(listed.error):
            return []  # told by the check of the key
        return refused(listed.error)
    if not listed.items:
        return warning(
            f"{infodeck.organization} has no assets",
            "check infodeck.organization, and that the API key belongs to it",
        )
    count = len(listed.items)
    assets = counted(count, "asset") if listed.is_whole else f"{count} or more assets"
    return ok(f"{infodeck.organization} is known, with {assets}")


async def check_clock(setup: Setup) -> Finding:
    """Compare this machine's clock with the API's; signatures are refused where they are too far apart."""
    tolerance_s = setup.settings.intake.tolerance
    answer = None if setup.is_offline else await setup.api_host()
    offset_s = _offset_s(answer) if isinstance(answer, Response) else None
    if offset_s is None:
        return _without_comparison()
    drifts = "" if _is_synchronised() is not False else "; no time service keeps it, so it will drift"
    if abs(offset_s) <= _CLOCK_ROUNDING_S:
        return ok(f"right to the second, compared with Infodeck's{drifts}")
    found = f"{abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} Infodeck's{drifts}"
    remedy = "have it set by a time service: timedatectl set-ntp true"
    if abs(offset_s) > tolerance_s:
        return problem(
            f"{found}: beyond intake.tolerance ({duration_text(tolerance_s)}), every delivery is refused"
            " with 401",
            remedy,
        )
    return warning(found, remedy) if abs(offset_s) > _CLOCK_WARNING_S else ok(found)


def _without_comparison() -> Finding:
    """Say what the kernel alone knows of the clock."""
    synchronised = _is_synchronised()
    if synchronised is False:
        return warning(
            "not compared with Infodeck's, and no time service keeps it",
            "have it set by a time service: timedatectl set-ntp true",
        )
    return ok("not compared with Infodeck's" + ("; a time service keeps it" if synchronised else ""))


def _offset_s(answer: Response) -> float | None:
    """Return by how much this machine's clock is ahead, None where the answer has no date.

    The date was true at some moment between question and answer, and up to a second later.
    """
    try:
        date_s = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return None
    earliest_s, latest_s = answer.asked_s - (date_s + 1), answer.answered_s - date_s
    if earliest_s <= 0 <= latest_s:
        return 0.0
    return earliest_s if earliest_s > 0 else latest_s


def _is_synchronised() -> bool | None:
    """Say whether a time service keeps this machine's clock, None where the kernel cannot be asked."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:
        return None
    question = ctypes.create_string_buffer(512)  # struct timex of zeros: it changes nothing
    state = adjtimex(question)
    return None if state < 0 else bool(state != _NOT_SYNCHRONISED)

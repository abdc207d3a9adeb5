"""How long certificates are still good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.doctor.findings import Finding, counted, ok, problem, warning

if TYPE_CHECKING:
    from gateway.tls import Validity

_DAY_S = 86_400
_WARNING_DAYS = 30
_PROBLEM_DAYS = 7


def age_finding(what: str, validity: Validity, *, now_s: float) -> Finding:
    """Say how long a certificate is still good."""
    renew = "renew it, and see why that did not happen by itself"
    if now_s < validity.from_s:
        return problem(f"{what} is not valid yet", "check this machine's clock, and the certificate's dates")
    left_days = (validity.until_s - now_s) / _DAY_S
    if left_days <= 0:
        return problem(f"{what} expired {_days(-left_days)} ago", renew)
    if left_days < _PROBLEM_DAYS:
        return problem(f"{what} expires in {_days(left_days)}", renew)
    if left_days < _WARNING_DAYS:
        return warning(f"{what} expires in {_days(left_days)}", renew)
    names = f", for {', '.join(validity.names)}" if validity.names else ""
    return ok(f"{what} is valid for {_days(left_days)}{names}")


def _days(count: float) -> str:
    return "less than a day" if count < 1 else counted(int(count), "day")

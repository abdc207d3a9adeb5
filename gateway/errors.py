"""The error tree. Errors are made from facts, keep them as fields, and have a text for the user.

Delivery distinguishes three kinds by type:

- `TransientError`: the same batch again, with back-off;
- `RefusedError`: dead letters for the refused updates, then on with the next batch;
- anything else: the sink is marked failed and restarted.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Refusal


class GatewayError(Exception):
    """The base of the gateway's own errors; the text can be shown to a user."""


class ConfigError(GatewayError):
    """A file or setting cannot be used. `problems` are complete lines, each with its place."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class CommandError(GatewayError):
    """A command cannot do its task; the text states why and what to do.

    `problems` are complete lines that are shown first, each with its place in a file.
    """

    def __init__(self, reason: str, *, problems: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.problems = tuple(problems)


class TransientError(GatewayError):
    """The other side is away or busy; the same may succeed later.

    `retry_after_s` is the pause that the other side requested, None if it requested none.
    """

    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class ForbiddenError(GatewayError):
    """The other side does not allow this user what was requested."""


class RefusedError(GatewayError):
    """The receiver refused these updates permanently; all others of the batch were delivered."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__(f"{len(refusals)} updates refused, the first one: {refusals[0].reason}")
        self.refusals = tuple(refusals)


class JournalError(GatewayError):
    """The journal cannot store events now; the sender may try again after `retry_after_s`."""

    def __init__(self, reason: str, *, retry_after_s: int) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class ApiRefusalError(GatewayError):
    """Infodeck's API refuses until something is changed; the text ends with what to change.

    `answered` is its answer, `status` the HTTP status: 401 for the secret, 403 for plan or rights, 404, 422
    and others.
    """

    def __init__(self, answered: str, *, advice: str, status: int) -> None:
        super().__init__(f"{answered}: {advice}")
        self.answered = answered
        self.advice = advice
        self.status = status


class SignatureError(GatewayError):
    """The signature of a delivery is missing, malformed, a mismatch, foreign or outside the tolerance.

    The text is one of these words: they are counted. `foreign` is a mismatch of a body that does not name our
    organization, unlike Infodeck's. `age_s` is the age of a right signature outside the tolerance; negative:
    in the future by our clock.
    """

    def __init__(self, reason: str, *, age_s: float | None = None) -> None:
        super().__init__(reason)
        self.age_s = age_s


class EventError(GatewayError):
    """The signed body is not an event; the text names what is missing."""


class EncodingError(GatewayError, ValueError):
    """A register's type cannot hold a value; the text names both."""


def system_reason(error: OSError) -> str:
    """Return the system's words for an error, without what asyncio and pyserial add to them."""
    if error.errno is None or error.errno <= 0:  # the numbers are the resolver's, not the system's
        return error.strerror or str(error)
    return os.strerror(error.errno)

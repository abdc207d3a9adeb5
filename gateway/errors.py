"""The whole error tree. Errors are built from facts, keep them as fields, and speak to the user.

Delivery tells three kinds apart by type:

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
    """Whatever the gateway itself raises; its text can be shown to a user as it is."""


class ConfigError(GatewayError):
    """A file or setting cannot be used; `problems` are complete lines, each with its place."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep the lines in the order in which a user should read them."""
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class TransientError(GatewayError):
    """Not now: the other side is away or busy. The same may succeed later.

    `retry_after_s` is the pause that the other side asked for, None where it asked for none.
    """

    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        """Keep the reason for log and status."""
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class ApiRefusalError(GatewayError):
    """Infodeck's API refuses, and will again until something is changed; the text ends with what.

    `answered` is what it said, and `status` the HTTP status: 401 for the secret, 403 for plan or rights,
    404, 422 and others.
    """

    def __init__(self, answered: str, *, advice: str, status: int) -> None:
        """Keep all of it, for whoever shows what is wrong and what to do apart."""
        super().__init__(f"{answered}: {advice}")
        self.answered = answered
        self.advice = advice
        self.status = status


class RefusedError(GatewayError):
    """The receiver refused these updates for good; all others of the batch were delivered."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        """Keep each refused update with its reason."""
        super().__init__(f"{len(refusals)} updates refused, the first one: {refusals[0].reason}")
        self.refusals = tuple(refusals)


class JournalError(GatewayError):
    """The journal cannot take events now; `retry_after_s` says when the sender may try again."""

    def __init__(self, reason: str, *, retry_after_s: int) -> None:
        """Keep the reason for the log, and the pause to ask the sender for."""
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class SignatureError(GatewayError):
    """A delivery is not signed as it must be: missing, malformed, mismatch, foreign or outside tolerance.

    `foreign` is a mismatch of a body that does not name our organization, as Infodeck's do.

    `age_s` is known of a right signature outside the tolerance; negative: by our clock it is yet to come.
    """

    def __init__(self, reason: str, *, age_s: float | None = None) -> None:
        """Keep the reason as one of these words: they are counted."""
        super().__init__(reason)
        self.age_s = age_s


class EventError(GatewayError):
    """The signed body is not an event; the text says what is missing."""


class EncodingError(GatewayError, ValueError):
    """A register's type cannot hold a value; the text names both."""


class CommandError(GatewayError):
    """A command cannot do what it was asked; the text says why and what to do.

    `problems` are complete lines that are shown first, each with its place in a file.
    """

    def __init__(self, reason: str, *, problems: Sequence[str] = ()) -> None:
        """Keep the lines in the order in which a user should read them."""
        super().__init__(reason)
        self.problems = tuple(problems)


def system_reason(error: OSError) -> str:
    """Return what is wrong in the system's words, without what asyncio and pyserial add to them."""
    if error.errno is None or error.errno <= 0:  # not the system's numbers but the resolver's
        return error.strerror or str(error)
    return os.strerror(error.errno)

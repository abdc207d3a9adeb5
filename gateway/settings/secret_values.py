"""The secrets that `gateway.yaml` refers to, read when the gateway starts."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from gateway.config.secrets import Secret, SecretSource
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config.decode import Document
    from gateway.settings.shape import Settings


_SHORTEST_TOKEN = 20
_TOO_SHORT = f"a token has {_SHORTEST_TOKEN} characters or more: `openssl rand -hex 16` makes one"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the gateway itself needs; sinks read their own. None: there is none."""

    api_key: Secret | None
    signing_secrets: tuple[Secret, ...]
    bearer_token: Secret | None = None
    admin_token: Secret | None = None


def resolve_secrets(document: Document[Settings]) -> Secrets:
    """Read every secret, those of the sinks too; raise ConfigError with all that cannot be read."""
    settings = document.require()
    secrets: dict[SecretSource, Secret] = {}
    problems = []
    for path, source in secret_sources(settings):
        try:
            secrets[source] = source.resolve()
        except ConfigError as error:
            problems.append(document.problem(path, str(error)))
    token = settings.admin.token
    if token in secrets and len(secrets[token].reveal()) < _SHORTEST_TOKEN:
        problems.append(document.problem(("admin", "token"), _TOO_SHORT))
    if problems:
        raise ConfigError([str(problem) for problem in sorted(problems, key=lambda one: one.location)])
    infodeck = settings.infodeck

    def optional(source: SecretSource | None) -> Secret | None:
        return None if source is None else secrets[source]

    return Secrets(
        api_key=optional(infodeck.api_key),
        signing_secrets=tuple(secrets[source] for source in settings.intake.signing_secrets),
        bearer_token=optional(infodeck.bearer_token),
        admin_token=optional(settings.admin.token),
    )


def read_signing_secrets(settings: Settings) -> list[Secret]:
    """Read the webhook's signing secrets anew; raise ConfigError with the first that cannot be read."""
    return [source.resolve() for source in settings.intake.signing_secrets]


def secret_sources(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, SecretSource]]:
    """Yield every secret's source below `value`, with its path in the file."""
    if isinstance(value, SecretSource):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from secret_sources(inner, (*path, key))
    elif isinstance(value, tuple):
        for position, inner in enumerate(value):
            yield from secret_sources(inner, (*path, position))
    elif is_dataclass(value):
        for field in fields(value):
            yield from secret_sources(getattr(value, field.name), (*path, field.name))

"""The whole of `gateway.yaml`: its shape, its defaults, its rules; and which sinks there are."""

from gateway.settings.infodeck import Infodeck, Reconcile, Refill, Webhook
from gateway.settings.settings_file import Secrets, load_settings, read_signing_secrets, resolve_secrets
from gateway.settings.shape import (
    AdminSettings,
    IntakeSettings,
    JournalSettings,
    LogSettings,
    Settings,
    TlsFiles,
)
from gateway.settings.sink_types import SINK_TYPES, SinkConfig

__all__ = [
    "SINK_TYPES",
    "AdminSettings",
    "Infodeck",
    "IntakeSettings",
    "JournalSettings",
    "LogSettings",
    "Reconcile",
    "Refill",
    "Secrets",
    "Settings",
    "SinkConfig",
    "TlsFiles",
    "Webhook",
    "load_settings",
    "read_signing_secrets",
    "resolve_secrets",
]

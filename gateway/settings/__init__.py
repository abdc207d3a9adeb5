"""The whole of `gateway.yaml`: its shape, its defaults, its rules; and which sinks there are."""

from gateway.settings.infodeck import InfodeckSettings, ReconcileSettings, RefillSettings, WebhookSettings
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
    "InfodeckSettings",
    "IntakeSettings",
    "JournalSettings",
    "LogSettings",
    "ReconcileSettings",
    "RefillSettings",
    "Secrets",
    "Settings",
    "SinkConfig",
    "TlsFiles",
    "WebhookSettings",
    "load_settings",
    "read_signing_secrets",
    "resolve_secrets",
]

"""The whole of `gateway.yaml`: its shape, its defaults, its rules; and which sinks there are."""

from gateway.settings.infodeck import InfodeckSettings, ReconcileSettings, RefillSettings, WebhookSettings
from gateway.settings.settings_file import Secrets, load_settings, read_signing_secrets, resolve_secrets
from gateway.settings.shape import (
    SINK_TYPES,
    AdminSettings,
    IntakeSettings,
    JournalSettings,
    LogSettings,
    Settings,
    SinkConfig,
    TlsFiles,
    import_class,
)

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
    "import_class",
    "load_settings",
    "read_signing_secrets",
    "resolve_secrets",
]

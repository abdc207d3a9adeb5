"""The whole of `gateway.yaml`: its shape, its defaults, its rules; and which sinks there are."""

from gateway.settings.infodeck import Infodeck, Reconcile, Refill, Webhook
from gateway.settings.loading import load_settings
from gateway.settings.secret_values import Secrets, read_signing_secrets, resolve_secrets
from gateway.settings.shape import Admin, Intake, Journal, Log, Settings, Tls
from gateway.settings.sink_types import SINK_TYPES, SinkConfig

__all__ = [
    "SINK_TYPES",
    "Admin",
    "Infodeck",
    "Intake",
    "Journal",
    "Log",
    "Reconcile",
    "Refill",
    "Secrets",
    "Settings",
    "SinkConfig",
    "Tls",
    "Webhook",
    "load_settings",
    "read_signing_secrets",
    "resolve_secrets",
]

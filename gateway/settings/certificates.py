"""The settings that name a certificate of the gateway, and the files that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.sinks.broker.config import BrokerConfig
from gateway.sinks.modbus_server.sink import ModbusServerConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.settings.shape import Settings


class CertificateFiles(NamedTuple):
    """Certificate and key of one setting."""

    setting: str
    certificate: Path
    key: Path


def certificates_in(settings: Settings) -> Iterator[CertificateFiles]:
    """Yield the certificates that the gateway serves with, and those that it shows to brokers."""
    for setting, tls in (("intake.tls", settings.intake.tls), ("admin.tls", settings.admin.tls)):
        if tls is not None:
            yield CertificateFiles(setting, tls.certificate, tls.key)
    for name, sink in settings.sinks.items():
        if isinstance(sink, ModbusServerConfig) and sink.tls is not None:
            yield CertificateFiles(f"sinks.{name}.tls", sink.tls.certificate, sink.tls.key)
        if isinstance(sink, BrokerConfig) and sink.certificate is not None and sink.key is not None:
            yield CertificateFiles(f"sinks.{name}", sink.certificate, sink.key)

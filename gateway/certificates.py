"""What certificates say of themselves. `cryptography` reads them; it is loaded only where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


@dataclass(frozen=True, slots=True)
class Validity:
    """A certificate: from when until when (Unix seconds), for which names, and whether it signed itself."""

    from_s: float
    until_s: float
    names: tuple[str, ...]
    is_self_signed: bool

    def covers(self, host: str) -> bool:
        """Say whether a server of this name may show it."""
        wanted = host.lower().rstrip(".")
        _, _, parent = wanted.partition(".")
        names = {name.lower() for name in self.names}
        return wanted in names or (bool(parent) and f"*.{parent}" in names)


def read_pem(pem: bytes) -> Validity:
    """Return the first certificate of a PEM file; raise ValueError where there is none."""
    from cryptography import x509  # noqa: PLC0415 - slow to load, and rarely needed

    return _validity(x509.load_pem_x509_certificates(pem)[0])


def read_der(der: bytes) -> Validity:
    """Return a certificate as a connection has it."""
    from cryptography import x509  # noqa: PLC0415 - slow to load, and rarely needed

    return _validity(x509.load_der_x509_certificate(der))


def _validity(certificate: Certificate) -> Validity:
    return Validity(
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
        _names(certificate),
        certificate.issuer == certificate.subject,
    )


def _names(certificate: Certificate) -> tuple[str, ...]:
    """Return what clients compare with the server's name; the subject's own name counts no more."""
    from cryptography import x509  # noqa: PLC0415 - slow to load, and rarely needed

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return (
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    )

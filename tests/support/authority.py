"""A certificate authority as buildings run them: a few openssl commands and files in a folder."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_NEW_RSA_KEY = ("-newkey", "rsa:2048", "-nodes")
ROLE = "1.3.6.1.4.1.50316.802.1"  # Modbus/TCP Security


class Authority:
    """One authority, `<name>.pem`; what it issues is `<name>-<holder>.pem` and `.key` beside it."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._name = name
        self._openssl(
            *("req", "-x509", *_NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem"),
            *("-subj", f"/CN={name}", "-addext", "keyUsage = critical, keyCertSign, cRLSign"),
        )

    @property
    def certificate(self) -> Path:
        """The authority's own certificate."""
        return self._folder / f"{self._name}.pem"

    def issue(self, holder: str, *extensions: str, kind: str = "ECDSA") -> tuple[Path, Path]:
        """Return certificate and key of a holder at 127.0.0.1, with extensions as in openssl's files.

        `kind` is that of the key: ECDSA or RSA.
        """
        new_key = _NEW_KEY if kind == "ECDSA" else _NEW_RSA_KEY
        name = f"{self._name}-{holder}"
        certificate, key, request = (self._folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        wanted = self._folder / f"{name}.ext"
        wanted.write_text("\n".join(("subjectAltName = IP:127.0.0.1", *extensions, "")))
        self._openssl("req", *new_key, "-keyout", str(key), "-out", str(request), "-subj", f"/CN={holder}")
        self._openssl(
            *("x509", "-req", "-in", str(request), "-CA", f"{self._name}.pem", "-CAkey", f"{self._name}.key"),
            *("-CAcreateserial", "-days", "2", "-extfile", str(wanted), "-out", str(certificate)),
        )
        return certificate, key

    def issue_expired(self, certificate: Path) -> Path:
        """Return the certificate with an end in the past."""
        expired = certificate.with_suffix(".expired")
        self._openssl(
            *("x509", "-in", str(certificate), "-CA", f"{self._name}.pem", "-CAkey", f"{self._name}.key"),
            *(
                "-not_before",
                "20200101000000Z",
                "-not_after",
                "20210101000000Z",
                "-copy_extensions",
                "copyall",
                "-out",
                str(expired),
            ),
        )
        return expired

    def lock(self, key: Path, locked: Path) -> None:
        """Encrypt a key with a password."""
        self._openssl("ec", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(locked))

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)

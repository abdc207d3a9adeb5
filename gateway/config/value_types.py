"""The types of single values in `gateway.yaml`: durations (`90s`), sizes, addresses, names, URLs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

from gateway.config.problems import FieldError

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_HIGHEST_PORT = 65535
_SHORTEST_RETENTION_S = 25 * 3600.0
_SMALLEST_JOURNAL_BYTES = 16 << 20
DURATION_PATTERN = "^[0-9]{1,12}([.][0-9]{1,12})?(ms|s|m|h|d)$"
SIZE_PATTERN = "^[0-9]{1,12}(B|KiB|MiB|GiB)$"


def parse_duration(text: object) -> float:
    """Return seconds for `500ms`, `90s`, `15m`, `2h` or `7d`; raise ValueError with advice otherwise."""
    match = (
        re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s|m|h|d)", text) if isinstance(text, str) else None
    )
    if match is None:
        raise ValueError("a duration is a number and its unit, such as 90s, 15m or 2h")
    return float(match[1]) * _SECONDS[match[2]]


def duration_text(seconds: float) -> str:
    """Write seconds as a user would: 90s, 15m, 48h."""
    unit = next((unit for unit in ("h", "m", "s") if seconds and seconds % _SECONDS[unit] == 0), "ms")
    return f"{round(seconds / _SECONDS[unit])}{unit}"


def parse_size(text: object) -> int:
    """Return bytes for `512KiB`, `1MiB` or `2GiB`; raise ValueError with advice otherwise."""
    match = re.fullmatch(r"([0-9]{1,12})(B|KiB|MiB|GiB)", text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("a size is a whole number and its unit, such as 512KiB, 1MiB or 2GiB")
    return int(match[1]) * _BYTES[match[2]]


def size_text(size_bytes: int) -> str:
    """Write bytes as a user would: 512KiB, 2GiB."""
    unit = next(unit for unit in reversed(_BYTES) if size_bytes % _BYTES[unit] == 0)
    return f"{size_bytes // _BYTES[unit]}{unit}"


def rounded_size_text(size_bytes: int) -> str:
    """Write about so many bytes in the same way: 412KiB, 3.4MiB, 17MiB."""
    unit = next((unit for unit in ("GiB", "MiB") if size_bytes >= _BYTES[unit]), "KiB")
    size = size_bytes / _BYTES[unit]
    return f"{size:.1f}{unit}" if unit != "KiB" and size < 10 else f"{size:.0f}{unit}"  # noqa: PLR2004 - two digits


@dataclass(frozen=True, slots=True)
class HostPort:
    """Where to listen or connect; an IPv6 address is written in brackets, `[::1]:8080`."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Return whether only this machine can connect from this address."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def reachable(self) -> HostPort:
        """Where this machine itself connects to: loopback, where the listener takes every address."""
        return HostPort({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.port)  # noqa: S104 - replaced

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def machine_of(host: str) -> str:
    """Return what is the same of two ways to write a host that surely lead to one machine."""
    try:
        address = ip_address(host)
    except ValueError:
        return "127.0.0.1" if host.lower() == "localhost" else host.lower()
    return "127.0.0.1" if address == ip_address("::1") else str(address)


def is_host(text: str) -> bool:
    """Return whether a text is a valid host: no label of the name is empty or longer than 63 letters."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return bool(text) and text.isprintable() and not set(text) & {" ", "\\"}


def parse_host_port(text: object) -> HostPort:
    """Return the parts of `host:port`; port 0 (any free port) is allowed."""
    match = (
        re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]]+)):([0-9]{1,5})", text)
        if isinstance(text, str)
        else None
    )
    if match is None or int(match[3]) > _HIGHEST_PORT or not is_host(match[1] or match[2]):
        raise ValueError("an address is host:port, such as 127.0.0.1:8080 or [::1]:8080")
    return HostPort(host=match[1] or match[2], port=int(match[3]))


def parse_network(text: object) -> IPv4Network | IPv6Network:
    """Return the network of `10.1.0.0/16`; a lone address is a network of one."""
    if isinstance(text, IPv4Network | IPv6Network):
        return text
    try:
        interface = ip_interface(text if isinstance(text, str) else "")
    except ValueError:
        raise ValueError(
            "a network is an address and the length of its prefix, such as 10.1.0.0/16"
        ) from None
    if interface.ip != interface.network.network_address:
        raise ValueError(f"the address has bits outside of its prefix; the network is {interface.network}")
    return interface.network


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN}),
]
"""Seconds, written as `90s`, `15m`, `2h`."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN}),
]
"""Bytes, written as `1MiB`."""

Address = Annotated[
    HostPort,
    BeforeValidator(lambda value: value if isinstance(value, HostPort) else parse_host_port(value)),
    WithJsonSchema({"type": "string", "pattern": r"^(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):[0-9]{1,5}$"}),
]
"""`host:port`."""

Network = Annotated[
    IPv4Network | IPv6Network,
    PlainValidator(parse_network),
    WithJsonSchema({"type": "string", "pattern": "^[0-9A-Fa-f]*[:.][0-9A-Fa-f:.]*(/[0-9]{1,3})?$"}),
]
"""`10.1.0.0/16`."""


def _check_name(name: str) -> str:
    if not name or not name.isprintable() or name[0] == "$" or any(mark in name for mark in "/+# "):
        raise ValueError(
            "a name is one level of an MQTT topic: not empty, no space, `/`, `+` or `#`, and no `$` first"
        )
    return name


def _check_sink_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]+", name):
        raise ValueError("the name of a sink has small letters, digits, `_` and `-` only")
    return name


def _check_organization(text: str) -> str:
    if not re.fullmatch(r"[\w-]+", text, re.ASCII):
        raise ValueError("an organization id is letters, digits and `-`, such as o-xxxx")
    return text


def _check_api(text: str) -> str:
    try:
        url = urlsplit(text)
        host = url.hostname or ""
        usable = url.port != 0 and is_host(host)
    except ValueError:
        usable = False
    if not usable or url.scheme not in {"https", "http"} or url.query or url.fragment:
        raise ValueError("a URL is expected, such as https://app.infodeck.io/api/v2")
    if "@" in url.netloc:
        raise FieldError("no user or password here: the API takes `api_key`", secret=True)
    if url.scheme == "http" and not HostPort(host, 0).is_loopback:
        raise ValueError("https:// is required, or the API key would travel in the clear")
    return text.rstrip("/")


def _check_proxy(text: str) -> str:
    try:
        url = urlsplit(text)
        is_address = is_host(url.hostname or "") and url.port != 0 and not (url.path.strip("/") or url.query)
    except ValueError:
        is_address = False
    if "@" in text:
        raise FieldError(
            "no user or password here: give them with HTTPS_PROXY in the environment", secret=True
        )
    if not is_address or url.scheme not in {"http", "https"}:
        raise ValueError("the address of an http proxy is expected, such as http://proxy.example.com:3128")
    return text.rstrip("/")


def _check_url_path(path: str) -> str:
    if not re.fullmatch(r"/[\w./~-]*", path, re.ASCII):
        raise ValueError("a path starts with `/`; letters, digits, `.`, `_`, `~` and `-` may follow")
    return path


def _check_journal_url(url: str) -> str:
    path = url.removeprefix("sqlite:///")
    if path == url or not path.strip("/") or path.endswith("/") or "?" in path or not path.isprintable():
        raise ValueError(
            "the journal is sqlite:/// and an absolute path, such as sqlite:///var/lib/gateway/journal.db"
        )
    return url


def _check_retention(seconds: float) -> float:
    if seconds < _SHORTEST_RETENTION_S:
        raise ValueError("must be at least 25h: Infodeck retries for 24 h, so ids must be kept longer")
    return seconds


def _check_journal_size(size_bytes: int) -> int:
    if size_bytes < _SMALLEST_JOURNAL_BYTES:
        raise ValueError("must be at least 16MiB")
    return size_bytes


def _check_period(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError("must be more than 0s")
    return seconds


def _check_body_size(size_bytes: int) -> int:
    if size_bytes <= 0:
        raise ValueError("must be more than 0B")
    return size_bytes


def _check_host(text: str) -> str:
    if re.fullmatch(r"[\w.-]+", text, re.ASCII) and not re.fullmatch(r"[\d.]+", text) and is_host(text):
        return text
    try:
        ip_address(text)
    except ValueError:
        raise ValueError(
            "an address or a name alone is expected, such as 192.0.2.10; a port has a key of its own"
        ) from None
    return text


def _pattern(pattern: str) -> WithJsonSchema:
    """Return the pattern that editors check; the gateway checks more."""
    return WithJsonSchema({"type": "string", "pattern": pattern})


Name = Annotated[str, AfterValidator(_check_name), _pattern("^(?![$])[^/+# ]+$")]
"""A gateway's name, which is one level of its MQTT topics."""

SinkName = Annotated[str, AfterValidator(_check_sink_name), _pattern("^[a-z0-9_-]+$")]
"""What point tables and status call a sink."""

Organization = Annotated[str, AfterValidator(_check_organization), _pattern("^[A-Za-z0-9_-]+$")]
"""Infodeck's id of an organization; it becomes part of URLs."""

ProxyUrl = Annotated[str, AfterValidator(_check_proxy), _pattern("^https?://[^/@?#]+/?$")]
"""The address of an HTTP proxy."""

ApiUrl = Annotated[str, AfterValidator(_check_api), _pattern("^https?://[^/@?#]+[^@?#]*$")]
"""Infodeck's API, without a slash at the end; https, or http on this machine."""

UrlPath = Annotated[str, AfterValidator(_check_url_path), _pattern("^/[A-Za-z0-9_./~-]*$")]
"""The path of a URL of our own."""

JournalUrl = Annotated[str, AfterValidator(_check_journal_url), _pattern("^sqlite:///+[^/?]([^?]*[^/?])?$")]
"""`sqlite:///absolute/path`."""

Retention = Annotated[Duration, AfterValidator(_check_retention)]
"""Seconds; longer than Infodeck retries."""

JournalSize = Annotated[Size, AfterValidator(_check_journal_size)]
"""Bytes; enough for the journal to work with."""

Period = Annotated[Duration, AfterValidator(_check_period)]
"""Seconds, more than 0."""

BodySize = Annotated[Size, AfterValidator(_check_body_size)]
"""Bytes, more than 0."""

Host = Annotated[
    str,
    AfterValidator(_check_host),
    _pattern(
        "^([0-9]{1,3}([.][0-9]{1,3}){3}|(?=.*[A-Za-z_-])[A-Za-z0-9_.-]+|(?=.*:.*:)[0-9A-Fa-f:.]+(%[^:]+)?)$"
    ),
]
"""Whom to connect to: an address, or a name in the network."""

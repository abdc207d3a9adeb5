"""The types of single values in `gateway.yaml`: durations (`90s`), sizes, addresses, names, URLs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface
from typing import TYPE_CHECKING, Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

from gateway.config.problems import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_HIGHEST_PORT = 65535
_DURATION = "[0-9]{1,12}([.][0-9]{1,12})?(ms|s|m|h|d)"
_SIZE = "[0-9]{1,12}(B|KiB|MiB|GiB)"
_ADDRESS = r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):[0-9]{1,5}"
_NAME = "(?![$])[^/+# ]+"
SINK_NAME = "[a-z0-9_-]+"
_ID = "[A-Za-z0-9_-]+"
_PATH = "/[A-Za-z0-9_./~-]*"
_JOURNAL = "sqlite:///+[^/?]([^?]*[^/?])?"
DURATION_PATTERN, SIZE_PATTERN = f"^{_DURATION}$", f"^{_SIZE}$"


def parse_duration(text: object) -> float:
    """Return seconds for `500ms`, `90s`, `15m`, `2h` or `7d`; raise ValueError with advice otherwise."""
    if not isinstance(text, str) or not re.fullmatch(_DURATION, text):
        raise ValueError("a duration is a number and its unit, such as 90s, 15m or 2h")
    return _scaled(text, _SECONDS)


def duration_text(seconds: float) -> str:
    """Write seconds as a user would: 90s, 15m, 48h."""
    unit = next((unit for unit in ("h", "m", "s") if seconds and seconds % _SECONDS[unit] == 0), "ms")
    return f"{round(seconds / _SECONDS[unit])}{unit}"


def parse_size(text: object) -> int:
    """Return bytes for `512KiB`, `1MiB` or `2GiB`; raise ValueError with advice otherwise."""
    if not isinstance(text, str) or not re.fullmatch(_SIZE, text):
        raise ValueError("a size is a whole number and its unit, such as 512KiB, 1MiB or 2GiB")
    return int(_scaled(text, _BYTES))


def _scaled(text: str, units: Mapping[str, float]) -> float:
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * units[unit]


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
        return is_loopback(self.host)

    @property
    def reachable(self) -> HostPort:
        """Where this machine itself connects to: loopback, where the listener takes every address."""
        return HostPort({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.port)  # noqa: S104 - replaced

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Return whether an address or name is this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
    if isinstance(text, str) and re.fullmatch(_ADDRESS, text):
        host, _, port = text.rpartition(":")
        host = host.strip("[]")
        if is_host(host) and int(port) <= _HIGHEST_PORT:
            return HostPort(host, int(port))
    raise ValueError("an address is host:port, such as 127.0.0.1:8080 or [::1]:8080")


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


def parse_url(text: str, message: str) -> SplitResult:
    """Return the parts of an http or https URL; raise ValueError with the message if it is none."""
    try:
        url = urlsplit(text)
        usable = is_host(url.hostname or "") and url.port != 0 and not url.query and not url.fragment
    except ValueError:
        usable = False
    if not usable or url.scheme not in {"http", "https"}:
        raise ValueError(message)
    return url


def pattern_hint(pattern: str) -> WithJsonSchema:
    """Return the pattern that editors check; the gateway checks more."""
    return WithJsonSchema({"type": "string", "pattern": f"^{pattern}$"})


def must_match(pattern: str, message: str) -> AfterValidator:
    """Return the check that printable text has a pattern as a whole; the message says what it should be."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text) or not text.isprintable():
            raise ValueError(message)
        return text

    return AfterValidator(check)


def _at_least(minimum: float, message: str) -> AfterValidator:
    def check(number: float) -> float:
        if number < minimum:
            raise ValueError(message)
        return number

    return AfterValidator(check)


def _check_api(text: str) -> str:
    url = parse_url(text, "a URL is expected, such as https://app.infodeck.io/api/v2")
    if "@" in url.netloc:
        raise FieldError("no user or password here: the API takes `api_key`", secret=True)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        raise ValueError("https:// is required, or the API key would travel in the clear")
    return text.rstrip("/")


def _check_proxy(text: str) -> str:
    if "@" in text:
        raise FieldError(
            "no user or password here: give them with HTTPS_PROXY in the environment", secret=True
        )
    message = "the address of an http proxy is expected, such as http://proxy.example.com:3128"
    if parse_url(text, message).path.strip("/"):
        raise ValueError(message)
    return text.rstrip("/")


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


# Seconds
Duration = Annotated[float, BeforeValidator(parse_duration), pattern_hint(_DURATION)]
Period = Annotated[Duration, _at_least(1e-9, "must be more than 0s")]
Retention = Annotated[
    Duration,
    _at_least(25 * 3600, "must be at least 25h: Infodeck retries for 24 h, so ids must be kept longer"),
]

# Bytes
Size = Annotated[int, BeforeValidator(parse_size), pattern_hint(_SIZE)]
BodySize = Annotated[Size, _at_least(1, "must be more than 0B")]
JournalSize = Annotated[Size, _at_least(16 << 20, "must be at least 16MiB")]

# Machines and networks
Address = Annotated[
    HostPort,
    BeforeValidator(lambda value: value if isinstance(value, HostPort) else parse_host_port(value)),
    pattern_hint(_ADDRESS),
]
Network = Annotated[
    IPv4Network | IPv6Network,
    PlainValidator(parse_network),
    pattern_hint("[0-9A-Fa-f]*[:.][0-9A-Fa-f:.]*(/[0-9]{1,3})?"),
]
Host = Annotated[
    str,
    AfterValidator(_check_host),
    pattern_hint(
        "([0-9]{1,3}([.][0-9]{1,3}){3}|(?=.*[A-Za-z_-])[A-Za-z0-9_.-]+|(?=.*:.*:)[0-9A-Fa-f:.]+(%[^:]+)?)"
    ),
]

# Names and URLs
Name = Annotated[
    str,
    must_match(
        _NAME, "a name is one level of an MQTT topic: not empty, no space, `/`, `+` or `#`, and no `$` first"
    ),
    pattern_hint(_NAME),
]
SinkName = Annotated[
    str,
    must_match(SINK_NAME, "the name of a sink has small letters, digits, `_` and `-` only"),
    pattern_hint(SINK_NAME),
]
Organization = Annotated[
    str,
    must_match(_ID, "an organization id is letters, digits and `-`, such as o-xxxx"),
    pattern_hint(_ID),
]
UrlPath = Annotated[
    str,
    must_match(_PATH, "a path starts with `/`; letters, digits, `.`, `_`, `~` and `-` may follow"),
    pattern_hint(_PATH),
]
ProxyUrl = Annotated[str, AfterValidator(_check_proxy), pattern_hint("https?://[^/@?#]+/?")]
ApiUrl = Annotated[str, AfterValidator(_check_api), pattern_hint("https?://[^/@?#]+[^@?#]*")]
JournalUrl = Annotated[
    str,
    must_match(
        _JOURNAL,
        "the journal is sqlite:/// and an absolute path, such as sqlite:///var/lib/gateway/journal.db",
    ),
    pattern_hint(_JOURNAL),
]

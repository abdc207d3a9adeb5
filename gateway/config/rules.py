"""The rules for single values of `gateway.yaml`, as types that its fields are annotated with."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, WithJsonSchema

from gateway.config.problems import FieldError
from gateway.config.scalars import Duration, HostPort, Size, is_host

_SHORTEST_RETENTION_S = 25 * 3600.0
_SMALLEST_JOURNAL_BYTES = 16 << 20


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
    """Let editors know the rule as far as a pattern can say it."""
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

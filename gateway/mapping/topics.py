"""MQTT topics of points and assets, made by templates such as `{prefix}/{site}/{tag}/{point}`.

Also the checks of such templates, and of the patterns that name automatic assets (`{location} {name}`).
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Point

POINT_TOPIC = "{prefix}/{site}/{tag}/{point}"
"""The default topic of a point."""
ASSET_TOPIC = "{prefix}/{site}/{tag}"
"""The default topic of a message with all points of an asset."""
FORBIDDEN_IN_LEVELS = "/+#"
"""Characters that no level of a topic can contain."""

_PLACEHOLDERS = ("prefix", "site", "tag", "point", "asset", "gateway")
_TAG_PLACEHOLDERS = ("name", "id", "location", "model")
_LEVEL = rf"(?![$\s])([^/+#{{}}]|\{{\{{|\}}\}}|\{{({'|'.join(_PLACEHOLDERS)})\}})+(?<!\s)"
_TOPIC = f"{_LEVEL}(/{_LEVEL})*$"
TOPIC_PATTERN = f"^{_TOPIC}"
"""`check_topic` as a regular expression for editors, as far as one can express it."""
POINT_TOPICS_PATTERN = rf"^(?=.*\{{point\}})(?=.*\{{(tag|asset)\}}){_TOPIC}"
"""`check_point_topics` for editors."""
ASSET_TOPICS_PATTERN = rf"^(?!.*\{{point\}})(?=.*\{{(tag|asset)\}}){_TOPIC}"
"""`check_asset_topics` for editors."""


@dataclass(frozen=True, slots=True)
class TopicScheme:
    """The topics of one MQTT sink. A template is None if the sink has no such topics.

    `broker` is the same for sinks that share a broker; empty if unknown. `allows_own` is whether a point's
    own topic (`mqtt: {topic: …}`) replaces its default one.
    """

    prefix: str
    gateway: str = ""
    points: str | None = POINT_TOPIC
    assets: str | None = None
    broker: str = ""
    allows_own: bool = True

    def point_topic(self, point: Point, *, own: str | None) -> str | None:
        """Return the topic of a point. Its own template, if any, is used in every layout."""
        template = own if own and self.allows_own else self.points
        return None if template is None else self._fill(template, point)

    def asset_topic(self, point: Point) -> str | None:
        """Return the topic of the message with all points of the point's asset."""
        return None if self.assets is None else self._fill(self.assets, point)

    def topics(self, point: Point) -> tuple[str, ...]:
        """Return every topic that shows the point's value."""
        own = point.mqtt.topic if point.mqtt is not None else None
        found = (self.point_topic(point, own=own), self.asset_topic(point))
        return tuple(topic for topic in found if topic is not None)

    def asset_key(self, point: Point) -> tuple[str, ...]:
        """Return what points that share an asset message have in common: the tag, or asset and tag."""
        by_asset = self.assets is not None and "{asset}" in self.assets
        return (point.site, point.tag, point.asset) if by_asset else (point.site, point.tag)

    def names_asset_id(self, point: Point) -> bool:
        """Return whether the id of the point's asset is part of its topics."""
        own = point.mqtt.topic if point.mqtt is not None else None
        return "{asset}" in f"{own or self.points}{self.assets}"

    def _fill(self, template: str, point: Point) -> str:
        names = {"site": point.site, "tag": point.tag, "point": point.point, "asset": point.asset}
        return template.format(prefix=self.prefix, gateway=self.gateway, **names)


def sparkplug_scheme(node: str) -> TopicScheme:
    """Return topic and metric of points in Sparkplug B. `node`: the topic of the node's data."""
    return TopicScheme(prefix=node, points="{prefix}/{tag} ({point})", allows_own=False)


def check_level(text: str) -> str:
    """Return text that can be one level of a topic; raise ValueError if it cannot, or is not printable."""
    if not text or text != text.strip() or not text.isprintable():
        raise ValueError("needs printable characters, without spaces around them")
    if text[0] == "$" or any(character in text for character in FORBIDDEN_IN_LEVELS):
        raise ValueError("becomes part of a topic, so it cannot start with $ or contain /, + or #")
    return text


def check_topic(text: str) -> str:
    """Return a template for the topic of one point; raise ValueError if it is none."""
    _placeholders(text, _PLACEHOLDERS)
    for level in text.split("/"):
        if not level:
            raise ValueError("has an empty level: no slash at either end, and no two in a row")
        if level[0] == "$" or any(mark in level for mark in "+#"):
            raise ValueError("is a topic: it has no wildcard + or #, and no level that starts with $")
        check_level(level)
    return text


def check_point_topics(text: str) -> str:
    """Return a template for the topics of all points; raise ValueError if two could have the same."""
    if "point" not in _placeholders(check_topic(text), _PLACEHOLDERS):
        raise ValueError("needs {point}, or all points of an asset would have the same topic")
    return _check_asset_is_named(text)


def check_asset_topics(text: str) -> str:
    """Return a template for the topics of all assets; raise ValueError if two could have the same."""
    if "point" in _placeholders(check_topic(text), _PLACEHOLDERS):
        raise ValueError("is the topic of a whole asset and cannot contain {point}")
    return _check_asset_is_named(text)


def _check_asset_is_named(text: str) -> str:
    if not names_asset(text):
        raise ValueError("needs {tag} or {asset}, or all assets would have the same topic")
    return text


def names_asset(template: str) -> bool:
    """Return whether a valid template gives every asset topics of its own."""
    return not {"tag", "asset"}.isdisjoint(_placeholders(template, _PLACEHOLDERS))


def check_prefix(prefix: str) -> str:
    """Return text that topics can start with; raise ValueError if they cannot."""
    levels = prefix.split("/")
    is_odd = any(mark in prefix for mark in "+#") or not prefix.isprintable()
    if is_odd or not all(levels) or any(level.startswith("$") for level in levels):
        raise ValueError(
            'a topic prefix looks like gw/v1: printable, without "+" or "#"; no level starts with "$", no "/"'
            " at either end or twice"
        )
    return prefix


def check_tag_pattern(pattern: str) -> str:
    """Return a pattern for the tags of automatic assets; raise ValueError if it cannot make tags."""
    fields = _placeholders(pattern, _TAG_PLACEHOLDERS)
    if "name" not in fields and "id" not in fields:
        raise ValueError("needs {name} or {id}, or all assets would have the same tag")
    literals = [literal for literal, *_ in Formatter().parse(pattern)]
    if pattern[0] == "$" or any(mark in literal for literal in literals for mark in FORBIDDEN_IN_LEVELS):
        raise ValueError("becomes part of a topic, so it cannot start with $ or contain /, + or #")
    return pattern


def _placeholders(pattern: str, known: Sequence[str]) -> list[str]:
    """Return the placeholders of a pattern; raise ValueError for one that `str.format` could not fill."""
    try:
        parts = [part for part in Formatter().parse(pattern) if part[1] is not None]
        is_filled = all(field in known and not form and not way for _, field, form, way in parts)
    except ValueError:
        is_filled = False
    if not is_filled:
        listed = ", ".join(f"{{{name}}}" for name in known)
        raise ValueError(f"braces stand in pairs, around one of {listed}")
    return [str(field) for _, field, _, _ in parts]

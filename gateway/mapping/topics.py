"""Where points and assets stand on MQTT: topics made of their names by templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.mapping.placeholders import placeholders_in
from gateway.mapping.tags import NOT_IN_LEVELS

if TYPE_CHECKING:
    from gateway.model import Point

PLACEHOLDERS = ("prefix", "site", "tag", "point", "asset", "gateway")
"""What a topic can be made of; `prefix` and `gateway` are the same for all points of a sink."""
OF_POINTS = "{prefix}/{site}/{tag}/{point}"
"""The usual topic of a point."""
OF_ASSETS = "{prefix}/{site}/{tag}"
"""The usual topic of an asset's whole state."""

_LEVEL = rf"(?![$\s])([^/+#{{}}]|\{{\{{|\}}\}}|\{{({'|'.join(PLACEHOLDERS)})\}})+(?<!\s)"
_TOPIC = f"{_LEVEL}(/{_LEVEL})*$"
TOPIC_PATTERN = f"^{_TOPIC}"
"""What an editor can know of `check_topic`."""
OF_POINTS_PATTERN = rf"^(?=.*\{{point\}})(?=.*\{{(tag|asset)\}}){_TOPIC}"
"""What an editor can know of `check_point_topics`."""
OF_ASSETS_PATTERN = rf"^(?!.*\{{point\}})(?=.*\{{(tag|asset)\}}){_TOPIC}"
"""What an editor can know of `check_asset_topics`."""


class Named(Protocol):
    """What topics are made of; a `Point` is one."""

    @property
    def site(self) -> str: ...  # noqa: D102 - as the name says
    @property
    def tag(self) -> str: ...  # noqa: D102 - as the name says
    @property
    def point(self) -> str: ...  # noqa: D102 - as the name says
    @property
    def asset(self) -> str: ...  # noqa: D102 - as the name says


class Names(NamedTuple):
    """The names of a point that is no `Point`."""

    site: str
    tag: str
    point: str
    asset: str


@dataclass(frozen=True, slots=True)
class TopicScheme:
    """The topics of one MQTT sink; a template is None where the sink has no such topics.

    `broker`: the same for sinks whose topics meet on one broker; empty where nobody knows it.
    """

    prefix: str
    gateway: str = ""
    points: str | None = OF_POINTS
    assets: str | None = None
    broker: str = ""

    def of_point(self, names: Named, *, own: str | None) -> str | None:
        """Return the topic of a point; its own template wins, and holds in every layout."""
        template = own or self.points
        return None if template is None else self._filled(template, names)

    def of_asset(self, names: Named) -> str | None:
        """Return the topic of the whole state of the asset that a point belongs to."""
        return None if self.assets is None else self._filled(self.assets, names)

    def of(self, point: Point) -> tuple[str, ...]:
        """Return every topic on which the point's value is seen."""
        own = point.mqtt.topic if point.mqtt is not None else None
        found = (self.of_point(point, own=own), self.of_asset(point))
        return tuple(topic for topic in found if topic is not None)

    def family(self, names: Named) -> tuple[str, ...]:
        """Return what the points have in common that share a message: the tag, or the asset with it."""
        by_asset = self.assets is not None and "{asset}" in self.assets
        return (names.site, names.tag, names.asset) if by_asset else (names.site, names.tag)

    def misfit(self, names: Named, *, own: str | None) -> str | None:
        """Return what is wrong with the topics of a point because of its asset's id, None if nothing is."""
        templates = (own or self.points or "", self.assets or "")
        if not any("{asset}" in template for template in templates):
            return None
        try:
            check_level(names.asset)
        except ValueError as error:
            return str(error)
        return None

    def _filled(self, template: str, names: Named) -> str:
        return template.format(
            prefix=self.prefix,
            gateway=self.gateway,
            site=names.site,
            tag=names.tag,
            point=names.point,
            asset=names.asset,
        )


class MetricScheme(TopicScheme):
    """Where points stand in Sparkplug B: topic and metric. A point's own topic plays no part there."""

    @classmethod
    def of_node(cls, node: str) -> MetricScheme:
        """Take the topic of the node's data, without the device."""
        return cls(prefix=node, points="{prefix}/{tag} ({point})")

    def of_point(self, names: Named, *, own: str | None) -> str | None:  # noqa: ARG002 - see the class
        """Return topic and metric of a point."""
        return super().of_point(names, own=None)


def check_level(text: str) -> str:
    """Refuse what could not stand as one level of an MQTT topic, or would not be seen on a screen."""
    if not text or text != text.strip() or not text.isprintable():
        raise ValueError("needs printable characters, without spaces around them")
    if text[0] == "$" or any(character in text for character in NOT_IN_LEVELS):
        raise ValueError("becomes part of a topic, so it cannot start with $ or contain /, + or #")
    return text


def check_topic(text: str) -> str:
    """Return a template for the topic of one point; raise ValueError where it makes none."""
    placeholders_in(text, PLACEHOLDERS)
    _check_levels(text)
    return text


def check_point_topics(text: str) -> str:
    """Return a template for the topics of all points; raise ValueError where two would have the same."""
    fields = placeholders_in(text, PLACEHOLDERS)
    _check_levels(text)
    if "point" not in fields:
        raise ValueError("needs {point}, or all points of an asset would have the same topic")
    _check_asset_is_named(fields)
    return text


def check_asset_topics(text: str) -> str:
    """Return a template for the topics of all assets; raise ValueError where two would have the same."""
    fields = placeholders_in(text, PLACEHOLDERS)
    if "point" in fields:
        raise ValueError("is the topic of a whole asset: {point} has no place in it")
    _check_levels(text)
    _check_asset_is_named(fields)
    return text


def check_prefix(prefix: str) -> str:
    """Return what topics begin with; raise ValueError where none can."""
    if any(mark in prefix for mark in "+#"):
        raise ValueError("a topic prefix has no wildcards")
    if not prefix.isprintable():
        raise ValueError("a topic prefix has printable characters only: brokers hang up at others")
    levels = prefix.split("/")
    if not all(levels) or any(level.startswith("$") for level in levels):
        raise ValueError(
            'a topic prefix looks like gw/v1: no level starts with "$", no "/" at either end or twice'
        )
    return prefix


def _check_levels(text: str) -> None:
    for level in text.split("/"):
        if not level:
            raise ValueError("has an empty level: no slash at either end, and no two in a row")
        if level[0] == "$" or any(mark in level for mark in "+#"):
            raise ValueError("is a topic: it has no wildcard + or #, and no level that starts with $")
        check_level(level)


def _check_asset_is_named(fields: list[str]) -> None:
    if "tag" not in fields and "asset" not in fields:
        raise ValueError("needs {tag} or {asset}, or all assets would have the same topic")

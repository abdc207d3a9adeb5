"""`gateway points`: the register map and topic list to hand to the BMS engineer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.loading import add_config_argument, load
from gateway.errors import CommandError
from gateway.sinks.modbus_client.sink import ModbusClientConfig
from gateway.sinks.modbus_server.sink import ModbusServerConfig
from gateway.sinks.mqtt.sink import MqttConfig
from gateway.sinks.sparkplug.sink import MqttSparkplugConfig
from gateway.tools.document import SinkDescription, handover_document
from gateway.tools.register_map import register_map
from gateway.tools.register_map_text import csv_text, json_text, screen_table

if TYPE_CHECKING:
    import argparse

    from gateway.settings import SinkConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument(
        "--format",
        choices=("table", "csv", "json", "md"),
        default="table",
        help="md is a document to hand over; csv and json have every column, csv can be imported again "
        "(default: table)",
    )
    parser.add_argument(
        "--excel",
        choices=("point", "comma"),
        help="with --format csv: as an Excel with this decimal mark opens it by a double click",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the list; return the exit code."""
    if arguments.excel and arguments.format != "csv":
        raise CommandError("--excel is about --format csv; add that")
    settings, point_map = load(arguments.config)
    rows = register_map(point_map, topics=settings.mqtt_topics)
    match arguments.format:
        case "csv":
            text = csv_text(rows, excel=arguments.excel)
        case "json":
            text = json_text(rows)
        case "md":
            sinks = [_description(name, sink, settings.name) for name, sink in settings.sinks.items()]
            text = handover_document(rows, gateway=settings.name, sinks=sinks)
        case _:
            text = screen_table(rows)
    print(text, end="")
    return 0


def _description(name: str, sink: SinkConfig, gateway: str) -> SinkDescription:
    if isinstance(sink, MqttConfig):
        return SinkDescription(
            name,
            sink.type,
            address=str(sink.url),
            topics=sink.topics(gateway),
            payload=sink.payload,
            history=sink.history,
        )
    if isinstance(sink, MqttSparkplugConfig):
        node = sink.node_name(gateway)
        return SinkDescription(
            name,
            sink.type,
            address=str(sink.url),
            group=node.group,
            node=node.node,
            primary_host=sink.primary_host,
        )
    if isinstance(sink, ModbusClientConfig):
        return SinkDescription(
            name, sink.type, address=sink.line, transport=sink.wire, functions=sink.functions
        )
    if isinstance(sink, ModbusServerConfig):
        return SinkDescription(name, sink.type, address=sink.place, access=sink.access)
    return SinkDescription(name, sink.type)

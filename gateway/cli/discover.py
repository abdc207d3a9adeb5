"""`gateway discover`: drafts a point table from Infodeck's assets and types and from telemetry seen.

It uses Infodeck's API (infodeck.api_key) or, without it, the journal. Assets that the tables map already are
left out.

    gateway discover -c config/gateway.yaml -o mappings/draft.yaml

Exit code 0: drafted, or there is nothing to draft; 1: nothing is known to draft from, or the draft cannot be
written.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.discover_sources import DiscoverSources
from gateway.cli.loading import add_config_argument, refusal
from gateway.cli.table_file import check_name, write_table
from gateway.errors import CommandError
from gateway.mapping.topics import check_level
from gateway.settings import load_settings
from gateway.text import unknown_name
from gateway.tools.discover import discover
from gateway.tools.existing_tables import TableFolder

if TYPE_CHECKING:
    import argparse

    from gateway.settings import Settings
    from gateway.tools.discover import Discovery
    from gateway.tools.draft_points import Evidence

_MOST_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_argument(parser)
    parser.add_argument(
        "--type", action="append", default=[], metavar="ID", help="only assets of this type; may be repeated"
    )
    parser.add_argument(
        "--asset", action="append", default=[], metavar="ID", help="only this asset; may be repeated"
    )
    parser.add_argument(
        "--all", action="store_true", help="also assets that the tables map already, for a folder of its own"
    )
    parser.add_argument(
        "--offline",
        action="store_true",
        help="use the journal alone, with the last answers of Infodeck's API",
    )
    parser.add_argument("--site", help="the building, part of every topic; default: that of the tables")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="TABLE.yaml", help="a new file; default: print the table"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write or print the draft, and print on stderr what is not in it; return 0, also without a draft."""
    document = load_settings(arguments.config)
    if document.problems:
        raise refusal(document.problems, document.file)
    settings = document.require()
    _check_output(arguments.output, settings, is_alone=arguments.all)
    sources = DiscoverSources()
    sources.read_journal(settings)
    if not arguments.offline:
        sources.ask_infodeck(settings.infodeck)
    for note in sources.notes:
        print(f"note: {note}", file=sys.stderr)
    evidence = sources.evidence()
    _check_evidence(evidence, settings, is_live=sources.is_live)
    folder = TableFolder(
        folder=settings.mappings,
        is_ignored=arguments.all,
        sinks={name: sink.type for name, sink in settings.sinks.items()},
        topics=settings.mqtt_topics,
        limits=settings.write_limits,
        snapshot=sources.snapshot,
    )
    discovery = discover(
        evidence,
        folder,
        organization=settings.infodeck.organization,
        assets=_chosen_assets(arguments, evidence),
        site=_site(arguments.site),
    )
    if discovery.problems:
        raise refusal([*discovery.problems], document.file)
    _print_notes(discovery, is_alone=arguments.all)
    if discovery.text is not None:
        _show(discovery, discovery.text, arguments.output, arguments.config)
    return 0


def _check_output(output: Path | None, settings: Settings, *, is_alone: bool) -> None:
    """Refuse a file that could not be written, before anything is requested."""
    if output is None:
        return
    check_name(output)
    if output.exists():
        raise CommandError(f"{output} is there already; take another name")
    is_beside = output.resolve().parent == settings.mappings.resolve()
    if is_alone and is_beside and any(settings.mappings.glob("*.yaml")):
        raise CommandError(
            f"{output}: with --all the draft has assets that the tables there have, too: take a folder of"
            " its own"
        )


def _check_evidence(evidence: Evidence, settings: Settings, *, is_live: bool) -> None:
    if evidence.assets or evidence.unlisted:
        return
    if is_live:
        organization = settings.infodeck.organization
        raise CommandError(f"Infodeck lists no asset of {organization}: check infodeck.organization")
    raise CommandError(
        "nothing is known of any asset: set infodeck.api_key, or let the gateway run until some have reported"
    )


def _chosen_assets(arguments: argparse.Namespace, evidence: Evidence) -> set[str] | None:
    assets = evidence.assets
    types = {one.asset_type for one in assets.values() if one.asset_type is not None}
    for name in arguments.type:
        if name not in types:
            raise CommandError(f"--type {name}: {unknown_name('asset type', name, types)}")
    for asset in arguments.asset:
        if asset not in assets and asset not in evidence.unlisted:
            raise CommandError(f"--asset {asset}: {unknown_name('asset', asset, assets)}")
    if not arguments.asset and not arguments.type:
        return None
    return {*arguments.asset, *(one.id for one in assets.values() if one.asset_type in arguments.type)}


def _site(written: str | None) -> str | None:
    try:
        return None if written is None else check_level(written)
    except ValueError as error:
        raise CommandError(f"--site {written}: {error}") from error


def _print_notes(discovery: Discovery, *, is_alone: bool) -> None:
    """Print what is not in the draft, and why."""
    notes = [f"{_assets(discovery.mapped)} in the tables already"] if discovery.mapped else []
    left_out = [] if discovery.draft is None else discovery.draft.left_out
    if discovery.text is None:
        notes += [f"{one.asset}: {one.reason}" for one in left_out[:_MOST_SHOWN]]
        if (more := len(left_out) - _MOST_SHOWN) > 0:
            notes.append(f"{_assets(more)} left out besides, for such reasons")
        notes.append("nothing to draft")
    elif left_out:
        notes.append(f"{_assets(len(left_out))} left out: the end of the draft says why")
    if discovery.text is not None and is_alone:
        notes.append("drafted as if there were no tables, for a folder of its own")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _show(discovery: Discovery, text: str, output: Path | None, config: Path) -> None:
    if output is None:
        print(text, end="")
        return
    write_table(output, text)
    count = len(discovery.draft.assets) if discovery.draft is not None else 0
    print(
        f"{output}: {count} asset{'' if count == 1 else 's'}; edit it, then run `gateway check -c {config}`"
    )


def _assets(count: int) -> str:
    return f"{count} asset{' is' if count == 1 else 's are'}"

"""`gateway discover`: drafts a point table from Infodeck's assets and types and from telemetry seen.

It asks Infodeck's API (infodeck.api_key), or takes what the journal remembers. What the tables have already
is left out.

    gateway discover -c config/gateway.yaml -o mappings/draft.yaml

Exit code 0: drafted, or there is nothing to draft; 1: nothing is known to draft from, or the draft cannot be
written.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.discover_evidence import gather
from gateway.cli.loading import add_config_argument, refusal
from gateway.cli.table_file import check_name, write_table
from gateway.errors import CommandError
from gateway.mapping.topics import check_level
from gateway.settings import load_settings
from gateway.text import unknown_name
from gateway.tools.discover.discovery import Wanted, discover
from gateway.tools.discover.present import Surroundings

if TYPE_CHECKING:
    import argparse

    from gateway.cli.discover_evidence import Gathered
    from gateway.records import AssetSnapshot
    from gateway.settings import Settings
    from gateway.tools.discover.discovery import Discovery
    from gateway.tools.discover.evidence import Evidence

_MOST_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_config_argument(parser)
    parser.add_argument(
        "--type", action="append", default=[], metavar="ID", help="only assets of this type; may be repeated"
    )
    parser.add_argument(
        "--asset", action="append", default=[], metavar="ID", help="only this asset; may be repeated"
    )
    parser.add_argument(
        "--all", action="store_true", help="also what the tables map already, for a folder of its own"
    )
    parser.add_argument(
        "--offline", action="store_true", help="do not ask Infodeck's API: the journal remembers what it said"
    )
    parser.add_argument("--site", help="the building, part of every topic; default: that of the tables")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="TABLE.yaml", help="a new file; default: print the table"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write or print the draft, and tell stderr what is not in it; return 0, also with nothing to draft."""
    document = load_settings(arguments.config)
    if document.problems:
        raise refusal(document.problems, document.file)
    settings = document.require()
    output: Path | None = arguments.output
    _check(output, settings, is_alone=arguments.all)
    gathered = gather(settings, is_offline=arguments.offline)
    for note in gathered.notes:
        print(f"note: {note}", file=sys.stderr)
    _require_something(gathered, settings)
    wanted = _wanted(arguments, settings, gathered.evidence)
    surroundings = _surroundings(settings, gathered.snapshot, is_alone=arguments.all)
    discovery = discover(gathered.evidence, surroundings, wanted)
    if discovery.problems:
        raise refusal([*discovery.problems], document.file)
    _tell(discovery, is_alone=arguments.all)
    if discovery.text is not None:
        _show(discovery, discovery.text, output, arguments.config)
    return 0


def _check(output: Path | None, settings: Settings, *, is_alone: bool) -> None:
    """Refuse, before anything is asked, where the draft could not be written."""
    if output is None:
        return
    check_name(output)
    if output.exists():
        raise CommandError(f"{output} is there already; take another name")
    if (
        is_alone
        and output.resolve().parent == settings.mappings.resolve()
        and any(settings.mappings.glob("*.yaml"))
    ):
        raise CommandError(
            f"{output}: with --all the draft has assets that the tables there have, too: take a folder of"
            " its own"
        )


def _require_something(gathered: Gathered, settings: Settings) -> None:
    if gathered.evidence.assets or gathered.evidence.unlisted:
        return
    if gathered.is_live:
        organization = settings.infodeck.organization
        raise CommandError(f"Infodeck lists no asset of {organization}: check infodeck.organization")
    raise CommandError(
        "nothing is known of any asset: set infodeck.api_key, or let the gateway run until some have reported"
    )


def _wanted(arguments: argparse.Namespace, settings: Settings, evidence: Evidence) -> Wanted:
    assets = evidence.assets
    types = {one.asset_type for one in assets.values() if one.asset_type is not None}
    for name in arguments.type:
        if name not in types:
            raise CommandError(f"--type {name}: {unknown_name('asset type', name, types)}")
    for asset in arguments.asset:
        if asset not in assets and asset not in evidence.unlisted:
            raise CommandError(f"--asset {asset}: {unknown_name('asset', asset, assets)}")
    chosen = {*arguments.asset, *(one.id for one in assets.values() if one.asset_type in arguments.type)}
    is_all = not arguments.asset and not arguments.type
    return Wanted(
        organization=settings.infodeck.organization,
        assets=None if is_all else frozenset(chosen),
        site=_site(arguments.site),
    )


def _site(written: str | None) -> str | None:
    try:
        return None if written is None else check_level(written)
    except ValueError as error:
        raise CommandError(f"--site {written}: {error}") from error


def _surroundings(settings: Settings, snapshot: AssetSnapshot | None, *, is_alone: bool) -> Surroundings:
    return Surroundings(
        folder=settings.mappings,
        is_alone=is_alone,
        sinks={name: sink.type for name, sink in settings.sinks.items()},
        topics=settings.mqtt_topics,
        limits=settings.write_limits,
        snapshot=snapshot,
    )


def _tell(discovery: Discovery, *, is_alone: bool) -> None:
    """Say on stderr what is not in the draft, and why."""
    if discovery.mapped:
        print(f"note: {_assets(discovery.mapped)} in the tables already", file=sys.stderr)
    left_out = () if discovery.proposal is None else discovery.proposal.left_out
    if discovery.text is None:
        for one in left_out[:_MOST_SHOWN]:
            print(f"note: {one.asset}: {one.reason}", file=sys.stderr)
        if (more := len(left_out) - _MOST_SHOWN) > 0:
            print(f"note: {_assets(more)} left out besides, for such reasons", file=sys.stderr)
        print("note: nothing to draft", file=sys.stderr)
    elif left_out:
        print(f"note: {_assets(len(left_out))} left out: the end of the draft says why", file=sys.stderr)
    if discovery.text is not None and is_alone:
        print("note: drafted as if there were no tables, for a folder of its own", file=sys.stderr)


def _show(discovery: Discovery, text: str, output: Path | None, config: Path) -> None:
    if output is None:
        print(text, end="")
        return
    write_table(output, text)
    count = len(discovery.proposal.assets) if discovery.proposal is not None else 0
    print(
        f"{output}: {count} asset{'' if count == 1 else 's'}; edit it, then run `gateway check -c {config}`"
    )


def _assets(count: int) -> str:
    return f"{count} asset{' is' if count == 1 else 's are'}"

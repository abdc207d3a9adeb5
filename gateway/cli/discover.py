"""`gateway discover`: drafts a point table from Infodeck's assets and types and from telemetry seen.

It uses Infodeck's API (infodeck.api_key) or, without it, the journal. Assets that the tables map already are
left out.

    gateway discover -c config/gateway.yaml -o mappings/draft.yaml

Exit code 0: drafted, or there is nothing to draft; 1: nothing is known to draft from, or the draft cannot be
written.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.discover_sources import gather_evidence
from gateway.cli.loading import add_config_argument, inputs_of
from gateway.cli.table_file import check_name, write_table
from gateway.errors import CommandError
from gateway.mapping.topics import check_level
from gateway.settings import load_settings
from gateway.text import count_text, unknown_name
from gateway.tools.discover import discover

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Iterator, Mapping

    from gateway.records import KnownAsset
    from gateway.settings import Settings
    from gateway.tools.discover import Draft


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
    settings = load_settings(arguments.config).require()
    output: Path | None = arguments.output
    _check_options(arguments, settings)
    evidence, notes = gather_evidence(settings, is_offline=arguments.offline)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if not evidence.snapshot.assets:
        raise CommandError(
            f"no asset of {settings.infodeck.organization} is known: check infodeck.organization and"
            " infodeck.api_key, or let the gateway run until some have reported"
        )
    draft = discover(
        evidence,
        inputs_of(settings, evidence.snapshot),
        organization=settings.infodeck.organization,
        assets=_chosen_assets(arguments, evidence.snapshot.assets),
        site=arguments.site,
        ignore_tables=arguments.all,
    )
    for note in _notes(draft):
        print(f"note: {note}", file=sys.stderr)
    if draft.text is not None and output is not None:
        write_table(output, draft.text)
        count = count_text(draft.assets, "asset")
        print(f"{output}: {count}; edit it, then run `gateway check -c {arguments.config}`")
    elif draft.text is not None:
        print(draft.text, end="")
    return 0


def _check_options(arguments: argparse.Namespace, settings: Settings) -> None:
    """Refuse a site or file that cannot be used, before anything is requested."""
    output: Path | None = arguments.output
    if arguments.site is not None:
        try:
            check_level(arguments.site)
        except ValueError as error:
            raise CommandError(f"--site {arguments.site}: {error}") from error
    if output is None:
        return
    check_name(output)
    if output.exists():
        raise CommandError(f"{output} is there already; take another name")
    is_beside = output.resolve().parent == settings.mappings.resolve()
    if arguments.all and is_beside and any(settings.mappings.glob("*.yaml")):
        raise CommandError(f"{output}: with --all the draft repeats the tables there: take another folder")


def _chosen_assets(arguments: argparse.Namespace, assets: Mapping[str, KnownAsset]) -> set[str] | None:
    """Return the ids of the assets that --type and --asset select, None without these."""
    types = {one.asset_type for one in assets.values() if one.asset_type is not None}
    known: dict[str, Collection[str]] = {"type": types, "asset": assets}
    for option, names in (("type", arguments.type), ("asset", arguments.asset)):
        for name in names:
            if name not in known[option]:
                raise CommandError(f"--{option} {name}: {unknown_name(option, name, known[option])}")
    if not arguments.asset and not arguments.type:
        return None
    return {*arguments.asset, *(one.id for one in assets.values() if one.asset_type in arguments.type)}


def _notes(draft: Draft) -> Iterator[str]:
    """Yield what is not in the draft, and why."""
    if draft.mapped:
        yield f"{count_text(draft.mapped, 'asset')} in the tables already"
    if draft.text is not None and draft.left_out:
        yield f"{count_text(len(draft.left_out), 'asset')} left out: the end of the draft says why"
    if draft.text is None:
        for reason, number in Counter(draft.left_out.values()).items():
            yield f"{count_text(number, 'asset')} left out: {reason}"
        yield "nothing to draft"

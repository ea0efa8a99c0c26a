"""The command `export`: which objects to export, and where the files go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.cli.params.kinds import KIND_NAMES
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply import Invocation

_MAX_RANGE_SIZE = 1_000_000


@manual_command(
    "export",
    examples=[
        ("synapse-apply export -t prod", "Storages, and plugins where they can be listed."),
        ("synapse-apply export -t prod --codes codes.txt", "Plugins by a file of their codes."),
        ("synapse-apply export -t prod --ids plugin=1-400", "Every plugin with such an id."),
        ("synapse-apply export -t prod --from-jobs --releases all", "Plugins that jobs name."),
        ("synapse-apply export -t prod --unmanaged", "Only what the state does not record."),
        ("synapse-apply import -t prod -f inventory.yaml", "Then take them into the state."),
    ],
    exits=[
        ("0", "written"),
        ("1", "error: nothing was written"),
        ("3", "written, but objects or fields were left out; each is listed with the reason"),
    ],
)
@options.add_json_options
@options.add_target_options
@click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("manifests"),
    show_default=True,
    metavar="DIR",
    help="Write the manifests to this folder: plugins/NAME.yaml and so on, a file each.",
)
@click.option(
    "--inventory",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write addresses and ids to this file; by default inventory.yaml beside DIR.",
)
@click.option(
    "--only", multiple=True, type=click.Choice(KIND_NAMES), help="Only this kind; may be repeated."
)
@click.option(
    "--codes",
    "codes_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The plugins with these codes, one a line.",
)
@click.option(
    "--ids",
    multiple=True,
    metavar="KIND=IDS",
    help="Objects by id, as plugin=1-400 or release=7,9; may be repeated. Ids of a range "
    "that do not exist are skipped.",
)
@click.option("--from-jobs", is_flag=True, help="The plugins that jobs name.")
@click.option(
    "--releases",
    type=click.Choice(["newest", "all", "none"]),
    default="newest",
    show_default=True,
    help="Which releases of each plugin.",
)
@click.option("--unmanaged", is_flag=True, help="Only what the state does not record.")
@click.option("--force", is_flag=True, help="Replace files that are there with other content.")
@options.add_parallelism_option
def command(
    *,
    console: Console,
    invocation: Invocation,
    folder: Path,
    inventory: Path | None,
    only: tuple[str, ...],
    codes_file: Path | None,
    ids: tuple[str, ...],
    from_jobs: bool,
    releases: str,
    unmanaged: bool,
    force: bool,
) -> int:
    """Write live objects as manifests, and an inventory for `import -f`.

    Only reads; changes neither the backend nor the state. Secrets become
    `valueFrom: {live: true}`: no value is written anywhere. In free-form fields, what looks like a
    secret becomes `valueFrom: {env: NAME}` and is named in `lifecycle.sensitive`; each is listed.
    Published releases become `source: published`. What a manifest cannot hold is left out and
    listed, with the reason.

    The backend is asked whether it lists plugins. Where it does not, say which ones by --codes,
    --ids or --from-jobs. The same objects give the same files, so that an export
    can be compared with an earlier one.
    """
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.params.input_files import read_listed_lines
    from synapse_apply.cli.texts.export import build_export_document, print_exported_files

    if "-" in {str(folder), str(inventory)}:
        raise click.UsageError(
            "an export is many files; name a folder, and a file for --inventory."
        )
    with open_command_target(invocation) as target:
        exported_files = target.live.export_manifests(
            folder,
            inventory=inventory,
            only=only,
            codes=read_listed_lines(codes_file, "--codes") if codes_file else (),
            ids=_parse_ids(ids),
            from_jobs=from_jobs,
            releases=releases,
            unmanaged=unmanaged,
            force=force,
        )
    if console.as_json:
        console.write_or_keep_document(build_export_document(exported_files))
    else:
        print_exported_files(console, invocation, exported_files)
    return Exit.OK if exported_files.report.is_complete else Exit.INCOMPLETE


def _parse_ids(texts: tuple[str, ...]) -> dict[str, list[str | range]]:
    """Ids and ranges of ids by kind; a usage error for a malformed option."""
    ids_by_kind: dict[str, list[str | range]] = {}
    for text in texts:
        kind, separator, id_list = text.partition("=")
        if not separator or kind not in KIND_NAMES:
            raise click.UsageError(f"--ids takes KIND=IDS, such as plugin=1-400, not {text!r}.")
        for id_text in id_list.split(","):
            range_match = re.fullmatch(r"\s*(\d{1,18})\s*-\s*(\d{1,18})\s*", id_text)
            if range_match is None:
                if not id_text.strip():
                    raise click.UsageError(f"--ids {text}: an id is missing.")
                ids_by_kind.setdefault(kind, []).append(id_text.strip())
                continue
            first, last = int(range_match[1]), int(range_match[2])
            if not first <= last < first + _MAX_RANGE_SIZE:
                raise click.UsageError(f"--ids {text}: {id_text.strip()} is not a range of ids.")
            ids_by_kind.setdefault(kind, []).append(range(first, last + 1))
    return ids_by_kind

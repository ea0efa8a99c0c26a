"""The command `export`: which objects to export, and where the files go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.files.checkout import read_command_line_file
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.diagnostic import format_json_pointer
from synapse_apply.model.errors import Exit, InputError

if TYPE_CHECKING:
    from synapse_apply.live.discovery import NamedObject
    from synapse_apply.operations.export import ExportReport
    from synapse_apply.workspace.invocation import Invocation

_MAX_RANGE_SIZE = 1_000_000
_KIND_NAMES = tuple(sorted(CATALOGUE))


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
    "--only", multiple=True, type=click.Choice(_KIND_NAMES), help="Only this kind; may be repeated."
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
    help="Objects by id, as plugin=1-400 or release=7,9; may be repeated. What a range lacks is "
    "passed over.",
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

    Plugins are listed where this backend lists them, which it is asked. Where it does not, say
    which by --codes, --ids or --from-jobs. The same objects give the same files, so that an export
    can be compared with an earlier one.
    """
    from synapse_apply.cli.texts.export import format_next_steps, print_export_result
    from synapse_apply.live.discovery import GatherQuery
    from synapse_apply.live.live_backend import open_live_backend
    from synapse_apply.operations.export import export_live_objects, write_export_files

    if "-" in {str(folder), str(inventory)}:
        raise click.UsageError(
            "an export is many files; name a folder, and a file for --inventory."
        )
    query = GatherQuery(
        codes=_read_codes_file(codes_file) if codes_file else (),
        ids=_parse_id_options(ids),
        from_jobs=from_jobs,
        members=releases,
    )
    folder = invocation.directory / folder
    inventory_path = _choose_inventory_path(invocation, folder, inventory)
    with open_live_backend(invocation) as live_backend:
        export_report = export_live_objects(live_backend, query, only=only, unmanaged=unmanaged)
        export_result = write_export_files(export_report, folder, inventory_path, force=force)
        if console.as_json:
            console.write_document(_build_export_document(export_report, inventory_path))
        else:
            print_export_result(console, export_report, export_result)
            if export_report.objects and "SYNAPSE_APPLY_IN_AUTOMATION" not in console.environ:
                console.write_output(
                    format_next_steps(live_backend, export_report, folder, inventory_path)
                )
    has_left_out = any(entry.left_out_fields for entry in export_report.objects)
    return (
        Exit.INCOMPLETE
        if has_left_out or any(entry.is_failure for entry in export_report.missed_objects)
        else Exit.OK
    )


def _choose_inventory_path(
    invocation: Invocation, folder: Path, requested_path: Path | None
) -> Path:
    """The path of the inventory; InputError for one of the project's own files."""
    from synapse_apply.operations.protected_files import explain_protected_file

    inventory_path = (
        invocation.directory / requested_path
        if requested_path
        else folder.parent / "inventory.yaml"
    )
    if reason := explain_protected_file(inventory_path, invocation, inventory=True):
        raise InputError.from_summary(
            "The inventory cannot be written",
            f"{requested_path or inventory_path} {reason}; nothing was done.",
            "Choose another place with --inventory.",
        )
    return inventory_path


def _build_export_document(export_report: ExportReport, inventory: Path) -> dict[str, Any]:
    return {
        "exported": [
            {
                "address": str(entry.address),
                "id": entry.remote_id,
                "left_out": list(entry.left_out_fields),
                "secrets": [
                    {"path": format_json_pointer(secret.path), "env": secret.variable}
                    for secret in entry.secrets
                ],
            }
            for entry in export_report.objects
        ],
        "not_exported": [
            {"what": entry.label, "reason": entry.reason} for entry in export_report.missed_objects
        ],
        "inventory": str(inventory),
    }


def _read_codes_file(path: Path) -> tuple[str, ...]:
    """One code per line; blank lines and lines that start with # are skipped."""
    try:
        lines = read_command_line_file(path).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise click.UsageError(f"--codes {path} cannot be read as text, a code a line.") from None
    return tuple(code for line in lines if (code := line.strip()) and not code.startswith("#"))


def _parse_id_options(texts: tuple[str, ...]) -> dict[str, list[NamedObject]]:
    """Ids by kind; a usage error for a malformed option."""
    from synapse_apply.live.discovery import NamedObject

    objects_by_kind: dict[str, list[NamedObject]] = {}
    for text in texts:
        kind, separator, id_list = text.partition("=")
        if not separator or kind not in _KIND_NAMES:
            raise click.UsageError(f"--ids takes KIND=IDS, such as plugin=1-400, not {text!r}.")
        for id_text in id_list.split(","):
            range_match = re.fullmatch(r"\s*(\d{1,18})\s*-\s*(\d{1,18})\s*", id_text)
            if range_match is None:
                if not id_text.strip():
                    raise click.UsageError(f"--ids {text}: an id is missing.")
                objects_by_kind.setdefault(kind, []).append(NamedObject(id_text.strip()))
                continue
            first, last = int(range_match[1]), int(range_match[2])
            if not first <= last < first + _MAX_RANGE_SIZE:
                raise click.UsageError(f"--ids {text}: {id_text.strip()} is not a range of ids.")
            range_objects = (
                NamedObject(str(object_id), is_required=False)
                for object_id in range(first, last + 1)
            )
            objects_by_kind.setdefault(kind, []).extend(range_objects)
    return objects_by_kind

"""The commands `import` and `export`: how objects that exist come into the state and the files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply import cli
from synapse_apply.cli import options, typed
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.options import option
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.model.diagnostic import Diagnostic


@manual_command(
    "import",
    examples={
        "import plugin/yolo 42": "Record the plugin with id 42 as plugin/yolo.",
        "import -f inventory.yaml": "Record all objects of an inventory, or none if one fails.",
    },
    exits={"0": "recorded", "1": "an object does not exist, or an address is already taken"},
)
@options.use("json", "target", "variables")
@click.argument("name", type=typed.DECLARED_NAME, required=False, metavar="ADDRESS")
@click.argument("remote_id", metavar="ID", required=False)
@option(
    "-f, --file INVENTORY",
    "Import all objects in a file that `export` wrote or `state show --inventory` printed.",
    name="inventory",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@option("--no-bytes", "Do not read published bytes. You can read them later with `verify --bytes`.")
@options.use("parallelism", "lock_timeout")
def import_(
    *,
    console: Console,
    invocation: Invocation,
    name: str | None,
    remote_id: str | None,
    inventory: Path | None,
    no_bytes: bool,
) -> int:
    """Record existing objects in the state: their ids and their current values.

    The command does not change the objects. If the backend can return the bytes of a release, the
    command reads them and records their digest. The next plan shows how the objects differ from
    their manifests.
    """
    if (inventory is None) == (name is None or remote_id is None):
        raise click.UsageError("Give ADDRESS and ID, or -f INVENTORY.")
    ids = Path.cwd() / inventory if inventory else {str(name): str(remote_id)}
    warnings: list[Diagnostic] = []
    with options.open_target(invocation) as target:
        records = target.import_objects(ids, read_bytes=not no_bytes, warn=warnings.append)
    console.write_findings(warnings)
    lines = [f"Imported {record.address} (id {record.remote_id}).\n" for record in records]
    console.show(
        {"imported": [cli.documents.record_document(record) for record in records]},
        f"{''.join(lines)}\nImport complete! Resources: {len(records)} imported.\n",
    )
    return 0


_KIND_NAMES = typed.list_kinds()
_MAX_RANGE_SIZE = 1_000_000


@manual_command(
    "export",
    examples={
        "export -t prod": "Export storages, and plugins if the backend lists them.",
        "export -t prod --codes codes.txt": "Export the plugins whose codes are in a file.",
        "export -t prod --ids plugin=1-400": "Export every plugin with an id in this range.",
        "export -t prod --from-jobs --releases all": (
            "Export the plugins that jobs refer to, with all releases."
        ),
        "export -t prod --unmanaged": "Export only objects that the state does not record.",
        "import -t prod -f inventory.yaml": "Then record the exported objects in the state.",
    },
    exits={
        "0": "written",
        "1": "error: nothing was written",
        "3": "written, but objects or fields were left out; each is listed with the reason",
    },
)
@options.use("json", "target")
@option(
    "--out DIR",
    "Write the manifests to this folder, one file each, such as plugins/NAME.yaml.",
    name="folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("manifests"),
    show_default=True,
)
@option(
    "--inventory FILE",
    "Write addresses and ids to this file (default: inventory.yaml next to DIR).",
    type=click.Path(dir_okay=False, path_type=Path),
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(_KIND_NAMES),
    help="Export only this kind. Repeatable.",
)
@option(
    "--codes FILE",
    "Export the plugins with these codes. The file has one code per line.",
    name="codes_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@option(
    "--ids KIND=IDS",
    "Export objects by id, such as plugin=1-400 or release=7,9. Ids in a range that do not exist "
    "are skipped. Repeatable.",
    multiple=True,
)
@option("--from-jobs", "Export the plugins that jobs refer to.")
@click.option(
    "--releases",
    type=click.Choice(["newest", "all", "none"]),
    default="newest",
    show_default=True,
    help="Which releases of each plugin to export.",
)
@option("--unmanaged", "Export only objects that the state does not record.")
@option("--force", "Replace existing files that have different content.")
@options.use("parallelism")
def export(
    *,
    console: Console,
    invocation: Invocation,
    folder: Path,
    codes_file: Path | None,
    ids: tuple[str, ...],
    **selection: Any,
) -> int:
    """Write live objects as manifests, and an inventory for `import -f`.

    The command changes neither the backend nor the state. Secrets become `valueFrom: {live: true}`:
    no secret value is written. In free-form fields, a value that looks like a secret becomes
    `valueFrom: {env: NAME}` and is listed in `lifecycle.sensitive`; the command lists each one.
    Published releases become `source: published`. If a manifest cannot contain something, the
    command leaves it out and lists the reason.

    If the backend does not list its plugins, specify them with --codes, --ids or --from-jobs. The
    same objects always produce the same files, so you can compare an export with an earlier one.
    """
    if "-" in {str(folder), str(selection["inventory"])}:
        raise click.UsageError(
            "an export is many files: give a folder, and use --inventory for the inventory file."
        )
    with options.open_target(invocation) as target:
        exported_files = target.live.export_manifests(
            folder,
            codes=typed.read_codes(codes_file) if codes_file else (),
            ids=_parse_ids(ids),
            **selection,
        )
    cli.files.print_exported_files(console, invocation, exported_files)
    return Exit.OK if exported_files.report.is_complete else Exit.INCOMPLETE


def _parse_ids(texts: tuple[str, ...]) -> dict[str, list[str | range]]:
    """Ids and ranges of ids by kind; a usage error for a malformed option."""
    ids_by_kind: dict[str, list[str | range]] = {}
    for text in texts:
        kind, separator, id_list = text.partition("=")
        if not separator or kind not in _KIND_NAMES:
            raise click.UsageError(f"--ids needs KIND=IDS, such as plugin=1-400, not {text!r}.")
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

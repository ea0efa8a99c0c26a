"""`synapse-apply export`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual
from synapse_apply.files.checkout import read_named
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.diagnostic import pointer
from synapse_apply.model.errors import Exit, InputError

if TYPE_CHECKING:
    from synapse_apply.session.export import Export
    from synapse_apply.session.gather import Named
    from synapse_apply.session.where import Where

_MOST_IDS = 1_000_000
_KINDS = tuple(sorted(CATALOGUE))


@manual(
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
@options.output
@options.place
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
    "--only", multiple=True, type=click.Choice(_KINDS), help="Only this kind; may be repeated."
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
@options.parallelism
def command(
    *,
    face: Face,
    where: Where,
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
    """Turn what is live into manifests, and an inventory for `import -f`.

    Reads alone; changes neither the backend nor the state. Secrets become
    `valueFrom: {live: true}`: no value is written anywhere. In free-form fields, what looks like a
    secret becomes `valueFrom: {env: NAME}` and is named in `lifecycle.sensitive`; each is listed.
    Published releases become `source: published`. What a manifest cannot hold is left out and
    listed, with the reason.

    Plugins are listed where this backend lists them, which it is asked. Where it does not, say
    which by --codes, --ids or --from-jobs. The same objects give the same files, so that an export
    can be compared with an earlier one.
    """
    from synapse_apply.cli.exporting import following, show
    from synapse_apply.session.export import export, write
    from synapse_apply.session.gather import Wanted
    from synapse_apply.session.reach import open_backend

    if "-" in {str(folder), str(inventory)}:
        raise click.UsageError(
            "an export is many files; name a folder, and a file for --inventory."
        )
    wanted = Wanted(
        codes=_codes(codes_file) if codes_file else (),
        ids=_ids(ids),
        from_jobs=from_jobs,
        members=releases,
    )
    folder = where.directory / folder
    rows = _inventory(where, folder, inventory)
    with open_backend(where) as reach:
        made = export(reach, wanted, only=only, unmanaged=unmanaged)
        told = write(made, folder, rows, force=force)
        if face.as_json:
            face.document(_document(made, rows))
        else:
            show(face, made, told)
            if made.exported and "SYNAPSE_APPLY_IN_AUTOMATION" not in face.environ:
                face.out(following(reach, made, folder, rows))
    left_out = any(one.left_out for one in made.exported)
    return Exit.INCOMPLETE if left_out or any(one.failed for one in made.missed) else Exit.OK


def _inventory(where: Where, folder: Path, named: Path | None) -> Path:
    """Where the inventory goes; InputError for a file that is the project's own."""
    from synapse_apply.session.own_files import own

    rows = where.directory / named if named else folder.parent / "inventory.yaml"
    if why := own(rows, where, inventory=True):
        raise InputError.of(
            "The inventory cannot be written",
            f"{named or rows} {why}; nothing was done.",
            "Choose another place with --inventory.",
        )
    return rows


def _document(made: Export, inventory: Path) -> dict[str, Any]:
    return {
        "exported": [
            {
                "address": str(one.address),
                "id": one.remote_id,
                "left_out": list(one.left_out),
                "secrets": [
                    {"path": pointer(secret.path), "env": secret.variable} for secret in one.secrets
                ],
            }
            for one in made.exported
        ],
        "not_exported": [{"what": one.what, "reason": one.why} for one in made.missed],
        "inventory": str(inventory),
    }


def _codes(path: Path) -> tuple[str, ...]:
    """A code a line; empty lines and those that begin with # are passed over."""
    try:
        lines = read_named(path).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise click.UsageError(f"--codes {path} cannot be read as text, a code a line.") from None
    return tuple(code for line in lines if (code := line.strip()) and not code.startswith("#"))


def _ids(given: tuple[str, ...]) -> dict[str, list[Named]]:
    """Ids by kind; a usage error for what is none."""
    from synapse_apply.session.gather import Named

    found: dict[str, list[Named]] = {}
    for text in given:
        kind, equals, listed = text.partition("=")
        if not equals or kind not in _KINDS:
            raise click.UsageError(f"--ids takes KIND=IDS, such as plugin=1-400, not {text!r}.")
        for part in listed.split(","):
            ends = re.fullmatch(r"\s*(\d{1,18})\s*-\s*(\d{1,18})\s*", part)
            if ends is None:
                if not part.strip():
                    raise click.UsageError(f"--ids {text}: an id is missing.")
                found.setdefault(kind, []).append(Named(part.strip()))
                continue
            first, last = int(ends[1]), int(ends[2])
            if not first <= last < first + _MOST_IDS:
                raise click.UsageError(f"--ids {text}: {part.strip()} is no range of ids.")
            ranged = (Named(str(at), surely=False) for at in range(first, last + 1))
            found.setdefault(kind, []).extend(ranged)
    return found

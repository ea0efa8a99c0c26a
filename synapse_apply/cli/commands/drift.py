"""The command `drift`: which resources to look at, and the exit code with --detailed-exitcode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options, revision_options
from synapse_apply.cli.params.addresses import DECLARED_NAME
from synapse_apply.cli.params.removed_options import add_old_option, add_preflight_option

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.cli.reports import Reports


@manual_command(
    "drift",
    examples=[
        ("synapse-apply drift -t prod", "What somebody changed outside of Git."),
        ("synapse-apply drift -t prod --detailed-exitcode", "Nightly: exit code 2 means drift."),
        ("synapse-apply drift --unmanaged", "Also list live objects that are not managed."),
        ("synapse-apply drift --json", "For a program (`synapse-apply schema drift`)."),
        (
            "synapse-apply drift --write storage/raw-data",
            "Write the live values into the manifest, or the target's overlay.",
        ),
    ],
    exits=[
        ("0", "looked; with --write: the live values are in the manifests"),
        ("1", "error: something could not be looked at, or be written (no file was changed)"),
        ("2", "with --detailed-exitcode: there is drift"),
    ],
)
@options.add_json_options
@options.add_targets_option
@options.add_report_option
@revision_options.add_project_from_option
@options.add_file_option
@options.add_variable_options
@options.add_selection_options
@click.option(
    "--unmanaged", is_flag=True, help="Also list live objects that nothing declares or records."
)
@click.option(
    "--write",
    "written",
    type=DECLARED_NAME,
    multiple=True,
    metavar="ADDRESS",
    help="Write the live values of this resource into the manifests, with `*` of all that drifted; "
    "may be repeated.",
)
@add_old_option("--accept", "--write", type=DECLARED_NAME, multiple=True)
@click.option("--dry-run", is_flag=True, help="With --write: show the edits and write nothing.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there is drift.")
@add_preflight_option("drift")
@options.add_parallelism_option
def command(
    *,
    console: Console,
    invocation: Invocation,
    reports: Reports | None,
    only: tuple[str, ...],
    exclude: tuple[str, ...],
    unmanaged: bool,
    written: tuple[str, ...],
    accept: tuple[str, ...],
    dry_run: bool,
    detailed_exitcode: bool,
) -> int:
    """Show what was changed outside of Git; with --write, take it into the manifests.

    Compares live objects with what the server answered when they were last written: fields that
    are declared and not ignored. Changes in Git that are not applied yet are not drift; they are
    only counted. Takes no lock and writes to neither state nor server.

    With --write the live values are written into the manifests: where a value stands now, or,
    where several targets share the document, into this target's overlay. Comments and layout
    stay. All is checked before the first file is written. A secret is never written, and what a
    variable or a package's config.yaml gives is refused with the place to change.
    """
    from synapse_apply.cli.flows import drift_run

    names = (*written, *accept)
    if dry_run and not names:
        raise click.UsageError("--dry-run goes with --write.")
    if names:
        if only or exclude or unmanaged or detailed_exitcode or reports:
            raise click.UsageError(
                "--write edits files, of the addresses it names: it goes with no --only, "
                "--exclude, --unmanaged, --detailed-exitcode or --report."
            )
        return drift_run.write_and_print_drift(console, invocation, names, dry_run=dry_run)
    drift_options = drift_run.DriftOptions(only, exclude, unmanaged=unmanaged)
    return drift_run.report_drift(
        console, invocation, reports, drift_options, is_detailed=detailed_exitcode
    )

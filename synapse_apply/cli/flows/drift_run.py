"""What `drift` prints, and how it writes live values into the manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synapse_apply import Invocation
from synapse_apply.cli.console import Console
from synapse_apply.cli.flows.command_target import open_command_target
from synapse_apply.cli.params.invocation_options import list_location_options
from synapse_apply.cli.reports import Reports
from synapse_apply.model.command import name_target_in_commands
from synapse_apply.model.drift import Drift
from synapse_apply.model.errors import Exit
from synapse_apply.model.frozen import frozen
from synapse_apply.views.text.drift import drift_document, render_drift, render_written_edits


@frozen
class DriftOptions:
    """Which resources to look at, and whether to list unmanaged objects."""

    only: Sequence[str] = ()
    exclude: Sequence[str] = ()
    unmanaged: bool = False


def report_drift(
    console: Console,
    invocation: Invocation,
    reports: Reports | None,
    drift_options: DriftOptions,
    *,
    is_detailed: bool,
) -> int:
    """Print the drift and write the reports; returns the exit code."""
    with open_command_target(invocation) as target:
        drift_report = target.drift(
            only=drift_options.only,
            exclude=drift_options.exclude,
            unmanaged=drift_options.unmanaged,
        )
    if console.as_json:
        console.write_or_keep_document(drift_document(drift_report))
    else:
        printed_drift = replace(
            drift_report,
            diagnostics=name_target_in_commands(drift_report.diagnostics, console.typed_target),
        )
        console.write_output(
            render_drift(
                printed_drift,
                color=console.is_output_colored,
                width=console.terminal_width,
                location=list_location_options(invocation),
            )
        )
    code = _exit_code(drift_report, is_detailed=is_detailed)
    return reports.write_drift(drift_report, code) if reports else code


def _exit_code(drift_report: Drift, *, is_detailed: bool) -> int:
    if drift_report.has_errors:
        return Exit.ERROR
    return Exit.CHANGES if is_detailed and drift_report.objects else Exit.OK


def write_and_print_drift(
    console: Console, invocation: Invocation, names: Sequence[str], *, dry_run: bool
) -> int:
    """Write live values of the named resources into the files, and print the edits."""
    with open_command_target(invocation) as target:
        drift_report = target.write_drift(names, dry_run=dry_run)
    if console.as_json:
        console.write_or_keep_document(drift_document(drift_report))
    else:
        hints = "SYNAPSE_APPLY_IN_AUTOMATION" not in console.environ
        console.write_output(
            render_written_edits(
                drift_report,
                color=console.is_output_colored,
                is_written=not dry_run,
                show_hints=hints,
                location=list_location_options(invocation),
            )
        )
        written = {str(edit.address) for edit in drift_report.written_edits}
        console.write_findings(one for one in drift_report.diagnostics if one.address in written)
    return Exit.OK

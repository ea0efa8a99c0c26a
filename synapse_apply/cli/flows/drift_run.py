"""`drift`: looking at what was changed outside, and taking it over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synapse_apply.cli.console import Console
from synapse_apply.cli.params.invocation_options import format_location_options
from synapse_apply.cli.reports import Reports
from synapse_apply.model.command import add_target_to_findings
from synapse_apply.model.drift import Drift
from synapse_apply.model.errors import Exit
from synapse_apply.model.frozen import frozen
from synapse_apply.operations.accept_drift import write_live_values as accept_drift
from synapse_apply.operations.drift import build_drift_options, find_drift
from synapse_apply.operations.plan import plan as make_plan
from synapse_apply.views.text.drift import drift_document, render_accepted_edits, render_drift
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.selection import choose_addresses, select_addresses
from synapse_apply.workspace.target_session import open_context


@frozen
class DriftOptions:
    """What is looked at."""

    only: Sequence[str] = ()
    exclude: Sequence[str] = ()
    unmanaged: bool = False


def show_drift(
    console: Console,
    invocation: Invocation,
    reports: Reports | None,
    drift_options: DriftOptions,
    *,
    is_detailed: bool,
) -> int:
    """Show the drift; gives the exit code."""
    with open_context(invocation, read_only=True) as session:
        plan_options = build_drift_options(
            select_addresses(session, drift_options.only, drift_options.exclude)
        )
        drift_report = find_drift(
            session, make_plan(session, plan_options), unmanaged=drift_options.unmanaged
        )
    if console.as_json:
        console.write_document(drift_document(drift_report))
    else:
        printed_drift = replace(
            drift_report,
            diagnostics=add_target_to_findings(drift_report.diagnostics, console.typed_target),
        )
        location_options = format_location_options(invocation)
        console.write_output(
            render_drift(
                printed_drift,
                color=console.is_output_colored,
                width=console.terminal_width,
                options=location_options,
            )
        )
    code = _choose_exit_code(drift_report, is_detailed=is_detailed)
    return reports.write_drift(drift_report, code) if reports else code


def _choose_exit_code(drift_report: Drift, *, is_detailed: bool) -> int:
    if drift_report.has_errors:
        return Exit.ERROR
    return Exit.CHANGES if is_detailed and drift_report.objects else Exit.OK


def accept_live_values(
    console: Console, invocation: Invocation, names: Sequence[str], *, write: bool
) -> int:
    """Take live values over into the files, and say what was edited."""
    with open_context(invocation, read_only=True) as session:
        plan_result = make_plan(session, build_drift_options(None))
        drift_report = find_drift(session, plan_result)
        drifted_addresses = {
            object_drift.address
            for object_drift in drift_report.objects
            if not object_drift.is_missing
        }
        addresses = choose_addresses(session, names, drifted_addresses.__contains__, "has drifted")
        drift_report = accept_drift(
            invocation, session, plan_result, drift_report, addresses, write=write
        )
    if console.as_json:
        console.write_document(drift_document(drift_report))
    else:
        hints = "SYNAPSE_APPLY_IN_AUTOMATION" not in console.environ
        location_options = format_location_options(invocation)
        console.write_output(
            render_accepted_edits(
                drift_report,
                color=console.is_output_colored,
                is_written=write,
                show_hints=hints,
                options=location_options,
            )
        )
    return Exit.OK

"""What `plan --out`, `show FILE` and `drift` print, and how drift is written into the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synapse_apply import cli
from synapse_apply.cli.console import Console
from synapse_apply.cli.options import list_location_options, open_target
from synapse_apply.model.command import Command, name_target_in_commands
from synapse_apply.model.errors import Exit
from synapse_apply.model.frozen import replace
from synapse_apply.views.text.plan import render_plan

if TYPE_CHECKING:
    from synapse_apply import Invocation, OpenTarget
    from synapse_apply.cli.reports import Reports
    from synapse_apply.model.plan import Plan


def print_plan(console: Console, plan: Plan, *, show_unchanged: bool) -> None:
    """Print a plan as its document or as text."""
    if console.as_json:
        console.write_or_keep_document(cli.documents.plan_document(plan))
        return
    console.write_output(render_plan(plan, **console.layout, show_unchanged=show_unchanged))


def save_and_describe(
    console: Console, invocation: Invocation, target: OpenTarget, plan: Plan, out: Path
) -> str:
    """Save a plan that has no errors; returns the text to print after the plan was shown."""
    if plan.has_errors:
        return f"\nThe plan was not saved to {out}: it has errors.\n"
    save_result = target.save_plan(plan, out)
    signature_text = "" if save_result.is_signed else ", unsigned: there is no state key"
    message = f"\nSaved the plan to {out}{signature_text}.\n"
    if any(one.ends_by_itself for row in plan.refused_changes for one in row.refusals):
        message += "Refused rows stay refused in this plan. Resolve them, then plan again.\n"
    is_usable = bool(plan.actionable_changes) or not plan.refused_changes
    if is_usable and console.shows_hints:
        # With the options that `apply` needs in order to use the same target and manifests.
        option_values = {
            "-t": invocation.target,
            "--project-from": f"git:{invocation.project_from}" if invocation.project_from else "",
            "--ref": invocation.as_of,
        }
        repeated = [word for pair in option_values.items() if pair[1] for word in pair]
        command = Command("apply", *list_location_options(invocation), *repeated, out)
        message += f"Apply it with {command}.\n"
    return message


def report_saved_plan(
    console: Console,
    invocation: Invocation,
    path: Path,
    reports: Reports | None,
    *,
    show_unchanged: bool,
) -> int:
    """Print a saved plan as `plan` did, with warnings of known changes; returns the exit code."""
    with open_target(invocation) as target:
        plans = target.read_saved_plan(path)
        findings = target.find_changes_since(plans)
    saved_plan, plan = plans.united_plan, plans.united_plan.plan
    print_plan(console, plan, show_unchanged=show_unchanged)
    if not console.as_json:
        mac = saved_plan.mac
        signature_text = f"signed with state key {mac.key_id}" if mac else "not signed"
        console.write_stderr(f"\nPlan {plan.id}, created at {plan.created}, {signature_text}.\n")
    # The commands are for the target of the plan, whatever the default is.
    target_name = invocation.target or plan.base.target
    console.write_findings(name_target_in_commands(tuple(findings), target_name))
    # It is the plan that is reported: a comment takes the place of the plan's own.
    return replace(reports, command="plan").write_plan(plan, Exit.OK) if reports else Exit.OK


def report_drift(
    console: Console,
    invocation: Invocation,
    reports: Reports | None,
    *,
    is_detailed: bool,
    **selection: Any,
) -> int:
    """Print the drift and write the reports; returns the exit code."""
    with open_target(invocation) as target:
        drift_report = target.drift(**selection)
    if console.as_json:
        console.write_or_keep_document(cli.documents.drift_document(drift_report))
    else:
        named = console.name_target(drift_report.diagnostics)
        location = list_location_options(invocation)
        shown = replace(drift_report, diagnostics=named)
        console.write_output(cli.drift.render_drift(shown, **console.layout, location=location))
    code = Exit.OK
    if drift_report.has_errors:
        code = Exit.ERROR
    elif is_detailed and drift_report.objects:
        code = Exit.CHANGES
    return reports.write_drift(drift_report, code) if reports else code


def write_and_print_drift(
    console: Console, invocation: Invocation, names: Sequence[str], *, dry_run: bool
) -> int:
    """Write live values of the named resources into the files, and print the edits."""
    with open_target(invocation) as target:
        drift_report = target.write_drift(names, dry_run=dry_run)
    if console.as_json:
        console.write_or_keep_document(cli.documents.drift_document(drift_report))
    else:
        text = cli.drift.render_written_edits(
            drift_report,
            color=console.is_output_colored,
            is_written=not dry_run,
            show_hints=console.shows_hints,
            location=list_location_options(invocation),
        )
        console.write_output(text)
        written = {str(edit.address) for edit in drift_report.written_edits}
        console.write_findings(one for one in drift_report.diagnostics if one.address in written)
    return Exit.OK

"""The command `plan`: which options go together, and how a plan is printed and saved."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options, revision_options
from synapse_apply.cli.params.removed_options import add_preflight_option, add_removed_option
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply import Invocation, OpenTarget
    from synapse_apply.cli.flows.plan_destination import PlanDestination
    from synapse_apply.cli.reports import Reports
    from synapse_apply.model.plan import Plan
    from synapse_apply.views.text.progress import Display


@manual_command(
    "plan",
    examples=[
        ("synapse-apply plan", "What apply would do on the only target."),
        ("synapse-apply plan -t prod --detailed-exitcode", "In CI: exit code 2 means changes."),
        ("synapse-apply plan --only storage --exclude team=vision", "Only a part of it."),
        ("synapse-apply plan --json > plan.json", "The plan for a program, complete on any exit."),
        ("synapse-apply plan --out next.plan", "Save it: `apply next.plan` does just that."),
        (
            "synapse-apply plan -t prod --server-dry-run",
            "What the backend would refuse, before anything is done.",
        ),
        ("synapse-apply plan --report markdown=plan.md", "Also as a comment for a pull request."),
        (
            "synapse-apply plan --offline --against git:refs/remotes/origin/main",
            "For a pull request from a fork: no credentials, no backend.",
        ),
        ("synapse-apply plan -t 'prod-*'", "A plan for each of them, and the worst exit code."),
        ("synapse-apply plan -t 'tier=gold,*-eu'", "Of those with this label, whose name ends so."),
        ("synapse-apply plan --ref v1.2.0", "What going back to that tag would do."),
    ],
    exits=[
        ("0", "planned"),
        ("1", "error; what could be planned is shown"),
        ("2", "with --detailed-exitcode: there are changes or refusals"),
    ],
)
@options.add_json_options
@options.add_targets_option
@options.add_report_option
@revision_options.add_project_from_option
@revision_options.add_ref_option
@revision_options.add_offline_option
@revision_options.add_against_option
@options.add_file_option
@options.add_variable_options
@options.add_plan_options
@click.option(
    "--adopt/--no-adopt",
    default=True,
    help="Adopt objects that exist but are not recorded, or refuse them.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there is a change.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Save the plan in a new file, for `apply FILE` or `apply --reviewed FILE`.",
)
@click.option(
    "--server-dry-run",
    is_flag=True,
    help="Also send each call to the backend to be checked and not acted on, where its API can.",
)
@add_removed_option(
    "--with-packages",
    "plan has no --with-packages: keep the package folder as an artifact of the pipeline, beside "
    "the plan's file, and let `apply FILE` read it.",
)
@add_preflight_option("plan")
@add_removed_option(
    "--refresh-only",
    "plan has no --refresh-only: `drift` shows only what was changed outside, with "
    "the same --only, --exclude, --json, --report and --detailed-exitcode.",
)
@options.add_parallelism_option
def command(
    *,
    console: Console,
    invocation: Invocation,
    reports: Reports | None,
    show_unchanged: bool,
    detailed_exitcode: bool,
    offline: bool,
    against: str | None,
    **plan_arguments: Any,
) -> int:
    """Show what `apply` would do, and do nothing.

    Reads the manifests, the state and the live backend; sends nothing that could change anything.
    Rows marked `!` are refused: each says why, and the ways out. Guards that would stop the apply
    are shown as well.

    A saved plan holds no secret value. It is signed with the state key, where there is one, and
    used once. A plan with errors is not saved.

    With --server-dry-run every call that the API can check is sent as a dry run, packages included:
    what the backend refuses is refused in the plan, in its own words. Calls of API v1 cannot be
    tried; their number is shown. Nothing is sent that the backend could act on before it has
    shown that it knows dry runs; see docs/api-v2.md.

    With --offline it needs no credentials: what was declared at a Git ref, or what an inventory
    lists, stands in for what is live. For pull requests from forks; see docs/pull-requests.md.
    """
    if offline or against is not None:
        base = "" if ":" in (against or "") and not offline else against or ""
        plan = _make_offline_plan(invocation, base, plan_arguments)
        _print_plan(console, plan, show_unchanged=show_unchanged)
    else:
        plan = _plan_online(console, invocation, show_unchanged=show_unchanged, **plan_arguments)
    code = _choose_exit_code(
        has_errors=plan.has_errors,
        has_changes_or_refusals=plan.has_changes or bool(plan.refused_changes),
        is_detailed=detailed_exitcode,
    )
    return reports.write_plan(plan, code) if reports else code


def _plan_online(
    console: Console,
    invocation: Invocation,
    *,
    show_unchanged: bool,
    out: Path | None,
    server_dry_run: bool,
    **plan_arguments: Any,
) -> Plan:
    """Make the plan of a live target, print it, and save it where that was requested."""
    from synapse_apply.cli.flows.command_target import build_plan_keywords, open_command_target

    with open_command_target(invocation) as target:
        destination = _plan_destination(target, out)
        with _build_dry_run_display(console) if server_dry_run else nullcontext() as progress:
            plan = target.plan(
                server_dry_run=server_dry_run,
                progress=progress,
                **build_plan_keywords(plan_arguments),
            )
        message = (
            destination.save_and_describe(console, invocation, target, plan) if destination else ""
        )
    _print_plan(console, plan, show_unchanged=show_unchanged)
    if plan.summary.import_ and out is None and not console.is_interactive:
        message += "\nWhat is to be imported needs `--adopt` in a non-interactive `apply`.\n"
    console.write_stderr(message)
    return plan


def _make_offline_plan(
    invocation: Invocation, against: str, plan_arguments: dict[str, Any]
) -> Plan:
    """Make the plan against `against`; a usage error for options that conflict."""
    from synapse_apply.cli.flows.command_target import build_plan_keywords, open_command_target
    from synapse_apply.cli.params.offline_options import drop_online_options

    offline_options = drop_online_options(plan_arguments)
    with open_command_target(invocation) as target:
        return target.plan_offline(against, **build_plan_keywords(offline_options))


def _build_dry_run_display(console: Console) -> Display:
    """The display of the dry runs' progress, since uploads of packages may take long."""
    from synapse_apply.views.text.progress import choose_display

    return choose_display(
        sys.stderr, color=console.is_stderr_colored, silent=not console.is_interactive
    )


def _plan_destination(target: OpenTarget, out: Path | None) -> PlanDestination | None:
    if out is None:
        return None
    from synapse_apply.cli.flows.plan_destination import PlanDestination

    return PlanDestination.from_unused_file_option(target, out)


def _print_plan(console: Console, plan: Plan, *, show_unchanged: bool) -> None:
    if console.as_json:
        from synapse_apply.views.json.documents import plan_document

        console.write_or_keep_document(plan_document(plan))
    else:
        from synapse_apply.views.text.plan import render_plan

        color, width = console.is_output_colored, console.terminal_width
        console.write_output(
            render_plan(plan, color=color, width=width, show_unchanged=show_unchanged)
        )


def _choose_exit_code(*, has_errors: bool, has_changes_or_refusals: bool, is_detailed: bool) -> int:
    if has_errors:
        return Exit.ERROR
    return Exit.CHANGES if is_detailed and has_changes_or_refusals else Exit.OK

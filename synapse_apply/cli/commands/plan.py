"""The commands `plan` and `drift`: which options go together, and what is printed and saved."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import late, options
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.options import add_old_option, add_preflight_option, add_removed_option
from synapse_apply.cli.typed import DECLARED_NAME
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.cli.reports import Reports
    from synapse_apply.model.plan import Plan


# By option, with the reason.
_CONFLICTING_OPTIONS: Mapping[str, str] = {
    "out": "such a plan cannot be applied",
    "server_dry_run": "nothing is asked of the backend",
    "resend_secrets": "no secret is read",
}


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
@options.use("json", "targets", "report", "project_from", "ref")
@click.option(
    "--offline",
    is_flag=True,
    help="Ask neither the state nor the backend, and read no secret: say what the manifests "
    "change beside what --against names.",
)
@click.option(
    "--against",
    metavar="WHAT",
    help="With --offline: git:REF, or state:FILE with what `state inventory` printed.",
)
@options.use("file", "variables", "plan")
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
@options.use("parallelism")
def plan(
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
    message = ""
    if offline or against is not None:
        for name, reason in _CONFLICTING_OPTIONS.items():
            if plan_arguments.pop(name):
                option = "--" + name.replace("_", "-")
                raise click.UsageError(f"--offline does not go with {option}: {reason}.")
        base = "" if ":" in (against or "") and not offline else against or ""
        with options.open_target(invocation) as target:
            plan = target.plan_offline(base, **plan_arguments)
    else:
        plan, message = _plan_online(console, invocation, **plan_arguments)
    late.plan.print_plan(console, plan, show_unchanged=show_unchanged)
    console.write_stderr(message)
    code = Exit.OK
    if plan.has_errors:
        code = Exit.ERROR
    elif detailed_exitcode and (plan.has_changes or plan.refused_changes):
        code = Exit.CHANGES
    return reports.write_plan(plan, code) if reports else code


def _plan_online(
    console: Console,
    invocation: Invocation,
    *,
    out: Path | None,
    server_dry_run: bool,
    **plan_arguments: Any,
) -> tuple[Plan, str]:
    """The plan of a live target, and what is to be said below it; saved where that was asked."""
    with options.open_target(invocation) as target:
        if out is not None:
            if str(out) == "-":
                raise click.UsageError("--out needs a file: a plan is a zip. --json is for stdout.")
            # Before planning: a plan of minutes must not fail on its file name.
            target.require_unused_file(out)
        progress: AbstractContextManager[Any] = nullcontext()
        if server_dry_run:  # uploads of packages may take long
            from synapse_apply.views.text.progress import choose_display

            color, is_silent = console.is_stderr_colored, not console.is_interactive
            progress = choose_display(sys.stderr, color=color, silent=is_silent)
        with progress as shown:
            plan = target.plan(server_dry_run=server_dry_run, progress=shown, **plan_arguments)
        message = ""
        if out is not None:
            message = late.plan.save_and_describe(console, invocation, target, plan, out)
    if plan.summary.import_ and out is None and not console.is_interactive:
        message += "\nWhat is to be imported needs `--adopt` in a non-interactive `apply`.\n"
    return plan, message


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
@options.use("json", "targets", "report", "project_from", "file", "variables", "selection")
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
@options.use("parallelism")
def drift(
    *,
    console: Console,
    invocation: Invocation,
    reports: Reports | None,
    written: tuple[str, ...],
    accept: tuple[str, ...],
    dry_run: bool,
    detailed_exitcode: bool,
    **selection: Any,
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
    names = (*written, *accept)
    if dry_run and not names:
        raise click.UsageError("--dry-run goes with --write.")
    if names:
        if any(selection.values()) or detailed_exitcode or reports:
            raise click.UsageError(
                "--write edits files, of the addresses it names: it goes with no --only, "
                "--exclude, --unmanaged, --detailed-exitcode or --report."
            )
        return late.plan.write_and_print_drift(console, invocation, names, dry_run=dry_run)
    return late.plan.report_drift(
        console, invocation, reports, is_detailed=detailed_exitcode, **selection
    )

"""The commands `plan`, `apply`, `drift` and `verify`: what is typed, and what is done then."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply import cli
from synapse_apply.cli import options, typed
from synapse_apply.cli.console import Console, require_approval_way
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply import ApprovedPlans, Invocation, OpenTarget
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
    first_options=[
        *("target", "only", "exclude", "prune", "out", "offline", "against"),
        *("detailed_exitcode", "report_requests", "as_json"),
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
    help="With --offline: git:REF, or state:FILE with what `state show --inventory` printed.",
)
@options.use("file", "variables", "strict", "plan")
@click.option(
    "--adopt/--no-adopt",
    default=True,
    help="Adopt objects that exist but are not recorded, or refuse them.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there is a change.")
@click.option(
    "--graph",
    is_flag=True,
    help="Instead print which resource needs which, as a Mermaid flowchart in the colours of what "
    "apply would do.",
)
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
@options.use("parallelism")
def plan(
    *,
    console: Console,
    invocation: Invocation,
    reports: Reports | None,
    show_unchanged: bool,
    detailed_exitcode: bool,
    graph: bool,
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
    if graph and console.as_json:
        raise click.UsageError("--graph prints Mermaid: leave out --json.")
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
    if graph:
        console.write_output(cli.graph.format_mermaid(cli.graph.build_plan_nodes(plan)))
        console.write_findings(plan.diagnostics)
    else:
        cli.plan.print_plan(console, plan, show_unchanged=show_unchanged)
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
            message = cli.plan.save_and_describe(console, invocation, target, plan, out)
    if plan.summary.import_ and out is None and not console.is_interactive:
        message += "\nWhat is to be imported needs `--adopt` in a non-interactive `apply`.\n"
    return plan, message


# What changes the rows of a plan is said when it is made: the file of a saved plan tells the rest.
_OPTIONS_OF_ROWS = {
    "prune": "--prune",
    "allow_locked": "--allow-locked",
    "resend_secrets": "--resend-secrets",
    "adopt": "--adopt",
    "verify": "--no-verify",
    "revert_drift": "--revert-drift",
    "no_package_check": "--no-package-check",
    "only": "--only",
    "exclude": "--exclude",
}


def reject_beside_saved_plan(
    plan: Path | None, reviewed: Sequence[Path], options: Mapping[str, Any]
) -> None:
    """A usage error for options that `apply` would ignore with a saved or reviewed plan."""
    if plan and reviewed:
        raise click.UsageError("Give a saved plan, or one with --reviewed, not both.")
    for name, option in _OPTIONS_OF_ROWS.items() if plan or reviewed else ():
        if bool(options.get(name)) != (name == "verify"):
            raise click.UsageError(f"{option} is said when a plan is made: `plan {option} --out`.")


@manual_command(
    "apply",
    examples=[
        ("synapse-apply apply", "Show the plan, ask, and do it."),
        ("synapse-apply apply -t prod --auto-approve", "In a deploy pipeline: nobody is asked."),
        ("synapse-apply apply --auto-approve --adopt", "Also take over objects that exist."),
        (
            "synapse-apply apply --auto-approve --wait",
            "After a kill: wait until no earlier call can act any more.",
        ),
        ("synapse-apply apply --auto-approve --json > report.json", "One report document."),
        ("synapse-apply apply --auto-approve --json-lines", "What is done, line by line."),
        ("synapse-apply apply next.plan", "Do what `plan --out next.plan` showed; ask nobody."),
        ("synapse-apply apply --reviewed pr.plan", "Plan anew, and do only what was reviewed."),
        ("synapse-apply apply --reviewed 7.plan --reviewed 8.plan", "Two merges, older first."),
        ("synapse-apply apply --ref v1.2.0", "Go back: the manifests as that tag has them."),
        ("synapse-apply apply --auto-approve --report github", "On a runner of GitHub Actions."),
        ("synapse-apply apply -t canary -t 'prod-*'", "One after the other; asks once for all."),
    ],
    exits=[
        ("0", "all was done"),
        ("1", "error before the first call; not `yes`; or stdout took no report: see stderr"),
        ("3", "something failed or was skipped; the report says what"),
        ("4", "stale: the plan, or rows of it, are out of date; or rows nobody reviewed"),
        ("5", "refused: a guard stopped all, or rows marked ! were left out"),
        ("6", "the state is locked by another run"),
        ("7", "the outcome of a call is unknown; the next run looks it up"),
        ("130, 143", "stopped by a signal; what had begun was finished and recorded"),
    ],
    first_options=[
        *("target", "only", "exclude", "prune", "adopt", "auto_approve", "reviewed", "wait"),
        *("report_requests", "as_json"),
    ],
)
@options.use("events", "targets", "report", "project_from", "ref")
@options.use("file", "variables", "strict", "plan")
@click.argument("plan", required=False, type=click.Path(path_type=Path))
@click.option(
    "--reviewed",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Do the rows that this saved plan has, refuse the others; ask nobody. May be repeated, "
    "older plans first.",
)
@click.option(
    "--allow-unsigned",
    is_flag=True,
    help="Take a saved plan whose signature is missing or cannot be checked.",
)
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
@click.option(
    "--keep-going",
    is_flag=True,
    help="Of several targets, go on with the next one after one that failed.",
)
@click.option("--all-or-nothing", is_flag=True, help="Do nothing while any row is refused.")
@click.option(
    "--adopt/--no-adopt",
    default=None,
    help="Adopt objects that exist but are not recorded, also one that turns up as declared while "
    "it is made; without it a plan on a terminal shows and asks.",
)
@click.option(
    "--allow-replace",
    is_flag=True,
    help="Replace packages of debug releases; on a terminal, and with a saved plan, not needed.",
)
@options.use("parallelism", "wait", "lock_timeout")
def apply(*, console: Console, invocation: Invocation, reports: Reports | None,
            show_unchanged: bool, plan: Path | None, reviewed: tuple[Path, ...],
            allow_unsigned: bool, auto_approve: bool, all_or_nothing: bool, adopt: bool | None,
            allow_replace: bool, wait: bool, approved: tuple[OpenTarget, Plan] | None = None,
            **plan_arguments: Any) -> int:  # fmt: skip
    """Change the backend to match the manifests, and nothing else.

    Plans first, shows the plan and asks; everything is checked before the first call. A failure
    skips what depends on it and the rest goes on. The first Ctrl-C lets what has begun end (in a
    non-interactive run for 6 s at most) and reports what was done; the second stops at once.

    Calls of a killed run whose outcome is unknown are looked up first. While it is too early to
    tell, the command ends with exit code 7; with --wait it waits.

    With a saved PLAN (`plan --out`) only what it says is done, once, and nobody is asked; it knows
    its target. Objects that changed since are refused alone. Packages are read where the manifests
    say, and must be what was planned.

    With --reviewed all is planned anew from this checkout, its packages too: rows that equal a
    reviewed row are applied, all others refused. Several reviewed plans, older first, are one
    apply; of two rows for one address the later plan's counts.

    Of several targets every plan is shown before one question; each is applied after the other, in
    the order of -t and by name. Without --keep-going nothing is begun where a plan cannot be
    applied, nor the next target after one that did not end with 0.
    """
    reject_beside_saved_plan(plan, reviewed, {**plan_arguments, "adopt": adopt})
    observer = cli.observer.ConsoleObserver(console, reports, show_unchanged=show_unchanged)
    common: dict[str, Any] = {
        "all_or_nothing": all_or_nothing,
        "wait": wait,
        "observer": observer,
    }
    if approved is not None:  # what stops it nobody has seen yet
        target, observer.shown_plan = approved
        return target.apply(observer.shown_plan, **common).exit_code
    with options.open_target(invocation) as target:
        plans: ApprovedPlans | None = None
        if plan is not None:
            plans = target.read_saved_plan(plan)
        elif reviewed:
            plans = target.read_reviewed_plans(reviewed)
        if plans is not None and reports is not None:
            observer.reports = reports.with_target(invocation.target or plans.target)
        require_approval_way(console, is_approved=auto_approve or plans is not None)
        if plans is not None:
            return observer.run(
                lambda: target.apply_saved(
                    plans,
                    allow_unsigned=allow_unsigned or console.is_interactive,
                    recreate=plan_arguments["recreate"],
                    override_guards=plan_arguments["override_guards"],
                    **common,
                )
            )
        asks = console.is_interactive and not auto_approve
        keywords = {**plan_arguments, **common, "adopt": adopt, "allow_replace": allow_replace}
        keywords |= {"confirm": observer.confirm} if asks else {}
        return observer.run(lambda: target.apply(auto_approve=auto_approve, **keywords))


@manual_command(
    "verify",
    examples=[
        ("synapse-apply verify release/yolo", "Run the declared release of plugin yolo."),
        ("synapse-apply verify release/yolo@1.1.0 --timeout 900", "With more time than it says."),
        ("synapse-apply verify release -t staging", "Every declared release that can be run."),
        ("synapse-apply verify release --bytes", "Compare published bytes; run nothing."),
    ],
    exits=[
        ("0", "all passed, or on_failure is warn"),
        ("1", "error before the first call: not published yet, or nothing to run"),
        ("3", "a run failed, or did not end in time; --bytes: other bytes, or they were not read"),
        ("5", "refused: see the row"),
        ("6", "the state is locked by another run"),
        ("7", "it is not known whether a run was started; the next run looks it up"),
        ("130, 143", "stopped by a signal; the job goes on, and the next run follows it"),
    ],
)
@options.use("events", "target", "project_from", "variables")
@click.argument(
    "releases",
    nargs=-1,
    required=True,
    metavar="RELEASE...",
    shell_complete=typed.complete_declared,
)
@click.option(
    "--timeout",
    type=typed.NumberType(min=0, min_open=True),
    metavar="SECONDS",
    help="How long a run may take, instead of spec.verify.timeout.",
)
@click.option(
    "--bytes",
    "only_bytes",
    is_flag=True,
    help="Run nothing: read what is published, compare it with the state, and record that.",
)
@options.use("lock_timeout")
def verify(
    *,
    console: Console,
    invocation: Invocation,
    releases: tuple[str, ...],
    timeout: float | None,
    only_bytes: bool,
) -> int:
    """Run releases as their spec.verify says, now, also those that passed before.

    A RELEASE is an address, release/PLUGIN or PLUGIN for the declared one, a kind, KEY=VALUE of a
    label, or any of these with `*`.
    Nothing else is sent and nobody is asked. The result is recorded: `apply` verifies only what
    has not passed. A job that is still running from before is followed, and no other started.
    """
    with options.open_target(invocation) as target:
        if only_bytes:
            compared = target.compare_published_bytes(releases)
            return cli.objects.print_compared_bytes(console, compared)
        observer = cli.observer.ConsoleObserver(console)
        return observer.run(lambda: target.verify(releases, timeout=timeout, observer=observer))


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
    type=typed.DECLARED_NAME,
    multiple=True,
    metavar="ADDRESS",
    help="Write the live values of this resource into the manifests, with `*` of all that drifted; "
    "may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="With --write: show the edits and write nothing.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there is drift.")
@options.use("parallelism")
def drift(
    *,
    console: Console,
    invocation: Invocation,
    reports: Reports | None,
    written: tuple[str, ...],
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
    if dry_run and not written:
        raise click.UsageError("--dry-run goes with --write.")
    if written:
        if any(selection.values()) or detailed_exitcode or reports:
            raise click.UsageError(
                "--write edits files, of the addresses it names: it goes with no --only, "
                "--exclude, --unmanaged, --detailed-exitcode or --report."
            )
        return cli.plan.write_and_print_drift(console, invocation, written, dry_run=dry_run)
    return cli.plan.report_drift(
        console, invocation, reports, is_detailed=detailed_exitcode, **selection
    )

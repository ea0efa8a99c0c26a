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
from synapse_apply.cli.options import option
from synapse_apply.model.errors import Exit, advising

if TYPE_CHECKING:
    from synapse_apply import ApprovedPlans, Invocation, OpenTarget
    from synapse_apply.cli.reports import Reports
    from synapse_apply.model.plan import Plan


# By option, with the reason.
_CONFLICTING_OPTIONS: Mapping[str, str] = {
    "out": "an offline plan cannot be applied",
    "server_dry_run": "an offline plan sends nothing to the backend",
    "resend_secrets": "an offline plan reads no secrets",
}


@manual_command(
    "plan",
    examples={
        "plan": "Plan the project's only target.",
        "plan -t prod --detailed-exitcode": "In CI: exit code 2 means changes.",
        "plan --only storage --exclude team=vision": "Plan only some resources.",
        "plan --json > plan.json": (
            "Write the plan as JSON. The document is complete, whatever the exit code."
        ),
        "plan --out next.plan": "Save the plan. `apply next.plan` then applies exactly this plan.",
        "plan -t prod --server-dry-run": ("See what the backend would refuse, before you apply."),
        "plan --report markdown=plan.md": "Also write a comment for a pull request.",
        "plan --offline --against git:refs/remotes/origin/main": (
            "Plan a pull request from a fork without credentials or a backend."
        ),
        "plan -t 'prod-*'": "Plan each matching target and return the worst exit code.",
        "plan -t 'tier=gold,*-eu'": "Plan the targets with this label whose names match the "
        "pattern.",
        "plan --ref v1.2.0": "Show what a rollback to this tag would do.",
    },
    exits={
        "0": "planned",
        "1": "error; the plan shows what could be planned",
        "2": "with --detailed-exitcode: there are changes or refusals",
    },
    first_options=[
        *("target", "only", "exclude", "prune", "out", "offline", "against"),
        *("detailed_exitcode", "report_requests", "as_json"),
    ],
)
@options.use("json", "targets", "report", "project_from", "ref")
@option(
    "--offline",
    "Do not use the state, the backend or secrets. Compare the manifests with the version that "
    "--against specifies.",
)
@option(
    "--against WHAT",
    "With --offline, compare with git:REF, or with state:FILE, a file that `state show "
    "--inventory` printed.",
)
@options.use("file", "variables", "strict", "plan")
@option(
    "--adopt/--no-adopt", "Adopt or refuse objects that exist but are not recorded.", default=True
)
@option("--detailed-exitcode", "Exit with code 2 if there are changes or refusals.")
@option("--graph", "Print the dependencies as a Mermaid flowchart instead, coloured by action.")
@option(
    "--out FILE",
    "Save the plan to a new file, for `apply FILE` or `apply --reviewed FILE`.",
    type=click.Path(path_type=Path),
)
@option(
    "--server-dry-run", "Also send each call to the backend as a dry run, if the API supports it."
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
    """Show what `apply` would do, and change nothing.

    The command reads the manifests, the state and the live backend. Rows marked `!` are refused:
    each row shows the reason and your options. The plan also shows the guards that would stop the
    apply.

    A saved plan contains no secret values. It is signed with the state key, if the target has one,
    and can be applied once. A plan with errors is not saved.

    With --server-dry-run, the command sends each call, including its package, as a dry run if the
    API supports dry runs. If the backend refuses a call, the plan marks the row as refused and
    shows the backend's message. API v1 has no dry run: the plan shows how many calls were not
    checked. The command first makes sure that the backend supports dry runs; see docs/api-v2.md.

    With --offline, the command needs no credentials. It compares the manifests with those at a Git
    ref, or with an inventory, instead of the live objects. Use --offline for pull requests from
    forks; see docs/pull-requests.md.
    """
    if graph and console.as_json:
        raise click.UsageError("--graph prints Mermaid and cannot be combined with --json.")
    message = ""
    if offline or against is not None:
        for name, reason in _CONFLICTING_OPTIONS.items():
            if plan_arguments.pop(name):
                option = "--" + name.replace("_", "-")
                raise click.UsageError(f"--offline cannot be combined with {option}: {reason}.")
        base = "" if ":" in (against or "") and not offline else against or ""
        with options.open_target(invocation) as target:
            plan = target.plan_offline(base, **plan_arguments)
    else:
        with advising("Nothing was changed."):
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
                raise click.UsageError(
                    "--out needs a file name: a saved plan is a zip. To "
                    "print the plan to stdout, use --json."
                )
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
        message += "\nA non-interactive `apply` needs `--adopt` to import these objects.\n"
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
        raise click.UsageError("Give either PLAN or --reviewed, not both.")
    for name, typed_option in _OPTIONS_OF_ROWS.items() if plan or reviewed else ():
        if bool(options.get(name)) != (name == "verify"):
            raise click.UsageError(
                f"{typed_option} cannot change a saved plan: use it when you "
                f"create the plan (`plan {typed_option} --out FILE`)."
            )


@manual_command(
    "apply",
    examples={
        "apply": "Show the plan, ask for approval, and apply it.",
        "apply -t prod --auto-approve": "In a deploy pipeline, without asking for approval.",
        "apply --auto-approve --adopt": "Also adopt existing objects.",
        "apply --auto-approve --wait": (
            "After a killed run: wait until no earlier call can still take effect."
        ),
        "apply --auto-approve --json > report.json": "Write one report document.",
        "apply --auto-approve --json-lines": "Print each event as one line of JSON.",
        "apply next.plan": (
            "Apply exactly the plan that `plan --out next.plan` showed, without asking for "
            "approval."
        ),
        "apply --reviewed pr.plan": "Plan again, and apply only the reviewed rows.",
        "apply --reviewed 7.plan --reviewed 8.plan": (
            "Apply the reviewed plans of two merges, oldest first."
        ),
        "apply --ref v1.2.0": "Roll back to the manifests at this tag.",
        "apply --auto-approve --report github": "On a GitHub Actions runner.",
        "apply -t canary -t 'prod-*'": (
            "Apply to several targets one after the other, with one approval."
        ),
    },
    exits={
        "0": "everything was applied",
        "1": (
            "error before the first call, the answer was not `yes`, or the report could not be "
            "written (see stderr)"
        ),
        "3": "a resource failed or was skipped; the report lists it",
        "4": "the plan or some of its rows are out of date or were not reviewed",
        "5": "refused: a guard stopped the apply, or rows marked ! were skipped",
        "6": "the state is locked by another run",
        "7": "the outcome of a call is unknown; the next run looks it up",
        "130, 143": "stopped by a signal; running calls were finished and recorded",
    },
    first_options=[
        *("target", "only", "exclude", "prune", "adopt", "auto_approve", "reviewed", "wait"),
        *("report_requests", "as_json"),
    ],
)
@options.use("events", "targets", "report", "project_from", "ref")
@options.use("file", "variables", "strict", "plan")
@click.argument("plan", required=False, type=click.Path(path_type=Path))
@option(
    "--reviewed FILE",
    "Apply only the rows of this saved plan without asking for approval, and refuse all other "
    "rows. Repeatable, oldest plan first.",
    type=click.Path(path_type=Path),
    multiple=True,
)
@option("--allow-unsigned", "Accept a saved plan whose signature is missing or cannot be checked.")
@option("--auto-approve", "Do not ask for approval.")
@option("--keep-going", "With several targets, continue with the next target after a failure.")
@option("--all-or-nothing", "Apply nothing if any row is refused.")
@option(
    "--adopt/--no-adopt",
    "Adopt or refuse objects that exist but are not recorded, even an object that appears "
    "during the apply. Without this option, the command shows the objects on a terminal and asks "
    "whether to adopt them.",
    default=None,
)
@option(
    "--allow-replace",
    "Replace packages of debug releases. You do not need this option on a terminal or with a "
    "saved plan.",
)
@options.use("parallelism", "wait", "lock_timeout")
def apply(*, console: Console, invocation: Invocation, reports: Reports | None,
            show_unchanged: bool, plan: Path | None, reviewed: tuple[Path, ...],
            allow_unsigned: bool, auto_approve: bool, all_or_nothing: bool, adopt: bool | None,
            allow_replace: bool, wait: bool, approved: tuple[OpenTarget, Plan] | None = None,
            **plan_arguments: Any) -> int:  # fmt: skip
    """Change the backend to match the manifests, and nothing else.

    The command shows the plan and asks for approval. It checks everything before the first call. If
    a resource fails, the command skips what depends on it and continues with the rest. The first
    Ctrl-C lets running calls finish (for at most 6 s in a non-interactive run) and prints a
    report. The second Ctrl-C stops immediately.

    The command first looks up the calls of a killed run whose outcome is unknown. While it is too
    early to know, the command exits with code 7, or waits if you use --wait.

    With a saved PLAN (`plan --out`), the command applies exactly that plan, once, without asking
    for approval. The plan names its target. The command refuses rows whose objects have changed
    since the plan, and applies the rest. The packages are read from the sources in the manifests
    and must still match the plan.

    With --reviewed, the command makes a new plan from this checkout, packages included. It applies
    each row that equals a reviewed row, and refuses all other rows. You can pass several reviewed
    plans, oldest first. If two of them have a row for the same address, the row of the later plan
    is used.

    With several targets, the command shows all plans, then asks for approval once. It then applies
    the targets one after the other, in the order of -t and by name. Without --keep-going, the
    command applies nothing if one plan cannot be applied, and stops after the first target that
    fails.
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
        with observer.advising():
            return target.apply(observer.shown_plan, **common).exit_code
    with observer.advising(), options.open_target(invocation) as target:
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
    examples={
        "verify release/yolo": "Run the declared release of plugin yolo.",
        "verify release/yolo@1.1.0 --timeout 900": "Allow more time than the manifest sets.",
        "verify release -t staging": "Verify every declared release that can run.",
        "verify release --bytes": "Compare the published bytes and run nothing.",
    },
    exits={
        "0": "all releases passed, or on_failure is warn",
        "1": "error before the first call: a release is not published, or there is nothing to run",
        "3": "a run failed or timed out; with --bytes: the bytes differ or were not read",
        "5": "refused: the row says why",
        "6": "the state is locked by another run",
        "7": "it is unknown whether a run started; the next run looks it up",
        "130, 143": "stopped by a signal; the job continues, and the next run follows it",
    },
)
@options.use("events", "target", "project_from", "variables")
@click.argument(
    "releases",
    nargs=-1,
    required=True,
    metavar="RELEASE...",
    shell_complete=typed.complete_declared,
)
@option(
    "--timeout SECONDS",
    "How long a run may take (default: spec.verify.timeout).",
    type=typed.NumberType(min=0, min_open=True),
)
@option(
    "--bytes",
    "Run nothing. Compare the published bytes with the state, and record the result.",
    name="only_bytes",
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
    """Run releases as their spec.verify specifies, even if they passed before.

    A RELEASE is an address, release/PLUGIN or PLUGIN for the declared release, a kind, a label as
    KEY=VALUE, or any of these with `*`. The command sends nothing else and does not ask for
    confirmation. It records the result: `apply` verifies only releases that have not passed yet. If
    an earlier run of a release is still active, the command follows that job and starts no other
    job.
    """
    observer = cli.observer.ConsoleObserver(console)
    with observer.advising(), options.open_target(invocation) as target:
        if only_bytes:
            compared = target.compare_published_bytes(releases)
            return cli.objects.print_compared_bytes(console, compared)
        return observer.run(lambda: target.verify(releases, timeout=timeout, observer=observer))


@manual_command(
    "drift",
    examples={
        "drift -t prod": "Show what was changed outside Git.",
        "drift -t prod --detailed-exitcode": "In a nightly job: exit code 2 means drift.",
        "drift --unmanaged": "Also list live objects that are not managed.",
        "drift --json": "Print JSON for a program (`synapse-apply schema drift` describes it).",
        "drift --write storage/raw-data": (
            "Write the live values to the manifest or to the target's overlay."
        ),
    },
    exits={
        "0": "no drift; with --write: the live values are in the manifests",
        "1": "error: a resource could not be checked, or a file could not be written (no file was "
        "changed)",
        "2": "with --detailed-exitcode: there is drift",
    },
)
@options.use("json", "targets", "report", "project_from", "file", "variables", "selection")
@option("--unmanaged", "Also list live objects that no manifest declares and no state records.")
@option(
    "--write ADDRESS",
    "Write the live values of this resource to the manifests; `*` means all drifted resources. "
    "Repeatable.",
    name="written",
    type=typed.DECLARED_NAME,
    multiple=True,
)
@option("--dry-run", "With --write, show the edits without writing them.")
@option("--detailed-exitcode", "Exit with code 2 if there is drift.")
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
    """Show what was changed outside Git. With --write, write the live values to the manifests.

    The command compares the live objects with the server's answers to the last writes. It compares
    the fields that are declared and not ignored. Changes in Git that are not applied yet are not
    drift: the command only counts them. It takes no lock, and writes to neither the state nor the
    server.

    With --write, each live value replaces the declared value in its manifest, or goes to this
    target's overlay if several targets share the document. Comments and layout are unchanged. The
    command checks all edits before it writes the first file. It never writes a secret. It refuses a
    value that comes from a variable or from a package's config.yaml, and tells you where to change
    it.
    """
    if dry_run and not written:
        raise click.UsageError("--dry-run needs --write.")
    if written:
        if any(selection.values()) or detailed_exitcode or reports:
            raise click.UsageError(
                "--write edits the manifests of the addresses it names. It cannot be combined "
                "with --only, --exclude, --unmanaged, --detailed-exitcode or --report."
            )
        return cli.plan.write_and_print_drift(console, invocation, written, dry_run=dry_run)
    return cli.plan.report_drift(
        console, invocation, reports, is_detailed=detailed_exitcode, **selection
    )

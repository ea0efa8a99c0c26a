"""The commands of `controller`: what is run, asked of a controller and said to it."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import click

from synapse_apply import cli
from synapse_apply.cli import options, registry
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import LazyGroup, manual_command
from synapse_apply.cli.options import option
from synapse_apply.cli.typed import DATE_TIME, TIME_SPAN, Typed, complete_controlled, text_of
from synapse_apply.model.errors import Exit
from synapse_apply.views.sanitize import sanitize

_URL_VARIABLE = "SYNAPSE_APPLY_CONTROLLER_URL"

add_file_argument = click.argument(
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("controller.yaml"),
    required=False,
)
# The default is that of controller/run.py, which is not imported for --help.
add_data_option = option(
    "--data FOLDER",
    "The controller's data folder (default: .synapse-apply/controller).",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".synapse-apply") / "controller",
)
add_url_option = option(
    "--url URL",
    f"The address of a running controller (default: {_URL_VARIABLE}).",
    default="",
    envvar=_URL_VARIABLE,
)
# The default is that of controller/worker/pool.py.
add_looks_option = option(
    "--looks N",
    "How many targets this process checks or applies at the same time.",
    type=click.IntRange(min=1, max=256),
    default=4,
    show_default=True,
)
# What the help of each command says that asks a controller over HTTP.
API_ENVIRONMENT = {
    _URL_VARIABLE: "the controller's address, if you do not pass --url",
    "SYNAPSE_APPLY_CONTROLLER_TOKEN": (
        "a token from `access.tokens`; sent only over https or to a loopback address"
    ),
}


# SOURCE/TARGET, or a pattern of it such as `acme/*`; what a name cannot have is refused by the
# controller.
parse_pattern = text_of(r"[^/\s]+/\S+|\*", "{!r} is not SOURCE/TARGET.")
_parse_selector = text_of(
    r"[^/\s]+/\S+|\*|[^\s=]+=\S*", "{!r} is neither SOURCE/TARGET nor a label KEY=VALUE."
)
# The id of a commit, or its first 7 digits at least.
_parse_revision = text_of(
    "[0-9a-fA-F]{7,64}", "{!r} is not the id of a commit (at least 7 digits)."
)
# An author can make two commits with the same first digits: what was reviewed is named whole.
_parse_commit = text_of(
    "[0-9a-fA-F]{40}|[0-9a-fA-F]{64}", "{!r} is not the whole id of a commit (40 digits)."
)
_EXAMPLE = "3b92d7c4" * 5


def parse_target(text: str) -> str:
    """SOURCE/TARGET of one target; ValueError for any other text."""
    if any(character in parse_pattern(text) for character in "*?["):
        raise ValueError(f"{text!r} is a pattern; this command needs one target.")
    return text


TARGET = Typed("target", parse_target, complete_controlled)
PATTERN = Typed("target", parse_pattern, complete_controlled)
# Where the command asks for the list of targets.
SELECTOR = Typed("target", _parse_selector, complete_controlled)
_add_selector_argument = click.argument("target", type=SELECTOR, metavar="SOURCE/TARGET")
add_row_option = option(
    "--row DIGEST",
    "The complete digest of a row, as this command prints it in a non-interactive run. The "
    "command then does not ask for confirmation. Repeatable.",
    name="row_digests",
    # Not a part of it, which could be that of another row.
    type=Typed(
        "digest",
        text_of("row1:[0-9a-f]{64}", "{!r} is not a complete row digest (row1: and 64 digits)."),
    ),
    multiple=True,
)


add_reason_option = option("--reason TEXT", "The reason, shown on the page.", required=True)


_pattern_options = options.combine(
    options.use("color"),
    add_url_option,
    click.argument("patterns", type=SELECTOR, nargs=-1, required=True, metavar="SOURCE/TARGET..."),
)


@click.group("controller", cls=LazyGroup, entries=registry.CONTROLLER)
def group() -> None:
    """Follow Git continuously, keep every target in sync, and show all targets on one page.

    The mode of a target decides what the controller applies: nothing by itself (observe),
    everything allowed (auto), or rows that a person has approved (approve). The page, commit
    statuses and messages show broken commits, drift, rows that await approval, and targets that
    cannot be planned.
    """


@manual_command(
    "run",
    examples={
        "controller run": "Follow the sources in controller.yaml until you stop the controller.",
        "controller run --demo": "Try a controller with a demo repository and demo backends.",
        "controller run --once": "Run one round, for cron.",
        "controller run /etc/acme.yaml --data /var/lib/acme": "Run as a service.",
        "controller run --worker": "Run a worker for the replicas of this controller.",
    },
    exits={
        "0": (
            "stopped by Ctrl-C or SIGTERM; with --once: every target was checked, and applied if "
            "allowed"
        ),
        "1": (
            "the controller could not start; with --once: a source cannot be followed or a target "
            "cannot be planned"
        ),
        "2": (
            "with --once --detailed-exitcode: a change is not live, awaits approval, or waits for "
            "a window"
        ),
        "3": "with --once: an apply is incomplete",
        "5": "with --once: rows are refused on a target that the controller applies",
        "6": "another controller uses the data folder; with --once: another process is the leader",
        "7": "with --once: the outcome of a call is unknown",
    },
    environment={"SYNAPSE_APPLY_LOG=json": "write log lines as JSON"},
    foreign_options=dict.fromkeys(
        ("--port", "--host", "--listen"), "Set `listen` in controller.yaml, such as 127.0.0.1:8081."
    ),
)
@options.use("color")
@add_file_argument
@add_data_option
@option("--once", "Run each due check and apply once, print a table, and exit.")
@option(
    "--demo",
    "Create a repository, backends and a configuration in a temporary folder, run a "
    "controller on them, and remove them at the end.",
)
@option("--keep", "With --demo, keep the temporary folder.")
@option(
    "--worker",
    "Only plan and apply what is due. The controller's store must be in PostgreSQL.",
)
@add_looks_option
@option(
    "--detailed-exitcode",
    "With --once, exit with code 2 if there are changes, drift or refusals.",
    name="detailed",
)
def run(
    *,
    console: Console,
    file: Path,
    data: Path,
    once: bool,
    detailed: bool,
    demo: bool,
    keep: bool,
    worker: bool,
    looks: int,
) -> int:
    """Follow Git, plan every target, apply what its mode allows, and serve a page.

    The command logs a line to stderr for each new commit, each check with a new result, each apply,
    and each failure. On SIGHUP it reads the file again, and keeps the old settings if the new file
    has errors. The first Ctrl-C or SIGTERM gives checks a few seconds to end and lets running calls
    finish. The second signal stops the command immediately.

    A --worker only plans and applies: it has no page, follows no branch and sends no messages. At
    least one `controller run` without --worker must use the same file. You can add and remove
    workers at any time; each needs a separate data folder.
    """
    if worker and (once or demo):
        raise click.UsageError(
            "--worker runs until you stop it, and cannot be combined with --once and --demo."
        )
    if detailed and not once:
        raise click.UsageError("--detailed-exitcode needs --once.")
    if demo and once:
        raise click.UsageError("--demo runs until you stop it, and cannot be combined with --once.")
    if keep and not demo:
        raise click.UsageError("--keep needs --demo.")
    if demo:
        _serve_demo(console, keep=keep)
        return 0
    setup = cli.run.ControllerSetup(file, data, dict(os.environ), sys.stderr, looks)
    if not once:
        (cli.run.serve_worker if worker else cli.run.serve_controller)(setup)
        return 0
    print_targets = partial(cli.controller.print_target_list, console)
    return cli.run.run_controller_once(setup, print_targets, detailed=detailed)


def _serve_demo(console: Console, *, keep: bool) -> None:
    from synapse_apply.controller.demo.demo import open_demo
    from synapse_apply.controller.extras import require_packages

    require_packages()
    console.write_note("Creating a Git repository and three backends ...")
    with open_demo(console.write_note, keep=keep) as demo:
        console.write_note(f"All files are in {demo.folder}, and the page is at {demo.page_url}")
        variables = {**os.environ, **demo.variables}
        cli.run.serve_controller(
            cli.run.ControllerSetup(
                demo.configuration_file, demo.data_folder, variables, sys.stderr
            )
        )


@manual_command(
    "check",
    examples={
        "controller check": "Check controller.yaml.",
        "controller check --online": "Also find what would stop the controller on this machine.",
        "controller check acme.yaml --strict": "Treat warnings as errors.",
    },
    exits={"0": "valid, possibly with warnings", "1": "not valid; every error is shown"},
)
@options.use("json")
@add_file_argument
@option("--strict", "Treat warnings as errors.")
@option(
    "--online",
    "Also read the secrets and the head of each repository, and connect to the store's database.",
)
def check(*, console: Console, file: Path, strict: bool, online: bool) -> int:
    """Check a controller's configuration. Without --online, read no secrets and connect to nothing.

    The command shows every finding with file, line and column, and warns about settings that
    this version does not use. With --online, the command fetches each repository into a
    temporary folder and writes nothing elsewhere.
    """
    findings = cli.checking.check_configuration(file, dict(os.environ) if online else None)
    if strict:
        findings = tuple(finding.as_error() for finding in findings)
    errors = any(finding.is_error for finding in findings)
    text = f"{file} is valid{', and all that it names can be reached' if online else ''}.\n"
    return console.show_checked("controller check", findings, "" if errors else text)


@manual_command(
    "status",
    examples={
        "controller status": "Use the store of the controller in this folder.",
        "controller status --url http://127.0.0.1:8080": (
            "List the targets of a running controller."
        ),
        "controller status 'acme/prod-*'": "List some of the targets.",
        "controller status tier=gold": "List the targets with this label.",
        "controller status --json": "Print JSON for a script.",
    },
    exits={
        "0": "printed",
        "1": "no target matches, the store does not exist, or the controller does not answer",
    },
    environment=API_ENVIRONMENT,
)
@options.use("json")
@add_data_option
@add_url_option
@click.argument("patterns", type=SELECTOR, nargs=-1, metavar="[SOURCE/TARGET]...")
def status(*, console: Console, data: Path, url: str, patterns: tuple[str, ...]) -> int:
    """List the targets of a controller. Targets that need attention come first.

    Select targets by SOURCE/TARGET, a pattern such as acme/*, or a label KEY=VALUE. For each
    target, the command shows the live commit, the target revision, and the rows of a running apply.
    It reads the controller's store, even while the controller runs. With --url, it reads the
    controller's HTTP API instead.
    """
    if url := cli.controller.choose_controller_url(url):
        document = cli.controller.open_controller_api(console, url).read_target_list()
    else:
        document = cli.api.read_stored_targets(data)
    if patterns:
        items = [
            item
            for item in document["items"]
            if any(cli.answers.matches_target(pattern, item) for pattern in patterns)
        ]
        if not items:
            raise cli.controller.no_target_error(patterns)
        pauses = [
            pause
            for pause in document["pauses"]
            if any(fnmatchcase(item["name"], pause["scope"]) for item in items)
        ]
        document = {**document, "items": items, "total": len(items), "pauses": pauses}
    cli.controller.print_target_list(console, document)
    return 0


@manual_command(
    "reconcile",
    examples={
        "controller reconcile acme/prod": "Check a target now instead of at its next interval.",
        "controller reconcile 'acme/*'": "Check every target of a source.",
        "controller reconcile acme/prod --wait --timeout 10m": "Also wait, and print the result.",
    },
    exits={
        "0": "requested; with --wait: checked, and nothing failed",
        "1": "no target matches, you lack permission, or the controller does not answer",
        "7": "the answer was lost, so the outcome is unknown",
        "1, 3, 5, 7": "with --wait: as for `plan` and `apply`; 1 also after the timeout",
    },
    environment=API_ENVIRONMENT,
)
@options.use("color")
@add_url_option
@click.argument("patterns", type=SELECTOR, nargs=-1, required=True, metavar="SOURCE/TARGET...")
@option(
    "--wait", "Wait until the controller has finished, and print the result.", name="is_waiting"
)
@option(
    "--timeout SPAN", "How long to wait in total, such as 10m or 2h (default: 30m).", type=TIME_SPAN
)
def reconcile(
    *,
    console: Console,
    url: str,
    patterns: tuple[str, ...],
    is_waiting: bool,
    timeout: timedelta | None,
) -> int:
    """Make a running controller fetch and check targets now. It also retries failing targets.

    Select targets by SOURCE/TARGET, a pattern such as acme/*, or a label KEY=VALUE. The mode,
    windows, pauses and approvals of a target still decide what the controller applies. With --wait,
    the command also waits for the apply, but not for rows that await approval or a window.
    """
    if timeout is not None and not is_waiting:
        raise click.UsageError("--timeout needs --wait.")
    api = cli.controller.open_controller_api(console, url)
    names = cli.controller.list_matching(patterns, api.names_matching)
    asked_names: list[str] = []

    def request_reconcile(name: str) -> str:
        api.ask(cli.verbs.RECONCILE, target=name)
        asked_names.append(name)
        return cli.verbs.RECONCILE.result.format(target=name)

    code = cli.controller.request_each(console, names, request_reconcile)
    if not is_waiting:
        return code
    span = timeout or timedelta(minutes=30)
    return Exit.select_exit_code(
        code, cli.controller.wait_for_targets(console, api, asked_names, span)
    )


@manual_command(
    "pause",
    examples={
        'controller pause acme/prod --reason "incident 4711"': "Pause a target for a day.",
        'controller pause "acme/*" --for 4h --reason migration': (
            "Pause all targets of a source for four hours."
        ),
        "controller pause acme/prod --until 2026-12-01T09:00:00Z --reason freeze": (
            "Pause a target until a time."
        ),
    },
    exits={
        "0": "paused",
        "1": "no target matches, you lack permission, or the controller does not answer",
        "7": "the answer was lost, so the outcome is unknown",
    },
    environment=API_ENVIRONMENT,
)
@_pattern_options
@option("--reason TEXT", "The reason, shown on the page.", required=True)
@option(
    "--for SPAN", "How long to pause, such as 12h or 7d (default: 1d).", name="span", type=TIME_SPAN
)
@option("--until TIME", "When the pause ends: a date, or a date with a time.", type=DATE_TIME)
def pause(
    *,
    console: Console,
    url: str,
    patterns: tuple[str, ...],
    reason: str,
    span: timedelta | None,
    until: datetime | None,
) -> int:
    """Make a running controller stop applying to targets for a while.

    The controller continues to check them. A running apply stops: calls in progress finish, and no
    call begins later than 10 s after the pause. A pattern also pauses targets that you add later; a
    label, such as tier=gold, pauses only the targets that currently have this label. A second pause
    for the same pattern replaces the first.
    """
    if span is not None and until is not None:
        raise click.UsageError("--for and --until cannot be combined.")
    end = until or datetime.now(UTC) + (span or timedelta(days=1))
    api = cli.controller.open_controller_api(console, url)
    scopes = cli.controller.list_matching(patterns, api.scopes_matching)

    def pause_scope_and_describe(scope: str) -> str:
        until = end.isoformat(timespec="seconds")
        result = api.ask(cli.verbs.PAUSE, scope=scope, reason=reason, until=until)
        return cli.verbs.PAUSE.result.format(
            scope=scope, until=result.until or f"{end:%Y-%m-%dT%H:%M:%SZ}"
        )

    return cli.controller.request_each(console, scopes, pause_scope_and_describe)


@manual_command(
    "resume",
    examples={
        "controller resume acme/prod": "End the pause, the rollback or the brake of a target.",
        "controller resume 'acme/*'": "End the pause that was set with this pattern.",
    },
    exits={
        "0": "resumed",
        "1": (
            "there is no such pause, rollback or brake, you lack permission, or the controller "
            "does "
            "not answer"
        ),
        "7": "the answer was lost, so the outcome is unknown",
    },
    environment=API_ENVIRONMENT,
)
@_pattern_options
def resume(*, console: Console, url: str, patterns: tuple[str, ...]) -> int:
    """End pauses that people have set. Specify each pause by the pattern that it was set with.

    A label, such as tier=gold, ends the pauses of each target that currently has this label.

    If there is no such pause, the command ends the rollbacks of the matching targets. If there are
    no rollbacks, it ends their brakes, and the controller restores the braked fields now. To end a
    pause in controller.yaml, change controller.yaml.
    """
    api = cli.controller.open_controller_api(console, url)
    scopes = cli.controller.list_matching(patterns, api.scopes_to_resume)

    def resume_scope(scope: str) -> str:
        api.ask(cli.verbs.RESUME, scope=scope)
        return cli.verbs.RESUME.result.format(scope=scope)

    return cli.controller.request_each(console, scopes, resume_scope)


@manual_command(
    "rollback",
    examples={
        'controller rollback acme/prod 1a2b3c4 --reason "incident 4711"': (
            "Show what the rollback does, and ask for confirmation."
        ),
        "controller rollback 'acme/eu-*' 1a2b3c4 --reason slow --auto-approve": (
            "Roll back several targets in a script."
        ),
        "controller resume acme/prod": "End it.",
    },
    exits={
        "0": "rolled back",
        "1": "the answer was not `yes`, you lack permission, or the controller does not answer",
        "4": "the plan has changed since it was shown",
        "5": "the controller may not apply the revision to the target",
        "7": "the answer was lost, so the outcome is unknown",
    },
    environment=API_ENVIRONMENT,
)
@options.use("color")
@add_url_option
@_add_selector_argument
@click.argument("revision", type=Typed("revision", _parse_revision), metavar="REVISION")
@add_reason_option
@option(
    "--auto-approve", "Show what the rollback does, and roll back without asking for confirmation."
)
def rollback(
    *, console: Console, url: str, target: str, revision: str, reason: str, auto_approve: bool
) -> int:
    """Roll targets back to an earlier revision, and keep them there.

    The revision is a commit that was the head of the source. The controller first plans each target
    at that revision and shows what cannot be rolled back. The target stays there until a commit
    changes what the head declares for it, or until `controller resume`. Mode, windows, pauses and
    approvals still apply.
    """
    return cli.controller.roll_back(
        console, url=url, pattern=target, revision=revision, reason=reason,
        is_asking=not auto_approve,
    )  # fmt: skip


@manual_command(
    "approve",
    examples={
        "controller approve acme/prod": "Show the rows that await approval, and ask for "
        "confirmation.",
        "controller approve acme/prod --row row1:...": (
            "In a script: approve rows that a person has reviewed."
        ),
        "controller approve 'acme/prod-*'": "Show the rows of all these targets, and ask for "
        "confirmation once.",
    },
    exits={
        "0": "approved, or no row awaits approval",
        "1": "no target matches, the answer was not `yes`, you lack permission, or the controller "
        "does not answer",
        "4": "a row no longer awaits approval, or has changed",
        "5": "the row cannot be approved, or you cannot approve it (`not_author`)",
        "7": "the answer was lost, so the outcome is unknown",
    },
    environment=API_ENVIRONMENT,
)
@options.use("color")
@add_url_option
@_add_selector_argument
@add_row_option
@click.option("--reason", default="", metavar="TEXT", help="The reason, shown on the page.")
def approve(
    *, console: Console, url: str, target: str, row_digests: tuple[str, ...], reason: str
) -> int:
    """Approve rows that await approval on one target, or on all that match a pattern or a label.

    On a terminal, the command shows every row and then asks for confirmation once. In a
    non-interactive run, specify each row by its digest, so that you approve only rows that you have
    reviewed. An approval ends when the row changes, when it is used, and after seven days.
    """
    api, verb = cli.controller.open_controller_api(console, url), cli.verbs.APPROVE
    chosen = cli.controller.choose_rows_by_target(console, api, target, row_digests, verb)

    def approve_rows(name: str) -> str:
        rows = chosen[name]
        given = {"reason": reason} if reason else {}
        result = api.ask(verb, target=name, rows=[row.digest for row in rows], **given)
        rows_left = api.list_held_rows(name)
        return cli.controller.format_row_result(verb, name, rows, result.who, rows_left)

    return cli.controller.request_each(console, tuple(chosen), approve_rows)


@manual_command(
    "reject",
    examples={
        'controller reject acme/prod --reason "not before the release"': (
            "Show the rows that await approval, and ask for confirmation."
        ),
        "controller reject acme/prod --row row1:... --reason wrong": (
            "Reject one row without asking for confirmation."
        ),
    },
    exits={
        "0": "rejected, or no row awaits approval",
        "1": "no target matches, the answer was not `yes`, you lack permission, or the controller "
        "does not answer",
        "4": "a row no longer awaits approval, or has changed",
        "5": "the controller refuses the rejection, and the rows still await approval",
        "7": "the answer was lost, so the outcome is unknown",
    },
    environment=API_ENVIRONMENT,
)
@options.use("color")
@add_url_option
@_add_selector_argument
@add_row_option
@add_reason_option
def reject(
    *, console: Console, url: str, target: str, row_digests: tuple[str, ...], reason: str
) -> int:
    """Reject rows that await approval, and withdraw approvals, on one or several targets.

    A rejected row stays in the list, marked as rejected, until Git or the live object changes. A
    person can still approve it later.
    """
    api, verb = cli.controller.open_controller_api(console, url), cli.verbs.REJECT
    chosen = cli.controller.choose_rows_by_target(console, api, target, row_digests, verb)

    def reject_rows(name: str) -> str:
        rows = chosen[name]
        digests = [row.digest for row in rows]
        result = api.ask(verb, target=name, rows=digests, reason=reason)
        return cli.controller.format_row_result(verb, name, rows, result.who)

    return cli.controller.request_each(console, tuple(chosen), reject_rows)


@manual_command(
    "forget-rule",
    examples={
        "controller forget-rule acme/prod": "Forget a target that was renamed or removed.",
        "controller forget-rule 'acme/tenant-*'": "Forget all matching targets that were removed.",
    },
    exits={"0": "forgotten, or there was nothing to forget", "1": "the store does not exist"},
)
@options.use("color")
@click.argument("target", type=PATTERN, metavar="SOURCE/TARGET")
@add_file_argument
@add_data_option
def forget_rule(*, console: Console, target: str, file: Path, data: Path) -> int:
    """Forget for which backend, tenant and state the rules of targets were given.

    If a target no longer exists in Git, another name can then take its place. If a target exists
    and now points to a different backend, the command accepts that backend. Run the command on the
    controller's machine; the controller may be running.
    """
    lines = cli.run.forget_rules(file, data, console.environ, target)
    for line in lines or [
        (f"No matching target ({target}) has been removed or points to a different backend.")
    ]:
        console.write_note(sanitize(line))
    return 0


@manual_command(
    "accept-push",
    examples={
        f"controller accept-push acme {_EXAMPLE} --reason cleaned": (
            "Follow the branch at this commit, which does not contain the head."
        ),
    },
    exits={"0": "accepted", "1": "the controller does not hold this commit"},
)
@options.use("color")
@click.argument("source", metavar="SOURCE")
@click.argument("commit", type=Typed("commit", _parse_commit), metavar="COMMIT")
@add_file_argument
@add_data_option
@option("--reason TEXT", "The reason; the audit shows it.", required=True)
def accept_push(
    *, console: Console, source: str, commit: str, file: Path, data: Path, reason: str
) -> int:
    """Accept a force push to a source's branch once.

    The controller holds a commit that does not contain the head of its source, unless the source
    has `rewinds: follow`. This command makes the held commit the next head; the rules of the
    targets and `signed` still count. Run the command on the controller's machine; the controller
    may be running.
    """
    with closing(cli.run.open_own_store(file, data, console.environ)) as store:
        held = cli.run.accept_push(store, source, commit, reason)
    console.write_note(sanitize(f"The next fetch makes {held} the head of {source}."))
    return 0


@manual_command(
    "audit",
    examples={
        "controller audit": "Use the store of the controller in this folder.",
        "controller audit acme/prod --who proxy:ann": "List what ann did on one target.",
        "controller audit --url https://synapse-apply.acme.example": (
            "Check the audit of a running controller."
        ),
    },
    exits={
        "0": "the chain is intact",
        "1": "the chain is broken, the store does not exist, or the controller does not answer",
    },
    environment=API_ENVIRONMENT,
)
@options.use("json")
@add_data_option
@add_url_option
@click.argument(
    "pattern",
    type=PATTERN,
    default=None,
    required=False,
    metavar="[SOURCE/TARGET]",
)
@option(
    "--who NAME",
    "List only rows of this person or token: proxy:NAME, oidc:NAME or token:NAME.",
    default="",
)
@option(
    "--limit N",
    "How many rows to list. The command always checks all rows.",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
)
@option(
    "--expect DIGEST",
    "Fail unless a row has this digest, such as a digest from last week's log.",
    name="expected_digest",
    default="",
)
def audit(
    *,
    console: Console,
    data: Path,
    url: str,
    pattern: str | None,
    who: str,
    limit: int,
    expected_digest: str,
) -> int:
    """List who did what and when, newest first, and check that no row was changed or removed.

    Each row has a digest of itself and the row before it. The command recomputes the whole chain,
    even while the controller runs. Only a digest that you keep elsewhere proves that the newest
    rows are complete: the controller logs its newest digest every hour.
    """
    selection = cli.audit_report.AuditSelection(pattern or "", who, limit)
    if url := cli.controller.choose_controller_url(url):
        api = cli.controller.open_controller_api(console, url)
        report = cli.audit_report.check_audit_rows(
            api.iter_unmasked_audit_rows(), selection, expected_digest
        )
        return cli.controller.print_audit_report(console, report, api.mask)
    return cli.controller.print_audit_report(
        console, cli.audit_report.read_stored_audit(data, selection, expected_digest)
    )


@manual_command(
    "backup",
    examples={"controller backup main.backup": "Copy the store to a new file."},
    exits={
        "0": "written",
        "1": "the store does not exist, or the file already exists or cannot be written",
    },
)
@options.use("color")
@add_data_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(*, console: Console, data: Path, file: Path) -> int:
    """Copy a controller's store to a new file, even while the controller runs.

    To restore it, stop the controller and put the file into its data folder as controller.db. For a
    store in PostgreSQL (`store` in controller.yaml), use pg_dump.
    """
    cli.run.write_store_backup(data, file)
    console.write_output(f"Wrote {file}.\n")
    return 0


_ROLLOUT_VERBS = {
    "approve": "APPROVE_WAVE",
    "resume": "RESUME_ROLLOUT",
    "skip": "SKIP_WAVE",
    "abort": "ABORT_ROLLOUT",
}


@manual_command(
    "rollout",
    examples={
        "controller rollout status": "List all rollouts; rollouts that need attention come first.",
        "controller rollout status fleet": "Show one rollout wave by wave.",
        "controller rollout status fleet --json": "Print a rollout with every target as JSON.",
        "controller rollout approve fleet": "Show the rows that await approval, and ask for "
        "confirmation.",
        f"controller rollout approve fleet --revision {_EXAMPLE} --wave 3": (
            "In a script: approve what a person has reviewed."
        ),
        "controller rollout resume fleet": "Show why the rollout stopped, and ask for "
        "confirmation.",
        'controller rollout skip fleet --reason "eu-4 is being rebuilt"': (
            "Show the open wave, and ask for confirmation."
        ),
        f"controller rollout abort fleet --revision {_EXAMPLE} --reason wrong": (
            "In a script: abort what a person has reviewed."
        ),
    },
    exits={
        "0": "printed, or the decision was made",
        "1": (
            "the rollout does not exist, the answer was not `yes`, you lack permission, or the "
            "controller does not answer"
        ),
        "4": "the rollout is now at a different revision or wave",
        "5": "the state of the rollout does not allow this decision",
        "7": "the answer was lost, so the outcome is unknown",
    },
    environment=API_ENVIRONMENT,
)
@options.use("json")
@add_url_option
@click.argument(
    "action", type=click.Choice(["status", *_ROLLOUT_VERBS]),
    metavar="status|approve|resume|skip|abort",
)  # fmt: skip
@click.argument("name", metavar="[NAME]", default="", required=False)
@option(
    "--revision COMMIT",
    "The revision that a person has reviewed. The command then does not ask for confirmation.",
    type=Typed("commit", lambda text: _parse_commit(text).lower()),
)
@option(
    "--wave N",
    "With approve and skip: the wave that a person has reviewed. Needs --revision.",
    type=click.IntRange(min=1),
)
@option("--reason TEXT", "With skip and abort: the reason, shown on the page.", default="")
def rollout(
    *,
    console: Console,
    url: str,
    action: str,
    name: str,
    revision: str | None,
    wave: int | None,
    reason: str,
) -> int:
    """Show the progress of rollouts, and decide on them.

    A rollout brings a new revision to targets wave by wave. A wave ends when each of its targets is
    healthy. Too many failures stop the rollout until a person decides.

    \b
      status    list the rollouts, or show one wave by wave
      approve   start the next wave, if its configuration says `approve`
      resume    continue a stopped rollout and retry its failed targets
      skip      end the open wave without waiting for healthy targets, and
                start the next wave
      abort     stop rolling out a revision: targets that have it keep it, and
                targets that are changing to it are paused until a later one

    A decision applies to one revision; `approve` and `skip` apply to one wave of it. You need
    the `approve` right for every target of the rollout, or of the wave.
    """  # noqa: D301 - the escape is meant: it keeps the lines below it apart
    if action == "status":
        if revision or wave or reason:
            raise click.UsageError(
                "--revision, --wave and --reason cannot be combined with `rollout status`."
            )
        return _print_rollouts(console, url, name)
    verb = getattr(cli.verbs, _ROLLOUT_VERBS[action])
    if not name or console.as_json:
        raise click.UsageError(
            f"`rollout {action}` needs the NAME of one rollout, and has no --json."
        )
    if bool(reason) != ("reason" in verb.members):
        raise click.UsageError(
            f"`rollout {action}` {'needs a' if 'reason' in verb.members else 'has no'} --reason."
        )
    if wave and "wave" not in verb.subject.value:
        raise click.UsageError(f"`rollout {action}` has no --wave.")
    return cli.controller.decide_on_rollout(
        console, verb, url=url, name=name, revision=revision, wave=wave, reason=reason
    )


def _print_rollouts(console: Console, url: str, name: str) -> int:
    """Print one rollout, or a line for each."""
    api = cli.controller.open_controller_api(console, url)
    if not name:
        rollouts = api.list_rollouts()
        items = [dict(rollout.fields) for rollout in rollouts]
        document = {"apiVersion": "synapse-apply/v1", "kind": "RolloutList", "items": items}
        text = cli.controller.format_rollout_list(
            [rollout.document for rollout in rollouts], color=console.is_output_colored
        )
    else:
        rollout = api.read_rollout(name, reads_all_targets=console.as_json)
        document = dict(rollout.fields)
        text = cli.controller.format_rollout(rollout.document, color=console.is_output_colored)
    console.show(document, text)
    return 0

"""The commands of `controller`: what is run, asked of a controller and said to it."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import click

from synapse_apply import cli
from synapse_apply.cli import options, registry
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import LazyGroup, manual_command
from synapse_apply.cli.typed import DATE_TIME, TIME_SPAN, Typed, complete_controlled, text_of
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import Exit, InputError
from synapse_apply.views.sanitize import sanitize

_URL_VARIABLE = "SYNAPSE_APPLY_CONTROLLER_URL"

add_file_argument = click.argument(
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("controller.yaml"),
    required=False,
)
# The default is that of controller/run.py, which is not imported for --help.
add_data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".synapse-apply") / "controller",
    metavar="FOLDER",
    help="The controller's data folder, instead of .synapse-apply/controller.",
)
add_url_option = click.option(
    "--url",
    default="",
    envvar=_URL_VARIABLE,
    metavar="URL",
    help=f"The address of a running controller, instead of {_URL_VARIABLE}.",
)
# The default is that of controller/worker/pool.py.
add_looks_option = click.option(
    "--looks",
    type=click.IntRange(min=1, max=256),
    default=4,
    show_default=True,
    metavar="N",
    help="How many targets this process looks at or applies at a time.",
)
# What the help of each command says that asks a controller over HTTP.
API_ENVIRONMENT = (
    ("SYNAPSE_APPLY_CONTROLLER_URL", "the controller's address, where there is no --url"),
    ("SYNAPSE_APPLY_CONTROLLER_TOKEN", "a token of `access.tokens`; goes to https or loopback"),
)


# SOURCE/TARGET, or a pattern of it such as `acme/*`; what a name cannot have is refused by the
# controller.
parse_pattern = text_of(r"[^/\s]+/\S+|\*", "{!r} is not SOURCE/TARGET.")
# The id of a commit, or its first 7 digits at least.
_parse_revision = text_of(
    "[0-9a-fA-F]{7,64}", "{!r} is not the id of a commit (7 digits at least)."
)


def parse_target(text: str) -> str:
    """SOURCE/TARGET of one target; ValueError for any other text."""
    if any(character in parse_pattern(text) for character in "*?["):
        raise ValueError(f"{text!r} is a pattern; here it is one target.")
    return text


TARGET = Typed("target", parse_target, complete_controlled)
PATTERN = Typed("target", parse_pattern, complete_controlled)
add_target_or_pattern_argument = click.argument("target", type=PATTERN, metavar="SOURCE/TARGET")
add_target_patterns_argument = click.argument(
    "patterns",
    type=PATTERN,
    nargs=-1,
    required=True,
    metavar="SOURCE/TARGET...",
)
add_row_option = click.option(
    "--row",
    "row_digests",
    # Not a part of it, which could be that of another row.
    type=Typed(
        "digest",
        text_of("row1:[0-9a-f]{64}", "{!r} is not a whole row digest (row1: and 64 digits)."),
    ),
    multiple=True,
    metavar="DIGEST",
    help="This row, as the page or this command showed it; may be repeated. Nothing is asked.",
)


add_reason_option = click.option(
    "--reason", required=True, metavar="TEXT", help="Why; stands on the page."
)


_pattern_options = options.combine(
    options.use("color"), add_url_option, add_target_patterns_argument
)


@click.group("controller", cls=LazyGroup, entries=registry.CONTROLLER)
def group() -> None:
    """Follow Git all the time: keep targets as it says, and show them all on one page.

    What may be applied is said for each target by its mode: observe (nothing), auto, or approve (a
    person first). A red commit, drift, what waits for a person and a target that cannot be planned
    are shown on its page, as commit statuses and as messages.
    """


@manual_command(
    "run",
    examples=[
        ("synapse-apply controller run", "Follow what controller.yaml says, until stopped."),
        ("synapse-apply controller run --demo", "With a repository and backends made for it."),
        ("synapse-apply controller run --once", "One round, for cron."),
        ("synapse-apply controller run /etc/acme.yaml --data /var/lib/acme", "For a service."),
        ("synapse-apply controller run --worker", "Work beside the replicas of this controller."),
    ],
    exits=[
        ("0", "stopped by Ctrl-C or SIGTERM; --once: all is looked at, and applied where it may"),
        ("1", "it could not start; --once: a source cannot be followed, a target not be planned"),
        ("2", "--once --detailed-exitcode: something is not live, is held, or waits"),
        ("3", "--once: an apply did not do all that it was to do"),
        ("5", "--once: something is refused where the controller applies"),
        ("6", "another controller uses the data folder; --once: another process leads it"),
        ("7", "--once: nobody knows whether a call had an effect"),
    ],
    environment=[("SYNAPSE_APPLY_LOG=json", "Log lines as JSON.")],
)
@options.use("color")
@add_file_argument
@add_data_option
@click.option("--once", is_flag=True, help="Do what is due, print a table, and end.")
@click.option(
    "--demo",
    is_flag=True,
    help="Make a repository, backends and a configuration in a temporary folder, show what a "
    "controller does with them, and remove them at the end.",
)
@click.option("--keep", is_flag=True, help="With --demo: leave the folder there.")
@click.option(
    "--worker",
    is_flag=True,
    help="Plan and apply what is due, and nothing else: beside replicas whose store is on "
    "PostgreSQL.",
)
@add_looks_option
@click.option(
    "--detailed-exitcode",
    "detailed",
    is_flag=True,
    help="With --once: exit with 2 where there are changes, drift or refusals.",
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
    """Follow Git, plan every target, apply what its mode lets it, and show it on a page.

    Writes a line to stderr for each new head, each look that found something new, each apply, and
    each failure. SIGHUP has it read the file again; one with errors is not taken. A first Ctrl-C or
    SIGTERM lets looks end for some seconds and of applies what has begun; a second one stops at
    once.

    A --worker has no page, follows no branch and sends no message: at least one `run` without it
    has the same file. Any number of workers may come and go, each with its own data folder.
    """
    if worker and (once or demo):
        raise click.UsageError("--worker goes on until it is stopped: leave out --once and --demo.")
    if detailed and not once:
        raise click.UsageError("--detailed-exitcode goes with --once.")
    if demo and once:
        raise click.UsageError("--demo goes on until it is stopped: leave out --once.")
    if keep and not demo:
        raise click.UsageError("--keep goes with --demo.")
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
    console.write_note("Making a Git repository and three backends ...")
    with open_demo(console.write_note, keep=keep) as demo:
        console.write_note(f"All of it is in {demo.folder}, and the page at {demo.page_url}")
        variables = {**os.environ, **demo.variables}
        cli.run.serve_controller(
            cli.run.ControllerSetup(
                demo.configuration_file, demo.data_folder, variables, sys.stderr
            )
        )


@manual_command(
    "check",
    examples=[
        ("synapse-apply controller check", "Check controller.yaml."),
        (
            "synapse-apply controller check --online",
            "Also what a start on this machine would refuse.",
        ),
        ("synapse-apply controller check acme.yaml --strict", "Warnings are errors."),
    ],
    exits=[("0", "valid, warnings aside"), ("1", "there are errors; every one is shown")],
)
@options.use("json")
@add_file_argument
@click.option("--strict", is_flag=True, help="Warnings are errors.")
@click.option(
    "--online",
    is_flag=True,
    help="Also read the secrets and the head of each repository, and ask the store's database.",
)
def check(*, console: Console, file: Path, strict: bool, online: bool) -> int:
    """Check a controller's configuration; without --online it reads no secret and asks nobody.

    Every finding is shown with file, line and column. What this version does not use is a warning.
    With --online each repository is fetched into a temporary folder; nothing is written elsewhere.
    """
    findings = cli.checking.check_configuration(file, dict(os.environ) if online else None)
    if strict:
        findings = tuple(finding.as_error() for finding in findings)
    errors = any(finding.is_error for finding in findings)
    text = "" if errors else f"{file} is valid.\n"
    return console.show_checked("controller check", findings, text)


@manual_command(
    "status",
    examples=[
        ("synapse-apply controller status", "Of the controller of this folder."),
        ("synapse-apply controller status --url http://127.0.0.1:8080", "Of a running one."),
        ("synapse-apply controller status --json", "For a script."),
    ],
    exits=[("0", "printed"), ("1", "there is no store, or the controller does not answer")],
    environment=API_ENVIRONMENT,
)
@options.use("json")
@add_data_option
@add_url_option
def status(*, console: Console, data: Path, url: str) -> int:
    """List the targets of a controller, those that need a person first.

    Reads its store, also while it runs; with an address its HTTP API.
    """
    if url := cli.controller.choose_controller_url(url):
        document = cli.controller.open_controller_api(console, url).read_target_list()
    else:
        document = cli.api.read_stored_targets(data)
    cli.controller.print_target_list(console, document)
    return 0


@manual_command(
    "reconcile",
    examples=[
        ("synapse-apply controller reconcile acme/prod", "Now, and not at its next interval."),
        ("synapse-apply controller reconcile 'acme/*'", "Every target of a source."),
        (
            "synapse-apply controller reconcile acme/prod --wait --timeout 10m",
            "And what became of it.",
        ),
    ],
    exits=[
        ("0", "asked for; with --wait: looked at, and nothing failed"),
        ("1", "no such target, no right, or the controller does not answer"),
        ("7", "the answer was lost"),
        ("1, 3, 5, 7", "with --wait, as `plan` and `apply` by hand; 1 when the time is over"),
    ],
    environment=API_ENVIRONMENT,
)
@_pattern_options
@click.option(
    "--wait", "is_waiting", is_flag=True, help="Wait until it is done, and print what it found."
)
@click.option(
    "--timeout",
    type=TIME_SPAN,
    metavar="SPAN",
    help="How long to wait in all (10m, 2h); 30m by default.",
)
def reconcile(
    *,
    console: Console,
    url: str,
    patterns: tuple[str, ...],
    is_waiting: bool,
    timeout: timedelta | None,
) -> int:
    """Have a running controller fetch and look at targets at once; a failing one is tried again.

    What it then applies is what the mode of the target, its windows, pauses and approvals let it.
    With --wait that has ended, too; what is held or waits for a window is not waited for.
    """
    if timeout is not None and not is_waiting:
        raise click.UsageError("--timeout goes with --wait.")
    api = cli.controller.open_controller_api(console, url)
    names = list(
        dict.fromkeys(name for pattern in patterns for name in api.names_matching(pattern))
    )
    if not names:
        raise InputError.from_summary(
            "No target matches",
            f"The controller at {api.url} has none that matches {', '.join(patterns)}.",
            Text("List them with ", Command("controller status"), "."),
        )

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
    examples=[
        ('synapse-apply controller pause acme/prod --reason "incident 4711"', "For a day."),
        ('synapse-apply controller pause "acme/*" --for 4h --reason migration', "A source."),
        (
            "synapse-apply controller pause acme/prod --until 2026-12-01T09:00:00Z --reason freeze",
            "To a time.",
        ),
    ],
    exits=[
        ("0", "paused"),
        ("1", "nothing matches, no right, or the controller does not answer"),
        ("7", "the answer was lost"),
    ],
    environment=API_ENVIRONMENT,
)
@_pattern_options
@click.option("--reason", required=True, metavar="TEXT", help="Why; stands on the page.")
@click.option(
    "--for", "span", type=TIME_SPAN, metavar="SPAN", help="For how long (12h, 7d); 1d by default."
)
@click.option(
    "--until", type=DATE_TIME, metavar="TIME", help="Until when: a date, or a date with a time."
)
def pause(
    *,
    console: Console,
    url: str,
    patterns: tuple[str, ...],
    reason: str,
    span: timedelta | None,
    until: datetime | None,
) -> int:
    """Have a running controller apply nothing to targets for a while; they are still looked at.

    An apply that is under way ends in its middle: what has begun ends, and no call begins later
    than 10 s after the pause. A pattern counts also for targets that come later. A second pause of
    the same pattern replaces the first.
    """
    if span is not None and until is not None:
        raise click.UsageError("--for and --until do not go together.")
    end = until or datetime.now(UTC) + (span or timedelta(days=1))
    api = cli.controller.open_controller_api(console, url)

    def pause_scope_and_describe(scope: str) -> str:
        until = end.isoformat(timespec="seconds")
        result = api.ask(cli.verbs.PAUSE, scope=scope, reason=reason, until=until)
        return cli.verbs.PAUSE.result.format(
            scope=scope, until=result.until or f"{end:%Y-%m-%dT%H:%M:%SZ}"
        )

    return cli.controller.request_each(console, patterns, pause_scope_and_describe)


@manual_command(
    "resume",
    examples=[
        ("synapse-apply controller resume acme/prod", "End its pause, or its rollback."),
        ("synapse-apply controller resume 'acme/*'", "End the pause of this pattern."),
    ],
    exits=[
        ("0", "resumed"),
        ("1", "there is no such pause or rollback, no right, or no controller answers"),
        ("7", "the answer was lost"),
    ],
    environment=API_ENVIRONMENT,
)
@_pattern_options
def resume(*, console: Console, url: str, patterns: tuple[str, ...]) -> int:
    """End pauses that people have set, each by the pattern that it was set for.

    Where there is no such pause, the rollbacks of targets that match end. A pause that stands in
    controller.yaml ends where that is changed.
    """
    api = cli.controller.open_controller_api(console, url)

    def resume_scope(scope: str) -> str:
        api.ask(cli.verbs.RESUME, scope=scope)
        return cli.verbs.RESUME.result.format(scope=scope)

    return cli.controller.request_each(console, patterns, resume_scope)


@manual_command(
    "rollback",
    examples=[
        (
            'synapse-apply controller rollback acme/prod 1a2b3c4 --reason "incident 4711"',
            "Show what it does, and ask.",
        ),
        (
            "synapse-apply controller rollback 'acme/eu-*' 1a2b3c4 --reason slow --auto-approve",
            "Several, for a script.",
        ),
        ("synapse-apply controller resume acme/prod", "End it."),
    ],
    exits=[
        ("0", "rolled back"),
        ("1", "the answer was not `yes`, no right, or no controller answers"),
        ("4", "the plan is another by now than what was shown"),
        ("5", "the controller may not apply the revision there"),
        ("7", "the answer was lost"),
    ],
    environment=API_ENVIRONMENT,
)
@options.use("color")
@add_url_option
@add_target_or_pattern_argument
@click.argument("revision", type=Typed("revision", _parse_revision), metavar="REVISION")
@add_reason_option
@click.option("--auto-approve", is_flag=True, help="Show what it does, and do not ask.")
def rollback(
    *, console: Console, url: str, target: str, revision: str, reason: str, auto_approve: bool
) -> int:
    """Bring targets back to an earlier revision, where they stay.

    The revision is a commit that was the head of the source. Each target is planned at it first,
    and what cannot go back is shown. It stays there until a commit changes what the head
    declares for it, or until `controller resume`. Mode, windows, pauses and approvals count as
    always.
    """
    return cli.controller.roll_back(
        console, url=url, pattern=target, revision=revision, reason=reason,
        is_asking=not auto_approve,
    )  # fmt: skip


@manual_command(
    "approve",
    examples=[
        ("synapse-apply controller approve acme/prod", "Show what waits, and ask."),
        (
            "synapse-apply controller approve acme/prod --row row1:...",
            "For a script: the rows that somebody has seen.",
        ),
        ("synapse-apply controller approve 'acme/*'", "All that mean another backend now."),
    ],
    exits=[
        ("0", "approved, or nothing waits"),
        ("1", "the answer was not `yes`, no right, or the controller does not answer"),
        ("4", "a row does not wait any more as it was shown"),
        ("5", "nobody can approve such a row, or you cannot (`not_author`)"),
        ("7", "the answer was lost"),
    ],
    environment=API_ENVIRONMENT,
)
@options.use("color")
@add_url_option
@add_target_or_pattern_argument
@add_row_option
def approve(*, console: Console, url: str, target: str, row_digests: tuple[str, ...]) -> int:
    """Approve rows of a target that wait for a person.

    At a terminal every row is shown, and then it is asked. Elsewhere each approved row is named by
    its digest, so that nobody approves what they did not see. An approval is for what a row does:
    it ends when the row differs, when it is used, and after seven days. With a pattern it is about
    one sort of row alone: that a target means another backend now.
    """
    api = cli.controller.open_controller_api(console, url)
    chosen = cli.controller.choose_rows_by_target(
        console, api, target, row_digests, cli.verbs.APPROVE
    )
    for name, rows in chosen.items():
        result = api.ask(cli.verbs.APPROVE, target=name, rows=[row.digest for row in rows])
        rows_left = api.list_held_rows(name)
        console.write_output(
            cli.controller.format_row_result(cli.verbs.APPROVE, name, rows, result.who, rows_left)
        )
    return 0


@manual_command(
    "reject",
    examples=[
        (
            'synapse-apply controller reject acme/prod --reason "not before the release"',
            "Show what waits, and ask.",
        ),
        (
            "synapse-apply controller reject acme/prod --row row1:... --reason wrong",
            "One row, without a question.",
        ),
    ],
    exits=[
        ("0", "rejected, or nothing waits"),
        ("1", "the answer was not `yes`, no right, or the controller does not answer"),
        ("4", "a row does not wait any more as it was shown"),
        ("7", "the answer was lost"),
    ],
    environment=API_ENVIRONMENT,
)
@options.use("color")
@add_url_option
@click.argument("target", type=TARGET, metavar="SOURCE/TARGET")
@add_row_option
@click.option("--reason", required=True, metavar="TEXT", help="Why; stands on the page.")
def reject(
    *, console: Console, url: str, target: str, row_digests: tuple[str, ...], reason: str
) -> int:
    """Say of rows that wait for a person that they are not to be done, and take approvals back.

    They go on waiting, marked, until Git or the live object changes; who approves one later has
    the last word.
    """
    api = cli.controller.open_controller_api(console, url)
    for name, rows in cli.controller.choose_rows_by_target(
        console, api, target, row_digests, cli.verbs.REJECT
    ).items():
        digests = [row.digest for row in rows]
        result = api.ask(cli.verbs.REJECT, target=name, rows=digests, reason=reason)
        console.write_output(
            cli.controller.format_row_result(cli.verbs.REJECT, name, rows, result.who)
        )
    return 0


@manual_command(
    "forget-rule",
    examples=[
        ("synapse-apply controller forget-rule acme/prod", "It was renamed, or is no more."),
        ("synapse-apply controller forget-rule 'acme/tenant-*'", "All of these that are gone."),
    ],
    exits=[("0", "forgotten, or there was nothing to forget"), ("1", "there is no such store")],
)
@options.use("color")
@add_target_or_pattern_argument
@add_file_argument
@add_data_option
def forget_rule(*, console: Console, target: str, file: Path, data: Path) -> int:
    """Forget for which backend, tenant and state the rules of targets were given.

    Of a target that is gone from Git, so that another name may take its place. Of one that is
    declared and means another backend now, that is accepted. For the controller's own machine: it
    may run meanwhile.
    """
    lines = cli.run.forget_rules(file, data, console.environ, target)
    for line in lines or [f"No target that matches {target} is gone, or means another backend."]:
        console.write_note(sanitize(line))
    return 0


@manual_command(
    "audit",
    examples=[
        ("synapse-apply controller audit", "Of the controller of this folder."),
        ("synapse-apply controller audit acme/prod --who proxy:ann", "What ann did there."),
        ("synapse-apply controller audit --url https://synapse-apply.acme.example", "Elsewhere."),
    ],
    exits=[("0", "the chain holds"), ("1", "it does not, or there is no store or no answer")],
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
@click.option("--who", default="", metavar="NAME", help="Only of proxy:NAME or token:NAME.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="How many rows to list; all are checked.",
)
@click.option(
    "--expect",
    "expected_digest",
    default="",
    metavar="DIGEST",
    help="Fail unless a row has this digest, such as the one that a log has from last week.",
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
    """List who did what and when, newest first, and check that no row was changed or taken out.

    Each row has a digest over itself and the row before. The whole chain is computed anew here,
    whoever it was read from. That its end was cut off only a digest from elsewhere can tell: the
    controller logs the newest one every hour.
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
    examples=[("synapse-apply controller backup main.backup", "A copy of its store.")],
    exits=[("0", "written"), ("1", "no store, or the file is there or cannot be written")],
)
@options.use("color")
@add_data_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(*, console: Console, data: Path, file: Path) -> int:
    """Copy a controller's store to one new file, consistent even while it runs.

    To restore it, put it in the data folder of a controller that is stopped, as controller.db. A
    store in PostgreSQL (`store` of controller.yaml) is saved with pg_dump.
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
    examples=[
        ("synapse-apply controller rollout status", "All of them, who needs a person first."),
        ("synapse-apply controller rollout status fleet", "One, wave by wave."),
        ("synapse-apply controller rollout status fleet --json", "With every target."),
        ("synapse-apply controller rollout approve fleet", "Show what waits, and ask."),
        (
            "synapse-apply controller rollout approve fleet --revision 3b92d7c --wave 3",
            "For a script: what somebody has seen.",
        ),
        ("synapse-apply controller rollout resume fleet", "Show why it stopped, and ask."),
        (
            'synapse-apply controller rollout skip fleet --reason "eu-4 is being rebuilt"',
            "Show what is open, and ask.",
        ),
        (
            "synapse-apply controller rollout abort fleet --revision 3b92d7c --reason wrong",
            "In a script, where somebody has seen it.",
        ),
    ],
    exits=[
        ("0", "printed, or decided"),
        ("1", "no such rollout, the answer was not `yes`, no right, or no controller answers"),
        ("4", "the rollout has another revision or wave by now than what was shown"),
        ("5", "the rollout is in a state in which this cannot be asked"),
        ("7", "the answer was lost"),
    ],
    environment=API_ENVIRONMENT,
)
@options.use("json")
@add_url_option
@click.argument(
    "action", type=click.Choice(["status", *_ROLLOUT_VERBS]),
    metavar="status|approve|resume|skip|abort",
)  # fmt: skip
@click.argument("name", metavar="[NAME]", default="", required=False)
@click.option(
    "--revision",
    type=Typed("commit", lambda text: _parse_revision(text).lower()),
    metavar="COMMIT",
    help="The revision that somebody has seen; nothing is asked then.",
)
@click.option(
    "--wave",
    type=click.IntRange(min=1),
    metavar="N",
    help="With approve and skip: the wave that somebody has seen; goes with --revision.",
)
@click.option(
    "--reason", default="", metavar="TEXT", help="With skip and abort: why; stands on the page."
)
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
    """See how far rollouts are, and decide on them.

    A rollout brings a new revision to targets wave by wave. A wave ends once each of its targets
    is healthy. Too many failures stop the rollout, and a person decides.

    \b
      status    list the rollouts, or show one wave by wave
      approve   let the next wave begin, where its configuration says `approve`
      resume    continue a stopped rollout: failed targets are tried again
      skip      end the open wave without evidence, so that the next one begins
      abort     bring a revision no further; targets that have it keep it, and
                those that change to it are paused until a later one

    A decision is for one revision, of approve and skip for one wave. You need the right `approve`
    for every target of the rollout, or of the wave.
    """  # noqa: D301 - the escape is meant: it keeps the lines below it apart
    if action == "status":
        if revision or wave or reason:
            raise click.UsageError("--revision, --wave and --reason go with a decision.")
        return _print_rollouts(console, url, name)
    verb = getattr(cli.verbs, _ROLLOUT_VERBS[action])
    if not name or console.as_json:
        raise click.UsageError(f"`rollout {action}` takes the NAME of one rollout, and no --json.")
    if bool(reason) != ("reason" in verb.members):
        raise click.UsageError(
            f"`rollout {action}` takes {'a' if 'reason' in verb.members else 'no'} --reason."
        )
    if wave and "wave" not in verb.subject.value:
        raise click.UsageError(f"`rollout {action}` takes no --wave.")
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

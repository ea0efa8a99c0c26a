"""Options that several commands share, and how they become a Console, an Invocation, a target."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from synapse_apply.cli import typed
from synapse_apply.cli.console import Console, OutputFailedError, single_target
from synapse_apply.cli.help_pages import Terminated, format_command_name
from synapse_apply.files.commit_memory import pin_refs

if TYPE_CHECKING:
    from synapse_apply import Invocation, OpenTarget
    from synapse_apply.model.diagnostic import Diagnostic


CommandBody = Callable[..., int]
Decorator = Callable[[Any], Any]
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
# What ends all of a command, whatever it is doing: a usage error, or output that nobody takes.
END_OF_COMMAND = (click.ClickException, click.Abort, BrokenPipeError, OutputFailedError)


def parse_git_ref(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str:
    """The REF of `git:REF`; "" without the option, a usage error for another form."""
    if value is None:
        return ""
    kind, _, ref = value.partition(":")
    if kind != "git" or not ref:
        raise click.BadParameter(f"expected git:REF, not {value!r}.")
    return ref


def parse_plain_ref(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str:
    """The ref, "" without the option; a usage error for a blank one.

    An unset CI variable expands to blank, and must not select the checkout instead.
    """
    if value is not None and not value.strip():
        raise click.BadParameter("expected a tag, a branch or a commit.")
    return value or ""


def option(
    shown: str, text: str, *, name: str = "", **settings: Any
) -> Callable[[_Decorated], _Decorated]:
    """An option as --help shows it, such as `-t, --target NAME`; one without a value is a flag.

    `name` is that of the parameter, where it is not the option's own. `settings` are click's.
    """
    words = shown.replace(",", "").split()
    value = "" if words[-1].startswith("-") else words.pop()
    settings |= {"metavar": value} if value else {"is_flag": True}
    return click.option(*words, *filter(None, [name]), help=text, **settings)


def combine(*options: Decorator) -> Decorator:
    """A decorator that adds these options, in the order in which --help lists them."""
    return lambda body: functools.reduce(lambda made, add: add(made), reversed(options), body)


def use(*names: str) -> Decorator:
    """The options that several commands share, by their names in `_SHARED_OPTIONS`."""
    return combine(*(_SHARED_OPTIONS[name] for name in names))


def _give_console(body: CommandBody) -> CommandBody:
    """Call the body with `console`, in place of the options that say how it is printed."""

    @functools.wraps(body)
    def call_with_console(**parameters: Any) -> int:
        if parameters.get("as_events") and parameters.get("as_json"):
            raise click.UsageError("--json and --json-lines cannot be combined.")
        if parameters.get("output") == "yaml" and parameters.get("as_json"):
            raise click.UsageError("--json and -o yaml cannot be combined.")
        console = Console.from_options(parameters)
        for name in ("as_json", "as_lines", "as_events", "output", "color"):
            parameters.pop(name, None)
        return body(console=console, **parameters)

    return call_with_console


_JSON = option("--json", "Print one JSON document.", name="as_json")
_COLOR = click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    help="When to print colours; auto prints them only on a terminal.",
)


def _give_reports(body: CommandBody) -> CommandBody:
    """Add --report; the body is called with `reports`. Its failure is reported as well."""

    @option(
        "--report KIND=FILE",
        "Also write a report. Repeatable. KIND is json, html (a page for a browser), "
        "markdown (for a comment), github, or for a GitLab merge request gitlab (counts) "
        "or codequality (findings). `github` needs no FILE: it writes annotations to "
        "stderr and appends to $GITHUB_STEP_SUMMARY and $GITHUB_OUTPUT. With `-` as FILE, "
        "the report goes to stdout and the text to stderr.",
        name="report_requests",
        multiple=True,
        callback=typed.parse_report_options,
        shell_complete=typed.complete_reports,
    )
    @functools.wraps(body)
    def call_with_reports(
        *,
        report_requests: tuple[tuple[str, str], ...],
        console: Console,
        invocation: Invocation,
        **parameters: Any,
    ) -> int:
        if not report_requests:
            return body(console=console, invocation=invocation, reports=None, **parameters)
        from synapse_apply.cli.reports import Reports, raise_findings_if_any

        command = format_command_name(click.get_current_context())
        ends: tuple[type[BaseException], ...] = (*END_OF_COMMAND, click.exceptions.Exit)
        misplaced: Sequence[Diagnostic] = ()
        if console.section is not None:  # of several targets: what reports need is kept in there
            reports = Reports((), console, invocation, command)
            ends = (*END_OF_COMMAND, KeyboardInterrupt, Terminated)
        else:
            if any(file == "-" for _, file in report_requests):
                console = take_stdout(console)
            out_and_against = (parameters.get("out"), parameters.get("against") or "")
            reports, misplaced = Reports(
                report_requests, console, invocation, command, *out_and_against
            ).split_off_misplaced()
        try:
            raise_findings_if_any(misplaced)
            return body(console=console, invocation=invocation, reports=reports, **parameters)
        except ends:
            raise
        except (Exception, KeyboardInterrupt, Terminated) as failure:
            reports.write_failure(failure)
            raise

    return call_with_reports


def take_stdout(console: Console) -> Console:
    """The console of a command whose report goes to stdout; a usage error beside JSON."""
    if console.as_json:
        option = "--json-lines" if console.as_events else "--json"
        raise click.UsageError(f"{option} and a report to stdout cannot be combined.")
    return dataclasses.replace(console, is_stdout_taken=True)


def _give_invocation(body: CommandBody, *, takes_several_targets: bool = False) -> CommandBody:
    """Add -C and --project, and call the body with `invocation`: for each target, if it may be."""

    @option(
        "-C, --chdir FOLDER",
        "Work in this folder.",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
    )
    @option(
        "--project FILE",
        "The project file (default: synapse-apply.yaml here or in a parent folder).",
        type=click.Path(dir_okay=False, path_type=Path),
    )
    @functools.wraps(body)
    def call_with_invocation(
        *, chdir: Path | None, project: Path | None, target: tuple[str, ...] = (), **parameters: Any
    ) -> int:
        # A pipeline may have an empty variable there, which names none.
        target = tuple(filter(None, target))
        # The one target that is named; "" for none, and for several where there may be several.
        name = single_target({"target": target})
        if target and not name and not takes_several_targets:
            command = format_command_name(click.get_current_context())
            raise click.UsageError(f"`{command}` needs one target: specify it with -t NAME.")
        if not target or name:
            parameters.pop("keep_going", None)
        invocation_options = {
            key: parameters.pop(key) for key in _INVOCATION_OPTIONS if key in parameters
        }
        if "console" in parameters:
            parameters["console"] = dataclasses.replace(parameters["console"], typed_target=name)
        from synapse_apply.workspace.invocation import Invocation

        # Paths are resolved from the folder of -C.
        directory = Path.cwd() / chdir if chdir else Path.cwd()
        for key in invocation_options.keys() & {"variable_files", "paths"}:
            invocation_options[key] = tuple(directory / path for path in invocation_options[key])
        where = Invocation(
            directory=directory,
            project=directory / project if project else None,
            target=name or None,
            environ=dict(os.environ),
            on_terminal=parameters.get("console", Console()).is_interactive,
            command=format_command_name(click.get_current_context()),
            **invocation_options,
        )
        # A branch may move while the command runs, so each Git ref is resolved once.
        with pin_refs():
            if target and not name:
                from synapse_apply.cli.several_targets import run_on_targets

                return run_on_targets(body, where, target, parameters)
            return body(invocation=where, **parameters)

    return call_with_invocation


_INVOCATION_OPTIONS = (
    *("variables", "variable_files", "paths", "strict", "parallelism", "lock_timeout"),
    *("project_from", "as_of"),
)


def _target_option(help_text: str) -> Decorator:
    return option(
        "-t, --target NAME", help_text, multiple=True, shell_complete=typed.complete_targets
    )


_SELECTION = combine(
    option(
        "--only NAME",
        "Select only these resources: an address, release/PLUGIN, a name that no other kind uses, "
        "a kind, a label as KEY=VALUE, or any of these with `*`, such as "
        "storage/*. Repeatable.",
        multiple=True,
        shell_complete=typed.complete_selections,
    ),
    option(
        "--exclude NAME",
        "Exclude these resources, specified as for --only. Repeatable.",
        multiple=True,
        shell_complete=typed.complete_selections,
    ),
)
_TARGET_HELP = "The target: a name from the project file, or embedded."
_SHARED_OPTIONS: dict[str, Decorator] = {
    "json": combine(_JSON, _COLOR, _give_console),
    "yaml": combine(
        click.option(
            "-o",
            "--output",
            type=click.Choice(["yaml", "json"]),
            help="Print YAML, or the document of --json.",
        ),
        _JSON,
        _COLOR,
        _give_console,
    ),
    # For commands that make several calls.
    "events": combine(
        option(
            "--json-lines",
            "Print one JSON object per line during the run. The last line is the document "
            "of --json.",
            name="as_events",
        ),
        _JSON,
        _COLOR,
        _give_console,
    ),
    "json_lines": combine(
        option("--json", "Print one JSON object per line.", name="as_lines"),
        _COLOR,
        _give_console,
    ),
    "color": combine(_COLOR, _give_console),
    "report": _give_reports,
    "project": _give_invocation,
    "target": combine(_target_option(_TARGET_HELP), _give_invocation),
    # Of a command that works on several targets, too: its body is called for each.
    "targets": combine(
        _target_option(
            f"{_TARGET_HELP} For several targets, use a quoted pattern such as 'prod-*' or a "
            "label KEY=VALUE. Join conditions with commas to require all of them. Repeatable."
        ),
        functools.partial(_give_invocation, takes_several_targets=True),
    ),
    "project_from": option(
        "--project-from git:REF",
        "Read all settings in the project file at this Git ref. Manifests, variables and "
        "overlays still come from the checkout.",
        callback=parse_git_ref,
    ),
    "ref": option(
        "--ref REF",
        "Read manifests and package sources at this Git ref, for a rollback. The project "
        "file still comes from the checkout. Published releases stay published.",
        name="as_of",
        callback=parse_plain_ref,
    ),
    "file": option(
        "-f, --file PATH",
        "A manifest or a folder of manifests, instead of the project's manifests. Recorded "
        "resources that are not in these files do not change. Repeatable.",
        name="paths",
        multiple=True,
        type=click.Path(path_type=Path),
    ),
    "variables": option(
        "--var NAME=VALUE|@FILE",
        "Set a declared variable, or read a YAML file of values with @FILE. NAME=VALUE "
        "overrides the file. Repeatable.",
        name="variables",
        multiple=True,
        callback=typed.parse_variables,
    ),
    "strict": option("--strict", "Treat warnings about manifests as errors."),
    "parallelism": option(
        "--parallelism N",
        "How many calls run at the same time.",
        type=click.IntRange(min=1),
        default=10,
        show_default=True,
        envvar="SYNAPSE_APPLY_PARALLELISM",
    ),
    "lock_timeout": option(
        "--lock-timeout SECONDS",
        "How long to wait if another run has locked the state. By default the command does "
        "not wait on a terminal; a non-interactive run waits until the lock of a killed "
        "run would expire, plus 15 s.",
        type=typed.NumberType(min=0),
    ),
    "wait": option(
        "--wait", "Wait until each earlier call has taken effect or can no longer take effect."
    ),
    "follow": combine(
        option("-f, --follow", "Show the job's log until the job ends.", is_eager=True),
        option(
            "--timeout SECONDS",
            "Stop following after this time. The job continues.",
            type=typed.NumberType(min=0, min_open=True),
            callback=typed.reject_lone_timeout,
        ),
        option(
            "--interval SECONDS",
            "How often to check the job's status.",
            type=typed.NumberType(min=0.1),
            default=5.0,
            show_default=True,
        ),
    ),
    "selection": _SELECTION,
    "plan": combine(
        _SELECTION,
        option(
            "--prune", "Delete recorded objects that are no longer declared. Not allowed with -f."
        ),
        option(
            "--allow-locked",
            "With --prune, also delete locked releases. You can never publish their "
            "versions again.",
        ),
        option(
            "--recreate",
            "Recreate missing objects even if the backend cannot confirm that they no longer "
            "exist.",
        ),
        option(
            "--no-verify",
            "Do not run releases to verify them.",
            name="verify",
            callback=lambda _ctx, _param, given: not given,
        ),
        option(
            "--revert-drift",
            "Restore the declared values of drifted fields, even if the target sets "
            "on_drift: hold.",
        ),
        option("--resend-secrets", "Send all secrets, even unchanged ones."),
        option(
            "--override-guard NAME",
            "Override this guard. For a freeze or a limit of the policy, use policy:RULE. "
            "Repeatable.",
            name="override_guards",
            multiple=True,
            callback=typed.require_guard_names,
            shell_complete=typed.complete_guards,
        ),
        option(
            "--no-package-check RULE",
            "Publish packages even if they violate this rule (for example, package:version). "
            "Rules about secrets cannot be overridden. Repeatable.",
            multiple=True,
        ),
        option("--show-unchanged", "Also show unchanged resources."),
    ),
}


def add_invocation_options(text: str, invocation: Invocation) -> str:
    """The text, with the location and target options of this invocation in its commands."""
    from synapse_apply.model.command import name_target_in_commands

    return name_target_in_commands(text, invocation.target or "", list_location_options(invocation))


def list_location_options(invocation: Invocation) -> list[str]:
    """-C and --project with their values, as separate words, where they differ from the default."""
    words: list[str] = []
    current_folder = Path.cwd()
    if invocation.directory != current_folder:
        words += ("-C", _relative_path(current_folder, invocation.directory))
    if invocation.project is not None:
        words += ("--project", _relative_path(invocation.directory, invocation.project))
    return words


def _relative_path(folder: Path, path: Path) -> str:
    """Relative where it lies inside, else as it is."""
    normal_path = Path(os.path.normpath(path))
    return (
        str(normal_path.relative_to(folder))
        if normal_path.is_relative_to(folder)
        else str(normal_path)
    )


@contextmanager
def open_target(invocation: Invocation, declined: str = "") -> Iterator[OpenTarget]:
    """Open a command's target; OptionConflict becomes a usage error.

    Where the answer to a question is no, `declined` is printed, if there is one, and the exit code
    is 1.
    """
    from synapse_apply.library import OpenTarget
    from synapse_apply.model.errors import NotApproved, OptionConflict

    try:
        with closing(OpenTarget(invocation)) as target:
            yield target
    except OptionConflict as problem:
        raise click.UsageError(str(problem)) from None
    except NotApproved:
        if not declined:
            raise
        Console().write_stderr(f"{declined}\n")
        raise click.exceptions.Exit(1) from None

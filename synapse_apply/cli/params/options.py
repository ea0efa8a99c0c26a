"""The options that several commands share, and how they become an Invocation and a Console."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import completion
from synapse_apply.cli.console import Console, OutputFailedError, single_target
from synapse_apply.cli.help_pages import Terminated, format_command_name
from synapse_apply.cli.params import option_parsing
from synapse_apply.files.commit_memory import pin_refs

if TYPE_CHECKING:
    from synapse_apply.workspace.invocation import Invocation

CommandBody = Callable[..., int]


def add_json_options(body: CommandBody) -> CommandBody:
    """--json, --color and --no-color; the body is called with `console`.

    A command that has `add_output_format_option` below this takes `-o json`, too.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        help="Colour, instead of only on a terminal.",
    )
    @click.option("--no-color", "color", flag_value="never", help="The same as --color=never.")
    @functools.wraps(body)
    def call_with_console(
        *, as_json: bool, color: str | None, output_format: str | None = None, **parameters: Any
    ) -> int:
        is_json = as_json or output_format == "json"
        return body(console=Console(is_json, color or "auto"), **parameters)

    return call_with_console


add_output_format_option = click.option(
    "-o",
    "--output",
    "output_format",
    type=click.Choice(["text", "json"]),
    help="`json` is the same as --json.",
)


def add_event_options(body: CommandBody) -> CommandBody:
    """The same and --json-lines, for commands that make several calls."""

    @click.option(
        "--json-lines",
        "as_events",
        is_flag=True,
        help="Print JSON while it goes on: one object a line, the last one the document of --json.",
    )
    @add_json_options
    @functools.wraps(body)
    def call_with_events(*, console: Console, as_events: bool, **parameters: Any) -> int:
        if as_events and console.as_json:
            raise click.UsageError("--json and --json-lines do not go together.")
        if as_events:
            console = dataclasses.replace(console, as_json=True, as_events=True)
        return body(console=console, **parameters)

    return call_with_events


def add_json_lines_option(body: CommandBody) -> CommandBody:
    """--json with one object per line, --color and --no-color."""

    @click.option("--json", "as_lines", is_flag=True, help="Print one JSON object a line.")
    @add_color_options
    @functools.wraps(body)
    def call_with_json_lines(*, console: Console, as_lines: bool, **parameters: Any) -> int:
        return body(console=Console(as_lines, console.color, as_lines=as_lines), **parameters)

    return call_with_json_lines


def add_color_options(body: CommandBody) -> CommandBody:
    """--color and --no-color, for commands without JSON; the body is called with `console`."""

    @click.option("--color", type=click.Choice(["auto", "always", "never"]), hidden=True)
    @click.option("--no-color", "color", flag_value="never", help="No colour.")
    @functools.wraps(body)
    def call_with_console(*, color: str | None, **parameters: Any) -> int:
        return body(console=Console(color=color or "auto"), **parameters)

    return call_with_console


def add_report_option(body: CommandBody) -> CommandBody:
    """--report; the body is called with `reports`. A failure of the body is reported as well."""

    @click.option(
        "--report",
        "report_requests",
        multiple=True,
        metavar="KIND=FILE",
        callback=option_parsing.parse_report_options,
        shell_complete=completion.complete_reports,
        help="Also write a report; may be repeated. KIND is json, html (one page, for a "
        "browser), markdown (for a comment), github, gitlab (counts for the merge request) or "
        "codequality (findings for it). `github` writes annotations to stderr, appends to "
        "$GITHUB_STEP_SUMMARY and $GITHUB_OUTPUT, and needs no FILE: it takes the summary. A FILE "
        "`-` is stdout; the text then goes to stderr.",
    )
    @functools.wraps(body)
    def call_with_reports(
        *,
        report_requests: tuple[tuple[str, str], ...],
        console: Console,
        invocation: Invocation,
        **parameters: Any,
    ) -> int:
        if console.section is not None:
            keywords = {"console": console, "invocation": invocation, **parameters}
            return _call_in_section(body, keywords, has_reports=bool(report_requests))
        if not report_requests:
            return body(console=console, invocation=invocation, reports=None, **parameters)
        from synapse_apply.cli.reports import Reports, raise_findings_if_any

        if any(file == "-" for _, file in report_requests):
            if console.as_json:
                option = "--json-lines" if console.as_events else "--json"
                raise click.UsageError(f"{option} and a report to stdout do not go together.")
            console = dataclasses.replace(console, is_stdout_taken=True)
        command = format_command_name(click.get_current_context())
        out_and_against = (parameters.get("out"), parameters.get("against") or "")
        writable_reports, misplaced_findings = Reports(
            report_requests, console, invocation, command, *out_and_against
        ).split_off_misplaced()
        try:
            raise_findings_if_any(misplaced_findings)
            return body(
                console=console, invocation=invocation, reports=writable_reports, **parameters
            )
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (BrokenPipeError, OutputFailedError):
            raise
        except (Exception, KeyboardInterrupt, Terminated) as failure:
            writable_reports.write_failure(failure)
            raise

    return call_with_reports


def _call_in_section(body: CommandBody, keywords: Mapping[str, Any], *, has_reports: bool) -> int:
    """Call a body for one of several targets; what its reports need is kept in the section."""
    if not has_reports:
        return body(reports=None, **keywords)
    from synapse_apply.cli.reports import Reports

    command = format_command_name(click.get_current_context())
    section_reports = Reports((), keywords["console"], keywords["invocation"], command)
    try:
        return body(reports=section_reports, **keywords)
    except (click.ClickException, BrokenPipeError, OutputFailedError):
        raise
    except Exception as failure:
        section_reports.write_failure(failure)
        raise


def add_target_options(body: CommandBody) -> CommandBody:
    """-C, --project and -t; the body is called with `invocation`."""
    return _add_target_option(
        add_project_options(body), "The target to work on: one of the project file, or embedded."
    )


def add_targets_option(body: CommandBody) -> CommandBody:
    """The same for a command that works on several targets, too: the body is called for each."""
    return _add_target_option(
        _add_project_options(body, takes_several_targets=True),
        "The target to work on: one of the project file, or embedded. Several: a pattern such as "
        "'prod-*', or a label of targets as KEY=VALUE, both in quotes; with commas between, all "
        "must hold; may be repeated.",
    )


def _add_target_option(body: CommandBody, help_text: str) -> CommandBody:
    return click.option(
        "-t",
        "--target",
        metavar="NAME",
        multiple=True,
        shell_complete=completion.complete_targets,
        help=help_text,
    )(body)


def add_project_options(body: CommandBody) -> CommandBody:
    """-C and --project; the body is called with `invocation`."""
    return _add_project_options(body, takes_several_targets=False)


def _add_project_options(body: CommandBody, *, takes_several_targets: bool) -> CommandBody:

    @click.option(
        "-C",
        "--chdir",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="FOLDER",
        help="Work in this folder.",
    )
    @click.option(
        "--project",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="The project file, instead of synapse-apply.yaml here or above.",
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
            raise click.UsageError(f"`{command}` works on one target: name it with -t NAME.")
        if not target or name:
            parameters.pop("keep_going", None)
        invocation_options = {
            key: parameters.pop(key) for key in _INVOCATION_OPTIONS if key in parameters
        }
        if "console" in parameters:
            parameters["console"] = dataclasses.replace(parameters["console"], typed_target=name)
        where = _build_invocation(
            chdir, project, name or None, parameters.get("console", Console()), invocation_options
        )
        # A branch may move while the command runs, so each Git ref is resolved once.
        with pin_refs():
            if target and not name:
                from synapse_apply.cli.flows.several_targets import run_on_targets

                return run_on_targets(body, where, target, parameters)
            return body(invocation=where, **parameters)

    return call_with_invocation


_INVOCATION_OPTIONS = (
    *("variables", "variable_files", "paths", "strict", "parallelism", "lock_timeout"),
    *("project_from", "as_of"),
)


def _combine_options(*options: Callable[[Any], Any]) -> Callable[[CommandBody], CommandBody]:
    """A decorator that adds these options, in the order in which --help lists them."""

    def add_combined_options(body: CommandBody) -> CommandBody:
        return functools.reduce(
            lambda decorated, option: option(decorated), reversed(options), body
        )

    return add_combined_options


add_variable_options = _combine_options(
    click.option(
        "--var",
        "variables",
        multiple=True,
        metavar="NAME=VALUE",
        callback=option_parsing.parse_name_values,
        help="A value for a declared variable; may be repeated.",
    ),
    click.option(
        "--var-file",
        "variable_files",
        multiple=True,
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="A YAML file of values; may be repeated.",
    ),
    click.option("--strict", is_flag=True, help="Warnings of manifests are errors."),
)
add_file_option = _combine_options(
    click.option(
        "-f",
        "--file",
        "paths",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="A manifest or a folder of them, instead of the project's; may be repeated. "
        "What is recorded and not in them is left as it is.",
    )
)
add_parallelism_option = _combine_options(
    click.option(
        "--parallelism",
        type=click.IntRange(min=1),
        default=10,
        show_default=True,
        envvar="SYNAPSE_APPLY_PARALLELISM",
        metavar="N",
        help="How many calls go on at once.",
    )
)
add_lock_timeout_option = _combine_options(
    click.option(
        "--lock-timeout",
        type=option_parsing.NumberType(min=0),
        metavar="SECONDS",
        help="How long to wait for a state that another run holds; by default not at all on a "
        "terminal, in a non-interactive run as long as the lock of a killed run lasts, and 15 s.",
    )
)
add_wait_option = _combine_options(
    click.option(
        "--wait",
        is_flag=True,
        help="Wait until each earlier call has shown its effect or can no longer act.",
    )
)
add_follow_options = _combine_options(
    click.option(
        "-f", "--follow", is_flag=True, is_eager=True, help="Show what it writes until it ends."
    ),
    click.option(
        "--timeout",
        type=option_parsing.NumberType(min=0, min_open=True),
        metavar="SECONDS",
        callback=option_parsing.reject_lone_timeout,
        help="Follow no longer than this; the job goes on.",
    ),
    click.option(
        "--interval",
        type=option_parsing.NumberType(min=0.1),
        default=5.0,
        show_default=True,
        metavar="SECONDS",
        help="How often to look how the job stands.",
    ),
)
_ONLY_OPTION = click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.complete_selections,
    help="Only this: an address, release/PLUGIN, a name that one kind has, a kind, a label as "
    "KEY=VALUE, or any with `*`, such as storage/*; may be repeated.",
)
_EXCLUDE_OPTION = click.option(
    "--exclude",
    multiple=True,
    metavar="NAME",
    shell_complete=completion.complete_selections,
    help="Leave this out; may be repeated.",
)
add_selection_options = _combine_options(_ONLY_OPTION, _EXCLUDE_OPTION)
add_plan_options = _combine_options(
    _ONLY_OPTION,
    _EXCLUDE_OPTION,
    click.option(
        "--prune", is_flag=True, help="Delete recorded objects no longer declared; not with -f."
    ),
    click.option(
        "--allow-locked",
        is_flag=True,
        help="With --prune: also delete releases that are locked; their version is lost for good.",
    ),
    click.option(
        "--recreate",
        is_flag=True,
        help="Recreate missing objects even where the backend cannot confirm that they are gone.",
    ),
    click.option("--no-verify", is_flag=True, help="Leave out the runs that verify releases."),
    click.option(
        "--revert-drift",
        is_flag=True,
        help="Restore the declared values of what was changed outside, also where the "
        "target says on_drift: hold.",
    ),
    click.option("--resend-secrets", is_flag=True, help="Send every secret, changed or not."),
    click.option(
        "--override-guard",
        "overridden",
        multiple=True,
        callback=option_parsing.require_guard_names,
        shell_complete=completion.complete_guards,
        metavar="NAME",
        help="Override this guard, or policy:RULE for a freeze or a limit of the policy; may be "
        "repeated.",
    ),
    click.option(
        "--no-package-check",
        multiple=True,
        metavar="RULE",
        help="Publish packages that violate this rule, such as package:version. No rule about "
        "secrets can be named; may be repeated.",
    ),
    click.option("--show-unchanged", is_flag=True, help="Also show what stays as it is."),
)


def _build_invocation(
    chdir: Path | None,
    project: Path | None,
    target: str | None,
    console: Console,
    invocation_options: dict[str, Any],
) -> Invocation:
    """The Invocation for these options; paths are resolved from the folder of -C."""
    from synapse_apply.workspace.invocation import Invocation

    directory = Path.cwd() / chdir if chdir else Path.cwd()
    for key in ("variable_files", "paths"):
        if key in invocation_options:
            invocation_options[key] = tuple(directory / path for path in invocation_options[key])
    # The words of the running command, without the program's name: `state accept`.
    words: list[str] = []
    click_context = click.get_current_context(silent=True)
    while click_context is not None and click_context.parent is not None:
        words.insert(0, click_context.info_name or "")
        click_context = click_context.parent
    return Invocation(
        directory=directory,
        project=directory / project if project else None,
        target=target,
        environ=dict(os.environ),
        on_terminal=console.is_interactive,
        command=" ".join(words),
        **invocation_options,
    )

"""Options that several commands share, and the Where that they come to."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import offers, parsing
from synapse_apply.cli.face import Face, OutputFailed
from synapse_apply.cli.manual import Terminated, spoken
from synapse_apply.packages.ref_memory import fix_refs

if TYPE_CHECKING:
    from synapse_apply.session.where import Where

Body = Callable[..., int]


def output(body: Body) -> Body:
    """--json, --color and --no-color; the body is called with `face`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        help="Colour, instead of only on a terminal.",
    )
    @click.option("--no-color", "color", flag_value="never", help="The same as --color=never.")
    @functools.wraps(body)
    def wrapped(*, as_json: bool, color: str | None, **rest: Any) -> int:
        return body(face=Face(as_json, color or "auto"), **rest)

    return wrapped


def event_output(body: Body) -> Body:
    """The same with --json-lines, for commands that make calls one after the other."""

    @click.option(
        "--json-lines",
        "as_events",
        is_flag=True,
        help="Print JSON while it goes on: one object a line, the last one the document of --json.",
    )
    @output
    @functools.wraps(body)
    def wrapped(*, face: Face, as_events: bool, **rest: Any) -> int:
        if as_events and face.as_json:
            raise click.UsageError("--json and --json-lines do not go together.")
        if as_events:
            face = dataclasses.replace(face, as_json=True, in_events=True)
        return body(face=face, **rest)

    return wrapped


def line_output(body: Body) -> Body:
    """The same where --json gives one object a line."""

    @click.option("--json", "as_lines", is_flag=True, help="Print one JSON object a line.")
    @text_output
    @functools.wraps(body)
    def wrapped(*, face: Face, as_lines: bool, **rest: Any) -> int:
        return body(face=Face(as_lines, face.color, in_lines=as_lines), **rest)

    return wrapped


def text_output(body: Body) -> Body:
    """--color and --no-color, for commands that have no JSON."""

    @click.option("--color", type=click.Choice(["auto", "always", "never"]), hidden=True)
    @click.option("--no-color", "color", flag_value="never", help="No colour.")
    @functools.wraps(body)
    def wrapped(*, color: str | None, **rest: Any) -> int:
        return body(face=Face(color=color or "auto"), **rest)

    return wrapped


def reports(body: Body) -> Body:
    """--report; the body is called with `reports`, and what ends it early is reported, too."""

    @click.option(
        "--report",
        "asked",
        multiple=True,
        metavar="KIND=FILE",
        callback=parsing.reports,
        shell_complete=offers.reports,
        help="Also write a report; may be repeated. KIND is json, html (one page, for a "
        "browser), markdown (for a comment), github, gitlab (counts for the merge request) or "
        "codequality (findings for it). "
        "`github` writes annotations to stderr, appends to $GITHUB_STEP_SUMMARY and "
        "$GITHUB_OUTPUT, and needs no FILE: it takes the summary. A FILE `-` is stdout; the "
        "text then goes to stderr.",
    )
    @functools.wraps(body)
    def wrapped(
        *, asked: tuple[tuple[str, str], ...], face: Face, where: Where, **rest: Any
    ) -> int:
        if not asked:
            return body(face=face, where=where, reports=None, **rest)
        from synapse_apply.cli.reports import Reports, refuse

        if any(file == "-" for _, file in asked):
            if face.as_json:
                option = "--json-lines" if face.in_events else "--json"
                raise click.UsageError(f"{option} and a report to stdout do not go together.")
            face = dataclasses.replace(face, taken=True)
        command = spoken(click.get_current_context())
        beside = (rest.get("out"), rest.get("against") or "")
        made, misplaced = Reports(asked, face, where, command, *beside).apart()
        try:
            refuse(misplaced)
            return body(face=face, where=where, reports=made, **rest)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (BrokenPipeError, OutputFailed):
            raise
        except (Exception, KeyboardInterrupt, Terminated) as problem:
            made.of_failure(problem)
            raise

    return wrapped


def place(body: Body) -> Body:
    """-C, --project and -t; the body is called with `where`."""
    return click.option(
        "-t",
        "--target",
        metavar="NAME",
        shell_complete=offers.targets,
        help="The backend to work on.",
    )(place_of_project(body))


def place_of_project(body: Body) -> Body:
    """-C and --project; the body is called with `where`."""

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
    def wrapped(
        *, chdir: Path | None, project: Path | None, target: str | None = None, **rest: Any
    ) -> int:
        given = {key: rest.pop(key) for key in _OF_WHERE if key in rest}
        if "face" in rest:
            rest["face"] = dataclasses.replace(rest["face"], aim=target or "")
        where = _where(chdir, project, target, rest.get("face", Face()), given)
        with fix_refs():
            return body(where=where, **rest)

    return wrapped


_OF_WHERE = (
    *("variables", "variable_files", "paths", "strict", "parallelism", "lock_timeout"),
    *("project_from", "as_of"),
)


def _adding(*options: Callable[[Any], Any]) -> Callable[[Body], Body]:
    """A decorator that adds options in the order in which help shall list them."""

    def add(body: Body) -> Body:
        return functools.reduce(lambda made, option: option(made), reversed(options), body)

    return add


variables = _adding(
    click.option(
        "--var",
        "variables",
        multiple=True,
        metavar="NAME=VALUE",
        callback=parsing.pairs,
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
files = _adding(
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
parallelism = _adding(
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
patience = _adding(
    click.option(
        "--lock-timeout",
        type=parsing.Number(min=0),
        metavar="SECONDS",
        help="How long to wait for a state that another run holds; by default not at all on a "
        "terminal, 45 s off it.",
    )
)
wait = _adding(
    click.option(
        "--wait",
        is_flag=True,
        help="Wait, as long as it takes, until it is certain what became of calls whose end nobody "
        "saw.",
    )
)
following = _adding(
    click.option(
        "-f", "--follow", is_flag=True, is_eager=True, help="Show what it writes until it ends."
    ),
    click.option(
        "--timeout",
        type=parsing.Number(min=0, min_open=True),
        metavar="SECONDS",
        callback=parsing.only_following,
        help="Follow no longer than this; the job goes on.",
    ),
    click.option(
        "--interval",
        type=parsing.Number(min=0.1),
        default=5.0,
        show_default=True,
        metavar="SECONDS",
        help="How often to look how the job stands.",
    ),
)
_ONLY = click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    shell_complete=offers.parts,
    help="Only this: an address, release/PLUGIN, a name that one kind has, a kind, a label as "
    "KEY=VALUE, or any with `*`, such as storage/*; may be repeated.",
)
_EXCLUDE = click.option(
    "--exclude",
    multiple=True,
    metavar="NAME",
    shell_complete=offers.parts,
    help="Leave this out; may be repeated.",
)
selection = _adding(_ONLY, _EXCLUDE)
choices = _adding(
    _ONLY,
    _EXCLUDE,
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
        help="Make missing objects again even where the backend cannot say they are gone.",
    ),
    click.option("--no-verify", is_flag=True, help="Leave out the runs that verify releases."),
    click.option(
        "--revert-drift",
        is_flag=True,
        help="Make what was changed outside again what is declared, also where the target says "
        "on_drift: hold.",
    ),
    click.option("--resend-secrets", is_flag=True, help="Send every secret, changed or not."),
    click.option(
        "--override-guard",
        "overridden",
        multiple=True,
        callback=parsing.guards,
        shell_complete=offers.guards,
        metavar="NAME",
        help="Let this guard pass, or policy:RULE for a freeze or a limit of the policy; may be "
        "repeated.",
    ),
    click.option("--show-unchanged", is_flag=True, help="Also show what stays as it is."),
)


def _where(
    chdir: Path | None,
    project: Path | None,
    target: str | None,
    face: Face,
    given: dict[str, Any],
) -> Where:
    """What was said, with every path seen from the folder to work in."""
    from synapse_apply.session.where import Where

    directory = Path.cwd() / chdir if chdir else Path.cwd()
    for key in ("variable_files", "paths"):
        if key in given:
            given[key] = tuple(directory / path for path in given[key])
    return Where(
        directory=directory,
        project=directory / project if project else None,
        target=target,
        environ=dict(os.environ),
        on_terminal=face.on_terminal,
        command=_command_typed(),
        **given,
    )


def _command_typed() -> str:
    """The words of the command that runs, without the program's: `state accept`."""
    words: list[str] = []
    context = click.get_current_context(silent=True)
    while context is not None and context.parent is not None:
        words.insert(0, context.info_name or "")
        context = context.parent
    return " ".join(words)

"""The commands `validate`, `doctor` and `agents`: what is checked, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply import __version__, cli
from synapse_apply.cli import options, registry
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import LazyGroup, manual_command

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.cli.reports import Reports


@manual_command(
    "validate",
    examples=[
        ("synapse-apply validate", "Check everything, for every target."),
        ("synapse-apply validate -t prod --strict", "One target; warnings are errors."),
        ("synapse-apply validate --json", "Findings for an editor or a bot."),
        ("synapse-apply validate --report github", "Each finding at its line in the pull request."),
    ],
    exits=[("0", "valid, warnings aside"), ("1", "there are errors; every one is shown")],
)
@options.use("json", "targets", "report", "project_from", "file", "variables")
def validate(*, console: Console, invocation: Invocation, reports: Reports | None) -> int:
    """Check the project file, the manifests and the packages they name.

    Needs no backend, no credentials and no value of a secret, so it can run for a pull request
    from anywhere. Every finding is shown with file, line and column. No project file and no
    manifest is an error, since the folder is the wrong one; an empty folder is a warning.
    """
    with options.open_target(invocation) as target:
        validation = target.validate()
    errors = any(finding.is_error for finding in validation.diagnostics)
    text = "" if errors else f"{validation.summary}\n"
    return console.show_checked("validate", validation.diagnostics, text, reports)


@manual_command(
    "doctor",
    examples=[
        ("synapse-apply doctor", "Check the only target."),
        ("synapse-apply doctor -t prod", "Before the first apply, and when something is wrong."),
        ("synapse-apply doctor -t prod --json", "The same for a script, or to attach to a report."),
    ],
    exits=[("0", "nothing is wrong, warnings aside"), ("1", "something is wrong; all is shown")],
)
@options.use("json", "targets", "project_from", "file", "variables")
def doctor(*, console: Console, invocation: Invocation) -> int:
    """Check a target and list every problem at once.

    Looks at the project file, the manifests, url, allowed hosts and credentials, whether the
    backend answers and takes token and tenant, what it can do, its clock, the health of the
    target's agents, and the state: its binding, lineage, key, lock and calls of unknown outcome.

    Changes nothing and makes nothing. What is broken hides nothing else, and what could not be
    checked is said. No value of a secret is shown, only where it comes from.
    """
    with options.open_target(invocation) as target:
        checkup = target.diagnose()
    console.show(
        cli.documents.checkup_document(checkup, tool_version=__version__),
        cli.checkup.render_checkup(checkup, color=console.is_output_colored),
    )
    return checkup.exit_code


@click.group("agents", cls=LazyGroup, entries=registry.AGENTS)
def agents() -> None:
    """The agents of a target: the machines on which its jobs run."""


@manual_command(
    "check",
    examples=[
        ("synapse-apply agents check -t prod", "All agents that the target names."),
        ("synapse-apply agents check gpu-1 --json", "One of them, for a script."),
        (
            "synapse-apply agents check --token-env AGENT_TOKEN",
            "One that the project file does not name.",
        ),
    ],
    exits=[("0", "all are healthy"), ("1", "one is not, or could not be asked")],
)
@options.use("json", "targets")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--token-env",
    "token_env",
    multiple=True,
    metavar="VARIABLE",
    help="Check the agent whose token this environment variable holds; may be repeated.",
)
def check(
    *, console: Console, invocation: Invocation, names: tuple[str, ...], token_env: tuple[str, ...]
) -> int:
    """Check the health of the target's agents, or of those named.

    Agents are named under `agents:` of a target in the project file, each with the variable that
    holds its token. Every one is asked once; a token is never shown.
    """
    with options.open_target(invocation) as target:
        checkup = target.live.check_agents(names, token_variables=token_env)
    console.show(
        cli.documents.agents_document(checkup, tool_version=__version__),
        cli.checkup.render_agents_table(checkup, color=console.is_output_colored),
    )
    if not console.as_json:
        console.write_findings(checkup.findings)
    return checkup.exit_code

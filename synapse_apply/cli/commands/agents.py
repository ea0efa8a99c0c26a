"""The commands of `agents`: what is checked of agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import registry
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import LazyGroup, manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply import Invocation


@click.group("agents", cls=LazyGroup, entries=registry.AGENTS)
def group() -> None:
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
@options.add_json_options
@options.add_targets_option
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
    from synapse_apply import __version__
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.views.text.checkup import agents_document, render_agents_table

    with open_command_target(invocation) as target:
        checkup = target.live.check_agents(names, token_variables=token_env)
    if console.as_json:
        console.write_or_keep_document(agents_document(checkup, tool_version=__version__))
    else:
        console.write_output(render_agents_table(checkup, color=console.is_output_colored))
        console.write_findings(checkup.findings)
    return checkup.exit_code

"""`synapse-apply agents check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "check",
    examples=[
        ("synapse-apply agents check -t prod", "All agents that the target names."),
        ("synapse-apply agents check gpu-1 --json", "One of them, for a script."),
        ("synapse-apply agents check --token-env AGENT_TOKEN", "One the project file has not."),
    ],
    exits=[("0", "all are healthy"), ("1", "one is not, or could not be asked")],
)
@options.output
@options.place
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--token-env",
    "token_env",
    multiple=True,
    metavar="VARIABLE",
    help="Check the agent whose token this environment variable holds; may be repeated.",
)
def command(*, face: Face, where: Where, names: tuple[str, ...], token_env: tuple[str, ...]) -> int:
    """Check the health of the target's agents, or of those named.

    Agents are named under `agents:` of a target in the project file, each with the variable that
    holds its token. Every one is asked once; a token is never shown.
    """
    from synapse_apply import __version__
    from synapse_apply.session.agents import check
    from synapse_apply.views.checkup import agents_document, render_agents

    checkup = check(where, names, token_env)
    if face.as_json:
        face.document(agents_document(checkup, tool_version=__version__))
    else:
        face.out(render_agents(checkup, color=face.color_out))
        face.warn(checkup.findings)
    return checkup.exit_code

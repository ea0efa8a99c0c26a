"""The command `mcp`: which project and target an agent may read."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options, revision_options

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "mcp",
    examples=[
        ("synapse-apply mcp -t staging", "What an agent starts, to read that target."),
        (
            "synapse-apply mcp -C infra --project-from git:refs/remotes/origin/main",
            "With url, token and hosts of a branch that the agent cannot write.",
        ),
    ],
    exits=[("0", "the client closed the connection")],
)
@options.add_target_options
@revision_options.add_project_from_option
@options.add_variable_options
def command(*, invocation: Invocation) -> int:
    """Let an AI agent read: serve plan, show, drift, explain, history and doctor by MCP.

    Speaks the Model Context Protocol on stdin and stdout, for a client that starts it. No tool
    writes: none sends what could change a backend, takes a lock, or makes a state. Without -t the
    agent names a target of the project file in each call.

    All that a tool answers is one block of JSON that is marked as data, never as an instruction,
    and holds no secret; see docs/mcp.md.
    """
    from synapse_apply.cli.flows.mcp_server import serve

    serve(invocation, sys.stdin.buffer, sys.stdout)
    return 0

"""The command `doctor`: how the checks are printed, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options, revision_options

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "doctor",
    examples=[
        ("synapse-apply doctor", "Check the only target."),
        ("synapse-apply doctor -t prod", "Before the first apply, and when something is wrong."),
        ("synapse-apply doctor -t prod --json", "The same for a script, or to attach to a report."),
    ],
    exits=[("0", "nothing is wrong, warnings aside"), ("1", "something is wrong; all is shown")],
)
@options.add_json_options
@options.add_targets_option
@revision_options.add_project_from_option
@options.add_file_option
@options.add_variable_options
def command(*, console: Console, invocation: Invocation) -> int:
    """Check a target and list every problem at once.

    Looks at the project file, the manifests, url, allowed hosts and credentials, whether the
    backend answers and takes token and tenant, what it can do, its clock, the health of the
    target's agents, and the state: its binding, lineage, key, lock and calls of unknown outcome.

    Changes nothing and makes nothing. What is broken hides nothing else, and what could not be
    checked is said. No value of a secret is shown, only where it comes from.
    """
    from synapse_apply import __version__
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.views.text.checkup import checkup_document, render_checkup

    with open_command_target(invocation) as target:
        checkup = target.diagnose()
    if console.as_json:
        console.write_or_keep_document(checkup_document(checkup, tool_version=__version__))
    else:
        console.write_output(render_checkup(checkup, color=console.is_output_colored))
    return checkup.exit_code

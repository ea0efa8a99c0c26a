"""The command `controller forget-rule`: which targets, and of which controller."""

from __future__ import annotations

from pathlib import Path

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


@manual_command(
    "forget-rule",
    examples=[
        ("synapse-apply controller forget-rule acme/prod", "It was renamed, or is no more."),
        ("synapse-apply controller forget-rule 'acme/tenant-*'", "All of these that are gone."),
    ],
    exits=[("0", "forgotten, or there was nothing to forget"), ("1", "there is no such store")],
)
@options.add_color_options
@controller_options.add_target_or_pattern_argument
@controller_options.add_file_argument
@controller_options.add_data_option
def command(*, console: Console, target: str, file: Path, data: Path) -> int:
    """Forget for which backend, tenant and state the rules of targets were given.

    Of a target that is gone from Git, so that another name may take its place. Of one that is
    declared and means another backend now, that is accepted. For the controller's own machine: it
    may run meanwhile.
    """
    from synapse_apply.controller.run import forget_rules
    from synapse_apply.views.sanitize import sanitize

    lines = forget_rules(file, data, console.environ, target)
    for line in lines or [f"No target that matches {target} is gone, or means another backend."]:
        console.write_output(f"{sanitize(line)}\n")
    return 0

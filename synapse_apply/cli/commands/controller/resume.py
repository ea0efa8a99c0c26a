"""The command `controller resume`: which pauses end."""

from __future__ import annotations

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


@manual_command(
    "resume",
    examples=[
        ("synapse-apply controller resume acme/prod", "End its pause."),
        ("synapse-apply controller resume 'acme/*'", "End the pause of this pattern."),
    ],
    exits=[
        ("0", "resumed"),
        ("1", "there is no such pause, no right, or the controller does not answer"),
        ("7", "the answer was lost"),
    ],
    environment=controller_options.API_ENVIRONMENT,
)
@options.add_color_options
@controller_options.add_url_option
@controller_options.add_target_patterns_argument
def command(*, console: Console, url: str, patterns: tuple[str, ...]) -> int:
    """End pauses that people have set, each by the pattern that it was set for.

    A pause that stands in controller.yaml ends where that is changed.
    """
    from synapse_apply.cli.flows.controller_access import (
        open_controller_api,
        request_for_each_and_print_despite_refusals,
    )

    api = open_controller_api(console, url)

    def resume_scope_and_describe(scope: str) -> str:
        api.resume(scope)
        return f"{scope} is not paused any more."

    return request_for_each_and_print_despite_refusals(console, patterns, resume_scope_and_describe)

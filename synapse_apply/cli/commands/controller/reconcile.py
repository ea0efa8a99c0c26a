"""The command `controller reconcile`: which targets are looked at."""

from __future__ import annotations

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


@manual_command(
    "reconcile",
    examples=[
        ("synapse-apply controller reconcile acme/prod", "Now, and not at its next interval."),
        ("synapse-apply controller reconcile 'acme/*'", "Every target of a source."),
    ],
    exits=[
        ("0", "asked for"),
        ("1", "no such target, no right, or the controller does not answer"),
        ("7", "the answer was lost"),
    ],
    environment=controller_options.API_ENVIRONMENT,
)
@options.add_color_options
@controller_options.add_url_option
@controller_options.add_target_patterns_argument
def command(*, console: Console, url: str, patterns: tuple[str, ...]) -> int:
    """Have a running controller fetch and look at targets at once; a failing one is tried again.

    What it then applies is what the mode of the target, its windows, pauses and approvals let it.
    """
    from synapse_apply.cli.flows.controller_access import ask_for_each, open_controller_api
    from synapse_apply.model.command import Command, Text
    from synapse_apply.model.errors import InputError

    api = open_controller_api(console, url)
    names = list(dict.fromkeys(name for pattern in patterns for name in api.find_names(pattern)))
    if not names:
        raise InputError.from_summary(
            "No target matches",
            f"The controller at {api.url} has none that matches {', '.join(patterns)}.",
            Text("List them with ", Command("controller status"), "."),
        )

    def reconcile(name: str) -> str:
        api.reconcile(name)
        return f"{name} is looked at now."

    return ask_for_each(console, names, reconcile)

"""The command `controller rollout resume`: which rollout, shown before anybody is asked."""

from __future__ import annotations

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


@manual_command(
    "resume",
    examples=[
        ("synapse-apply controller rollout resume fleet", "Show why it stopped, and ask."),
        (
            "synapse-apply controller rollout resume fleet --revision 3b92d7c",
            "For a script: what somebody has seen.",
        ),
    ],
    exits=controller_options.ROLLOUT_EXITS,
    environment=controller_options.API_ENVIRONMENT,
)
@options.add_color_options
@controller_options.add_url_option
@controller_options.add_rollout_argument
@controller_options.add_revision_option
def command(*, console: Console, url: str, name: str, revision: str | None) -> int:
    """Go on with a rollout that is stopped: what failed is tried again, and failures count anew.

    It needs the right `approve` for every target of the rollout.
    """
    from synapse_apply.cli.flows.rollout_decisions import RolloutDecision, decide_on_rollout

    decision = RolloutDecision("resume", "Try what failed again, and go on", "stopped")
    return decide_on_rollout(console, url, name, decision, revision=revision)

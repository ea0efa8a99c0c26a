"""The command `controller rollout approve`: which wave, shown before anybody is asked."""

from __future__ import annotations

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


@manual_command(
    "approve",
    examples=[
        ("synapse-apply controller rollout approve fleet", "Show what waits, and ask."),
        (
            "synapse-apply controller rollout approve fleet --revision 3b92d7c --wave 3",
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
@controller_options.add_wave_option
def command(
    *, console: Console, url: str, name: str, revision: str | None, wave: int | None
) -> int:
    """Let the next wave of a rollout begin, where its configuration says `approve`.

    An approval is for one revision and one wave. It needs the right `approve` for every target of
    the wave.
    """
    from synapse_apply.cli.flows.rollout_decisions import RolloutDecision, decide_on_rollout

    decision = RolloutDecision("approve", "Let wave {wave} begin", "waiting for approval")
    return decide_on_rollout(console, url, name, decision, revision=revision, wave=wave)

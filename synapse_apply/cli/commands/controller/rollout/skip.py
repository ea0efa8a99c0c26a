"""The command `controller rollout skip`: which wave, and why."""

from __future__ import annotations

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


@manual_command(
    "skip",
    examples=[
        (
            'synapse-apply controller rollout skip fleet --reason "eu-4 is being rebuilt"',
            "Show what is open, and ask.",
        ),
        (
            "synapse-apply controller rollout skip fleet --revision 3b92d7c --wave 2 --reason x",
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
@controller_options.add_reason_option
def command(
    *, console: Console, url: str, name: str, revision: str | None, wave: int | None, reason: str
) -> int:
    """Close the open wave of a rollout without evidence, so that the next one begins.

    What is left of the wave gets the revision, too. It needs the right `approve` for every target
    of the wave.
    """
    from synapse_apply.cli.flows.rollout_decisions import RolloutDecision, decide_on_rollout

    decision = RolloutDecision("skip", "Close wave {wave} without evidence", reason=reason)
    return decide_on_rollout(console, url, name, decision, revision=revision, wave=wave)

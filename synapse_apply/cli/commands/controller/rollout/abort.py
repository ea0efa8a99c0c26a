"""The command `controller rollout abort`: which rollout, and why."""

from __future__ import annotations

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


@manual_command(
    "abort",
    examples=[
        (
            'synapse-apply controller rollout abort fleet --reason "wrong bytes"',
            "Show how far it is, and ask.",
        ),
        (
            "synapse-apply controller rollout abort fleet --revision 3b92d7c --reason wrong",
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
@controller_options.add_reason_option
def command(*, console: Console, url: str, name: str, revision: str | None, reason: str) -> int:
    """Bring a revision no further: targets stay where they are until the next head.

    What has it keeps it: to go back, revert in Git. It needs the right `approve` for every target
    of the rollout.
    """
    from synapse_apply.cli.flows.rollout_decisions import RolloutDecision, decide_on_rollout

    decision = RolloutDecision("abort", "Bring this revision no further", reason=reason)
    return decide_on_rollout(console, url, name, decision, revision=revision)

"""The commands of `controller rollout`: what is asked and decided of a rollout."""

from __future__ import annotations

import click

from synapse_apply.cli import registry
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import LazyGroup, manual_command
from synapse_apply.cli.params import controller_options, options


@click.group("rollout", cls=LazyGroup, entries=registry.CONTROLLER_ROLLOUT)
def group() -> None:
    """See how far rollouts are, and decide on them.

    A rollout brings a new head to targets wave by wave. A wave is closed once each of its targets
    has shown that it looks good; too many failures stop the rollout, and a person decides.
    """


@manual_command(
    "status",
    examples=[
        ("synapse-apply controller rollout status", "All of them, who needs a person first."),
        ("synapse-apply controller rollout status fleet", "One, wave by wave."),
        ("synapse-apply controller rollout status fleet -o json", "With every target."),
    ],
    exits=[("0", "printed"), ("1", "there is no such rollout, or the controller does not answer")],
    environment=controller_options.API_ENVIRONMENT,
)
@options.add_json_options
@options.add_output_format_option
@controller_options.add_url_option
@controller_options.add_optional_rollout_argument
def status(*, console: Console, url: str, name: str) -> int:
    """Say which revision rollouts bring, how far they are, and what they wait for."""
    from synapse_apply.cli.flows.controller_access import open_controller_api
    from synapse_apply.cli.texts.controller_rollouts import format_rollout, format_rollout_list

    api = open_controller_api(console, url)
    if not name:
        rollouts = api.list_rollouts()
        items = [dict(rollout.document) for rollout in rollouts]
        document = {"apiVersion": "synapse-apply/v1", "kind": "RolloutList", "items": items}
        text = format_rollout_list(rollouts, color=console.is_output_colored)
    else:
        rollout = api.read_rollout(name, reads_all_targets=console.as_json)
        document = dict(rollout.document)
        text = format_rollout(rollout, color=console.is_output_colored)
    if console.as_json:
        console.write_or_keep_document(document)
    else:
        console.write_output(text)
    return 0


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
def approve(
    *, console: Console, url: str, name: str, revision: str | None, wave: int | None
) -> int:
    """Let the next wave of a rollout begin, where its configuration says `approve`.

    An approval is for one revision and one wave. It needs the right `approve` for every target of
    the wave.
    """
    from synapse_apply.cli.flows.rollout_decisions import RolloutDecision, decide_on_rollout

    decision = RolloutDecision("approve", "Let wave {wave} begin", "waiting for approval")
    return decide_on_rollout(console, url, name, decision, revision=revision, wave=wave)


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
def resume(*, console: Console, url: str, name: str, revision: str | None) -> int:
    """Go on with a rollout that is stopped: what failed is tried again, and failures count anew.

    It needs the right `approve` for every target of the rollout.
    """
    from synapse_apply.cli.flows.rollout_decisions import RolloutDecision, decide_on_rollout

    decision = RolloutDecision("resume", "Try what failed again, and go on", "stopped")
    return decide_on_rollout(console, url, name, decision, revision=revision)


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
def skip(
    *, console: Console, url: str, name: str, revision: str | None, wave: int | None, reason: str
) -> int:
    """Close the open wave of a rollout without evidence, so that the next one begins.

    What is left of the wave gets the revision, too. It needs the right `approve` for every target
    of the wave.
    """
    from synapse_apply.cli.flows.rollout_decisions import RolloutDecision, decide_on_rollout

    decision = RolloutDecision("skip", "Close wave {wave} without evidence", reason=reason)
    return decide_on_rollout(console, url, name, decision, revision=revision, wave=wave)


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
def abort(*, console: Console, url: str, name: str, revision: str | None, reason: str) -> int:
    """Bring a revision no further: targets stay where they are until the next head.

    What has it keeps it: to go back, revert in Git. It needs the right `approve` for every target
    of the rollout.
    """
    from synapse_apply.cli.flows.rollout_decisions import RolloutDecision, decide_on_rollout

    decision = RolloutDecision("abort", "Bring this revision no further", reason=reason)
    return decide_on_rollout(console, url, name, decision, revision=revision)

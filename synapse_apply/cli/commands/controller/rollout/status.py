"""The command `controller rollout status`: whom it asks, and what is printed."""

from __future__ import annotations

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


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
def command(*, console: Console, url: str, name: str) -> int:
    """Say which revision rollouts bring, how far they are, and what they wait for."""
    from synapse_apply.cli.flows.controller_access import open_controller_api
    from synapse_apply.cli.texts.controller_rollouts import (
        format_rollout,
        format_rollout_list,
    )

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

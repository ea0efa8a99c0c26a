"""The command `controller approve`: which rows, shown before anybody is asked."""

from __future__ import annotations

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


@manual_command(
    "approve",
    examples=[
        ("synapse-apply controller approve acme/prod", "Show what waits, and ask."),
        (
            "synapse-apply controller approve acme/prod --row row1:...",
            "For a script: the rows that somebody has seen.",
        ),
        ("synapse-apply controller approve 'acme/*'", "All that mean another backend now."),
    ],
    exits=[
        ("0", "approved, or nothing waits"),
        ("1", "the answer was not `yes`, no right, or the controller does not answer"),
        ("4", "a row does not wait any more as it was shown"),
        ("5", "nobody can approve such a row, or you cannot (`not_author`)"),
        ("7", "the answer was lost"),
    ],
    environment=controller_options.API_ENVIRONMENT,
)
@options.add_color_options
@controller_options.add_url_option
@controller_options.add_target_or_pattern_argument
@controller_options.add_row_option
def command(*, console: Console, url: str, target: str, row_digests: tuple[str, ...]) -> int:
    """Approve rows of a target that wait for a person.

    At a terminal every row is shown, and then it is asked. Elsewhere each approved row is named by
    its digest, so that nobody approves what they did not see. An approval is for what a row does:
    it ends when the row differs, when it is used, and after seven days. With a pattern it is about
    one sort of row alone: that a target means another backend now.
    """
    from synapse_apply.cli.flows.controller_access import open_controller_api
    from synapse_apply.cli.flows.held_rows import RowDecision, choose_rows_by_target
    from synapse_apply.cli.texts.controller_rows import format_approval_result

    api = open_controller_api(console, url)
    decision = RowDecision("approve", only_approvable=True)
    chosen = choose_rows_by_target(console, api, target, row_digests, decision)
    for name, rows in chosen.items():
        result = api.approve(name, [row.digest for row in rows])
        rows_left = api.list_held_rows(name)
        console.write_output(format_approval_result(name, rows, result.who, rows_left))
    return 0

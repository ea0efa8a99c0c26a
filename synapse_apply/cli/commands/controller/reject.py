"""The command `controller reject`: which rows, and why."""

from __future__ import annotations

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


@manual_command(
    "reject",
    examples=[
        (
            'synapse-apply controller reject acme/prod --reason "not before the release"',
            "Show what waits, and ask.",
        ),
        (
            "synapse-apply controller reject acme/prod --row row1:... --reason wrong",
            "One row, without a question.",
        ),
    ],
    exits=[
        ("0", "rejected, or nothing waits"),
        ("1", "the answer was not `yes`, no right, or the controller does not answer"),
        ("4", "a row does not wait any more as it was shown"),
        ("7", "the answer was lost"),
    ],
    environment=controller_options.API_ENVIRONMENT,
)
@options.add_color_options
@controller_options.add_url_option
@controller_options.add_target_argument
@controller_options.add_row_option
@click.option("--reason", required=True, metavar="TEXT", help="Why; stands on the page.")
def command(
    *, console: Console, url: str, target: str, row_digests: tuple[str, ...], reason: str
) -> int:
    """Say of rows that wait for a person that they are not to be done, and take approvals back.

    They go on waiting, marked, until Git or the live object changes; who approves one later has
    the last word.
    """
    from synapse_apply.cli.flows.controller_access import open_controller_api
    from synapse_apply.cli.flows.held_rows import RowDecision, choose_rows_by_target
    from synapse_apply.model.phrases import format_count_and_noun
    from synapse_apply.views.sanitize import sanitize

    api = open_controller_api(console, url)
    decision = RowDecision("reject")
    for name, rows in choose_rows_by_target(console, api, target, row_digests, decision).items():
        result = api.reject(name, [row.digest for row in rows], reason)
        count = format_count_and_noun(len(rows), "row")
        console.write_output(sanitize(f"Rejected {count} of {name} as {result.who}.") + "\n")
    return 0

"""The command `controller pause`: which targets, why, and until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options
from synapse_apply.cli.params.param_types import DATE_TIME, TIME_SPAN


@manual_command(
    "pause",
    examples=[
        ('synapse-apply controller pause acme/prod --reason "incident 4711"', "For a day."),
        ('synapse-apply controller pause "acme/*" --for 4h --reason migration', "A source."),
        (
            "synapse-apply controller pause acme/prod --until 2026-12-01T09:00:00Z --reason freeze",
            "To a time.",
        ),
    ],
    exits=[
        ("0", "paused"),
        ("1", "nothing matches, no right, or the controller does not answer"),
        ("7", "the answer was lost"),
    ],
    environment=controller_options.API_ENVIRONMENT,
)
@options.add_color_options
@controller_options.add_url_option
@controller_options.add_target_patterns_argument
@click.option("--reason", required=True, metavar="TEXT", help="Why; stands on the page.")
@click.option(
    "--for", "span", type=TIME_SPAN, metavar="SPAN", help="For how long (12h, 7d); 1d by default."
)
@click.option(
    "--until", type=DATE_TIME, metavar="TIME", help="Until when: a date, or a date with a time."
)
def command(
    *,
    console: Console,
    url: str,
    patterns: tuple[str, ...],
    reason: str,
    span: timedelta | None,
    until: datetime | None,
) -> int:
    """Have a running controller apply nothing to targets for a while; they are still looked at.

    An apply that is under way ends in its middle: what has begun ends, and no call begins later
    than 10 s after the pause. A pattern counts also for targets that come later. A second pause of
    the same pattern replaces the first.
    """
    from synapse_apply.cli.flows.controller_access import (
        open_controller_api,
        request_for_each_and_print_despite_refusals,
    )

    if span is not None and until is not None:
        raise click.UsageError("--for and --until do not go together.")
    end = until or datetime.now(UTC) + (span or timedelta(days=1))
    api = open_controller_api(console, url)

    def pause_scope_and_describe(scope: str) -> str:
        result = api.pause(scope, reason, end)
        return f"{scope} is paused until {result.until or f'{end:%Y-%m-%dT%H:%M:%SZ}'}."

    return request_for_each_and_print_despite_refusals(console, patterns, pause_scope_and_describe)

"""The command `controller reconcile`: which targets are looked at."""

from __future__ import annotations

from datetime import timedelta

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options
from synapse_apply.cli.params.param_types import TIME_SPAN


@manual_command(
    "reconcile",
    examples=[
        ("synapse-apply controller reconcile acme/prod", "Now, and not at its next interval."),
        ("synapse-apply controller reconcile 'acme/*'", "Every target of a source."),
        (
            "synapse-apply controller reconcile acme/prod --wait --timeout 10m",
            "And what became of it.",
        ),
    ],
    exits=[
        ("0", "asked for; with --wait: looked at, and nothing failed"),
        ("1", "no such target, no right, or the controller does not answer"),
        ("7", "the answer was lost"),
        ("1, 3, 5, 7", "with --wait, as `plan` and `apply` by hand; 1 when the time is over"),
    ],
    environment=controller_options.API_ENVIRONMENT,
)
@options.add_color_options
@controller_options.add_url_option
@controller_options.add_target_patterns_argument
@click.option(
    "--wait", "is_waiting", is_flag=True, help="Wait until it is done, and print what it found."
)
@click.option(
    "--timeout",
    type=TIME_SPAN,
    metavar="SPAN",
    help="How long to wait in all (10m, 2h); 30m by default.",
)
def command(
    *,
    console: Console,
    url: str,
    patterns: tuple[str, ...],
    is_waiting: bool,
    timeout: timedelta | None,
) -> int:
    """Have a running controller fetch and look at targets at once; a failing one is tried again.

    What it then applies is what the mode of the target, its windows, pauses and approvals let it.
    With --wait that has ended, too; what is held or waits for a window is not waited for.
    """
    from synapse_apply.cli.flows.controller_access import (
        open_controller_api,
        request_for_each_and_print_despite_refusals,
        wait_for_targets_and_print,
    )
    from synapse_apply.model.command import Command, Text
    from synapse_apply.model.errors import Exit, InputError

    if timeout is not None and not is_waiting:
        raise click.UsageError("--timeout goes with --wait.")
    api = open_controller_api(console, url)
    names = list(
        dict.fromkeys(
            name
            for pattern in patterns
            for name in api.list_names_matching_or_plain_name_unchecked(pattern)
        )
    )
    if not names:
        raise InputError.from_summary(
            "No target matches",
            f"The controller at {api.url} has none that matches {', '.join(patterns)}.",
            Text("List them with ", Command("controller status"), "."),
        )

    asked_names: list[str] = []

    def request_reconcile_and_describe(name: str) -> str:
        api.reconcile(name)
        asked_names.append(name)
        return f"{name} is looked at now."

    code = request_for_each_and_print_despite_refusals(
        console, names, request_reconcile_and_describe
    )
    if not is_waiting:
        return code
    span = timeout or timedelta(minutes=30)
    return Exit.select_by_precedence_or_error_code_if_none(
        code, wait_for_targets_and_print(console, api, asked_names, span)
    )

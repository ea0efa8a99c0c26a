"""The command `controller audit`: which rows are shown, and whether their chain holds."""

from __future__ import annotations

from pathlib import Path

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


@manual_command(
    "audit",
    examples=[
        ("synapse-apply controller audit", "Of the controller of this folder."),
        ("synapse-apply controller audit acme/prod --who proxy:ann", "What ann did there."),
        ("synapse-apply controller audit --url https://synapse-apply.acme.example", "Elsewhere."),
    ],
    exits=[("0", "the chain holds"), ("1", "it does not, or there is no store or no answer")],
    environment=controller_options.API_ENVIRONMENT,
)
@options.add_json_options
@controller_options.add_data_option
@controller_options.add_url_option
@click.argument(
    "pattern",
    type=controller_options.TargetPatternType(allow_patterns=True),
    default=None,
    required=False,
    metavar="[SOURCE/TARGET]",
)
@click.option("--who", default="", metavar="NAME", help="Only of proxy:NAME or token:NAME.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="How many rows to list; all are checked.",
)
@click.option(
    "--expect",
    "expected_digest",
    default="",
    metavar="DIGEST",
    help="Fail unless a row has this digest, such as the one that a log has from last week.",
)
def command(
    *,
    console: Console,
    data: Path,
    url: str,
    pattern: str | None,
    who: str,
    limit: int,
    expected_digest: str,
) -> int:
    """List who did what and when, newest first, and check that no row was changed or taken out.

    Each row has a digest over itself and the row before. The whole chain is computed anew here,
    whoever it was read from. That its end was cut off only a digest from elsewhere can tell: the
    controller logs the newest one every hour.
    """
    from synapse_apply.cli.flows.controller_access import (
        choose_url_or_empty_if_data_option_is_typed,
        open_controller_api,
    )
    from synapse_apply.cli.texts.controller_audit import print_audit_report
    from synapse_apply.controller.audit_report import (
        AuditSelection,
        fetch_and_check_audit,
        read_and_check_stored_audit,
    )

    selection = AuditSelection(pattern or "", who, limit)
    if url := choose_url_or_empty_if_data_option_is_typed(url):
        api = open_controller_api(console, url)
        report = fetch_and_check_audit(api, selection, expected_digest)
        return print_audit_report(console, report, api.mask)
    return print_audit_report(
        console, read_and_check_stored_audit(data, selection, expected_digest)
    )

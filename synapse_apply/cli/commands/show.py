"""The command `show`: whether its argument is a saved plan or a resource."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli import completion
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options, revision_options
from synapse_apply.cli.params.addresses import has_address_form
from synapse_apply.model.errors import NameNotFound

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.cli.reports import Reports


@manual_command(
    "show",
    examples=[
        ("synapse-apply show plugin/yolo", "Declared, recorded and live, field by field."),
        ("synapse-apply show storage/raw-data --json", "The same for a script."),
        ("synapse-apply show next.plan", "A saved plan, and what is known to have changed since."),
        (
            "synapse-apply show next.plan --report markdown=plan.md --report html=plan.html",
            "The same plan for a comment and for a browser.",
        ),
    ],
    exits=[("0", "shown"), ("1", "no such resource, no such plan, or it could not be read")],
)
@options.add_json_options
@options.add_targets_option
@options.add_report_option
@revision_options.add_project_from_option
@options.add_file_option
@options.add_variable_options
@click.argument("what", metavar="ADDRESS|FILE", shell_complete=completion.complete_addresses)
@click.option("--show-unchanged", is_flag=True, help="Of a plan, also what stays as it is.")
@options.add_parallelism_option
def command(
    *,
    console: Console,
    invocation: Invocation,
    reports: Reports | None,
    what: str,
    show_unchanged: bool,
) -> int:
    """Show a resource as its manifest declares it, as it was last applied, and as it is now.

    Or a plan that `plan --out FILE` saved, as `plan` showed it: with --json it is the document of
    `plan --json`, and --report writes the reports that `plan` would have written. An argument that
    is the name of a saved plan's file is that plan; anything else is an address, release/PLUGIN, or
    a name that only one kind has. Secrets show as `(sensitive)`, with whether they are as declared.
    """
    file = invocation.directory / what
    if file.is_file() and _is_plan_file(file, what):
        from synapse_apply.cli.texts.saved_plan import report_saved_plan

        return report_saved_plan(console, invocation, file, reports, show_unchanged=show_unchanged)
    if reports is not None or show_unchanged:
        option = "--show-unchanged" if reports is None else "--report"
        raise click.UsageError(f"{option} is for a saved plan; {what!r} is no file that holds one.")
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts.resource_sides import build_sides_document, render_resource_sides

    with open_command_target(invocation) as target:
        try:
            sides = target.find_resource(what)
        except NameNotFound as problem:
            raise NameNotFound(
                *(
                    diagnostic.with_changes(
                        detail=f"{diagnostic.detail}, and {what} is no file here"
                    )
                    for diagnostic in problem.diagnostics
                )
            ) from None
    if console.as_json:
        console.write_or_keep_document(build_sides_document(sides))
    else:
        console.write_output(render_resource_sides(sides, console))
    console.write_findings(sides.findings)
    return 1 if any(finding.is_error for finding in sides.findings) else 0


def _is_plan_file(file: Path, argument: str) -> bool:
    from synapse_apply.library import is_saved_plan

    return is_saved_plan(file) or not has_address_form(argument)

"""`synapse-apply show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli import offers, options, revisions
from synapse_apply.cli.addresses import is_address
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.cli.reports import Reports
    from synapse_apply.model.diagnostic import Diagnostic
    from synapse_apply.session.where import Where


@manual(
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
@options.output
@options.place
@options.reports
@revisions.rules
@options.files
@options.variables
@click.argument("what", metavar="ADDRESS|FILE", shell_complete=offers.addresses_or_files)
@click.option("--show-unchanged", is_flag=True, help="Of a plan, also what stays as it is.")
@options.parallelism
def command(
    *, face: Face, where: Where, reports: Reports | None, what: str, show_unchanged: bool
) -> int:
    """Show a resource as its manifest declares it, as it was last applied, and as it is now.

    Or a plan that `plan --out FILE` saved, as `plan` showed it: with --json it is the document of
    `plan --json`, and --report writes the reports that `plan` would have written. An argument that
    names an existing file of a plan is one, anything else is an address, release/PLUGIN, or a name
    that only one kind has. Secrets show as `(sensitive)`, with whether they are as declared.
    """
    file = where.directory / what
    if file.is_file() and _is_meant(file, what):
        from synapse_apply.cli.showing import show_plan

        return show_plan(face, where, file, reports, show_unchanged=show_unchanged)
    if reports is not None or show_unchanged:
        option = "--show-unchanged" if reports is None else "--report"
        raise click.UsageError(f"{option} is for a saved plan; {what!r} is no file that holds one.")
    return _show_resource(face, where, what)


def _is_meant(file: Path, what: str) -> bool:
    from synapse_apply.session.plan_file import is_plan

    return is_plan(file) or not is_address(what)


def _no_file_either(finding: Diagnostic, name: str) -> Diagnostic:
    return finding.with_(detail=f"{finding.detail}, and {name} is no file here")


def _show_resource(face: Face, where: Where, name: str) -> int:
    from synapse_apply.cli.sides import Sides
    from synapse_apply.model.errors import InputError
    from synapse_apply.planning.situation import Choices
    from synapse_apply.session.context import open_context
    from synapse_apply.session.plan import plan
    from synapse_apply.session.select import choose_one

    with open_context(where) as context:
        try:
            address = choose_one(context, name)
        except InputError as problem:
            raise InputError(*(_no_file_either(one, name) for one in problem.diagnostics)) from None
        planned = plan(context, Choices().under(context.target), looked_at=(address,))
        sides = Sides.of(planned, address, context.aim)
    if face.as_json:
        face.document(sides.document())
    else:
        face.out(sides.text(face))
    face.warn(sides.findings)
    return 1 if any(finding.is_error for finding in sides.findings) else 0

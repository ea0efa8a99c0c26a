"""`synapse-apply plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply.cli.reports import Reports
    from synapse_apply.model.plan import Plan
    from synapse_apply.session.where import Where


@manual(
    "plan",
    examples=[
        ("synapse-apply plan", "What apply would do on the only target."),
        ("synapse-apply plan -t prod --detailed-exitcode", "In CI: exit code 2 means changes."),
        ("synapse-apply plan --only storage --exclude team=vision", "Only a part of it."),
        ("synapse-apply plan --json > plan.json", "The plan for a program, complete on any exit."),
        ("synapse-apply plan --out next.plan", "Save it: `apply next.plan` does just that."),
        ("synapse-apply plan --report markdown=plan.md", "Also as a comment for a pull request."),
    ],
    exits=[
        ("0", "planned"),
        ("1", "error; what could be planned is shown"),
        ("2", "with --detailed-exitcode: there are changes or refusals"),
    ],
)
@options.output
@options.place
@options.reports
@options.files
@options.variables
@options.choices
@click.option(
    "--adopt/--no-adopt",
    default=True,
    help="Adopt objects that exist but are not recorded, or refuse them.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there is a change.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Save the plan in a new file, for `apply FILE` or `apply --reviewed FILE`.",
)
@options.parallelism
def command(
    *,
    face: Face,
    where: Where,
    reports: Reports | None,
    show_unchanged: bool,
    detailed_exitcode: bool,
    out: Path | None,
    **asked: Any,
) -> int:
    """Show what `apply` would do, and do nothing.

    Reads the manifests, the state and the live backend; sends nothing that could change anything.
    Rows marked `!` are refused: each says why, and the ways out. Guards that would stop the apply
    are told, too.

    A saved plan holds no secret value. It is signed with the state key, where there is one, and
    used once. A plan with errors is not saved.
    """
    from synapse_apply.cli.choices import Asked
    from synapse_apply.cli.keeping import keep_plan
    from synapse_apply.session.context import open_context
    from synapse_apply.session.plan import plan as make_plan
    from synapse_apply.session.saved import check_free

    if out is not None:
        check_free(where.directory / out)
    with open_context(where) as context:
        choices = Asked(**asked).choices(context)
        plan = make_plan(context, choices).plan
        said = keep_plan(face, where, context, plan, choices, out) if out is not None else ""
    if face.as_json:
        from synapse_apply.views.json import plan_document

        face.document(plan_document(plan))
    else:
        from synapse_apply.views.text import render_plan

        face.out(
            render_plan(plan, color=face.color_out, width=face.width, show_unchanged=show_unchanged)
        )
    if plan.summary.import_ and out is None and not face.on_terminal:
        said += "\nWhat is to be imported needs `--adopt` when `apply` runs off a terminal.\n"
    face.err(said)
    code = _exit_code(plan, detailed=detailed_exitcode)
    return reports.of_plan(plan, code) if reports else code


def _exit_code(plan: Plan, *, detailed: bool) -> int:
    if plan.errored:
        return Exit.ERROR
    differs = plan.has_changes or bool(plan.refused)
    return Exit.CHANGES if detailed and differs else Exit.OK

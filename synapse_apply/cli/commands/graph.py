"""`synapse-apply graph`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options, revisions
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply.model.diagnostic import Diagnostic
    from synapse_apply.session.where import Where
    from synapse_apply.views.graph import Node


@manual(
    "graph",
    examples=[
        ("synapse-apply graph", "For a ```mermaid block of a page or a comment."),
        ("synapse-apply graph --format dot > graph.dot", "For Graphviz."),
        ("synapse-apply graph -t prod --plan", "Coloured by what apply would do."),
    ],
    exits=[("0", "printed"), ("1", "error; with --plan also a plan that is incomplete")],
)
@options.text_output
@options.place
@revisions.rules
@options.files
@options.variables
@click.option(
    "--format",
    "form",
    type=click.Choice(["mermaid", "dot"]),
    default="mermaid",
    show_default=True,
    help="The language of the graph.",
)
@click.option("--plan", "planned", is_flag=True, help="Make a plan, and colour by its actions.")
@options.parallelism
def command(*, face: Face, where: Where, form: str, planned: bool) -> int:
    """Print which resource needs which; an arrow leads to what is needed.

    Without --plan it is what the manifests say, and needs no backend, no state and no secret.
    With --plan what is recorded and no longer declared is shown, too. The same manifests give
    the same text.
    """
    from synapse_apply.views.graph import FORMATS

    if planned:
        nodes, findings = _planned(where)
    else:
        nodes, findings = _declared(where), ()
    face.out(FORMATS[form](nodes))
    face.warn(findings)
    return Exit.ERROR if any(finding.is_error for finding in findings) else Exit.OK


def _declared(where: Where) -> list[Node]:
    """What the manifests say; InputError with every finding."""
    from synapse_apply.model.errors import InputError
    from synapse_apply.session.declare import declared, target_of
    from synapse_apply.views.graph import Node

    found = declared(where, *target_of(where))
    if any(finding.is_error for finding in found.diagnostics):
        raise InputError(*found.diagnostics)
    return [Node(address, one.depends_on) for address, one in found.desired.items()]


def _planned(where: Where) -> tuple[list[Node], Sequence[Diagnostic]]:
    """What apply would do, as far as it could be planned, and what was found on the way."""
    from synapse_apply.cli.choices import Asked
    from synapse_apply.session.context import open_context
    from synapse_apply.session.plan import plan
    from synapse_apply.views.graph import planned_nodes

    asked = Asked(prune=False, recreate=False, resend_secrets=False, overridden=(), adopt=True)
    with open_context(where) as context:
        made = plan(context, asked.choices(context)).plan
    return planned_nodes(made), made.diagnostics

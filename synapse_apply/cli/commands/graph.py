"""The command `graph`: the Mermaid chart of declared or planned resources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options, revision_options
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.views.graph import GraphNode


def _reject_format(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    """A usage error for a format that does not exist, or no longer."""
    if value not in {None, "mermaid"}:
        raise click.UsageError(
            f"graph has no format {value!r}: it writes Mermaid, which forges and editors draw, and "
            "`mmdc` of mermaid-cli turns into SVG.",
            ctx,
        )


@manual_command(
    "graph",
    examples=[
        ("synapse-apply graph", "For a ```mermaid block of a page or a comment."),
        ("synapse-apply graph -t prod --plan", "Coloured by what apply would do."),
    ],
    exits=[("0", "printed"), ("1", "error; with --plan also a plan that is incomplete")],
)
@options.add_color_options
@options.add_target_options
@revision_options.add_project_from_option
@options.add_file_option
@options.add_variable_options
@click.option("--format", hidden=True, expose_value=False, callback=_reject_format)
@click.option("--plan", "planned", is_flag=True, help="Make a plan, and colour by its actions.")
@options.add_parallelism_option
def command(*, console: Console, invocation: Invocation, planned: bool) -> int:
    """Print which resource needs which, as a Mermaid flowchart; an arrow leads to what is needed.

    Without --plan it is what the manifests say, and needs no backend, no state and no secret.
    With --plan what is recorded and no longer declared is shown, too. The same manifests give
    the same text.
    """
    from synapse_apply.views.graph import format_mermaid

    if planned:
        # The resources of a plan as far as it could be made, and its findings.
        from synapse_apply.cli.flows.command_target import open_command_target
        from synapse_apply.views.graph import build_plan_nodes

        with open_command_target(invocation) as target:
            plan = target.plan()
        nodes, findings = build_plan_nodes(plan), plan.diagnostics
    else:
        nodes, findings = _build_declared_nodes(invocation), ()
    console.write_output(format_mermaid(nodes))
    console.write_findings(findings)
    return Exit.ERROR if any(finding.is_error for finding in findings) else Exit.OK


def _build_declared_nodes(invocation: Invocation) -> list[GraphNode]:
    """The declared resources; InputError with every finding."""
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.views.graph import GraphNode

    with open_command_target(invocation) as target:
        return [
            GraphNode(address, resource.depends_on)
            for address, resource in target.read_manifests().items()
        ]

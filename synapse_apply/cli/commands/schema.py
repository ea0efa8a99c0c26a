"""The command `schema`: which JSON Schema to print."""

from __future__ import annotations

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options


@manual_command(
    "schema",
    examples=[
        ("synapse-apply schema", "List the schemas there are."),
        ("synapse-apply schema manifest > manifest.schema.json", "For an editor."),
    ],
    exits=[("0", "printed"), ("1", "there is no schema of that name")],
)
@options.add_color_options
@click.argument("name", required=False)
def command(*, console: Console, name: str | None) -> int:
    """Print a JSON schema (2020-12) as one self-contained document.

    Editors with a YAML language server take `manifest` for manifests and `project` for
    synapse-apply.yaml as they are.
    """
    from synapse_apply.manifests.schema.schemas import format_schema, list_schema_names

    console.write_output(format_schema(name) if name else "\n".join(list_schema_names()) + "\n")
    return 0

"""`synapse-apply schema`."""

from __future__ import annotations

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual


@manual(
    "schema",
    examples=[
        ("synapse-apply schema", "List the schemas there are."),
        ("synapse-apply schema manifest > manifest.schema.json", "For an editor."),
    ],
    exits=[("0", "printed"), ("1", "there is no schema of that name")],
)
@options.text_output
@click.argument("name", required=False)
def command(*, face: Face, name: str | None) -> int:
    """Print a JSON schema (2020-12) as one self-contained document.

    Editors with a YAML language server take `manifest` for manifests and `project` for
    synapse-apply.yaml as they are.
    """
    from synapse_apply.manifests.shapes import names, schema_text

    face.out(schema_text(name) if name else "\n".join(names()) + "\n")
    return 0

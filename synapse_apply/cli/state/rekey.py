"""`synapse-apply state rekey`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "rekey",
    examples=[
        ("synapse-apply state rekey -t prod", "After a new SYNAPSE_APPLY_STATE_KEY was set."),
    ],
    exits=[("0", "done; what kept its old key is told"), ("1", "error: nothing was changed")],
    environment=[("SYNAPSE_APPLY_STATE_KEY", "the new key; without it one is made in a file")],
)
@options.output
@options.place
@options.variables
@options.patience
def command(*, face: Face, where: Where) -> int:
    """Digest the recorded secrets under another state key.

    Each secret is resolved anew, so those that manifests name must be there; what cannot be
    resolved keeps its old digest and is not checked until it can. The results of runs are signed
    anew where the key that signed them is at hand, as .synapse-apply/state/TARGET.key.previous
    for example.
    """
    from synapse_apply.session.context import open_context
    from synapse_apply.session.rekey import rekey

    with open_context(where) as context:
        made = rekey(context, where.environ)
    face.warn(made.warnings)
    if face.as_json:
        face.document(
            {
                "key_id": made.key_id,
                "done": made.done,
                "signed": made.signed,
                "kept": list(made.kept),
            }
        )
        return 0
    for kept in made.kept:
        face.err(f"Kept under its old key: {kept}\n")
    noun = "secret" if made.done == 1 else "secrets"
    face.out(f"Digested {made.done} {noun} under key {made.key_id}.\n")
    if made.signed:
        runs = "run" if made.signed == 1 else "runs"
        face.out(f"Signed the results of {made.signed} {runs} with it.\n")
    return 0

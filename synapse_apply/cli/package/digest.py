"""`synapse-apply package digest`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual
from synapse_apply.cli.package import options

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "digest",
    examples=[
        ("synapse-apply package digest plugins/yolo", "Of a folder, as it is now."),
        ("synapse-apply package digest plugins/yolo --ref yolo-v1.1.0", "As it was at a tag."),
        (
            "synapse-apply package digest release/yolo@1.1.0 --json",
            "With the SHA-256 of each file.",
        ),
    ],
    exits=[("0", "printed"), ("1", "no such package, or it cannot be published as it is")],
)
@options.sought
def command(*, face: Face, where: Where, what: str, ref: str) -> int:
    """Print the digest of a package: `pkg1:sha256:` and the SHA-256 over its content.

    It counts paths, bytes and executable bits, and nothing else: the same files have the same
    digest on any machine, in a folder, at a Git ref or in a zip.
    """
    from synapse_apply.cli import packing
    from synapse_apply.session import package

    found = package.find(where, what, ref)
    inside = package.look(found)
    face.warn(inside.findings)
    if face.as_json:
        face.document(packing.whole(found, inside.package, inside.sizes))
    else:
        face.out(inside.package.digest + "\n")
    return 0

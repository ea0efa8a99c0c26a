"""What `verify --bytes` found, as text and as a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synapse_apply.cli.face import Face
from synapse_apply.model.errors import Exit
from synapse_apply.session.prove import Compared, Finding

_WORDS = {
    Finding.SAME: "the published bytes are those that are recorded",
    Finding.LEARNED: "the published bytes are recorded from now on",
    Finding.DIFFERENT: "the published bytes are not those that are recorded",
    Finding.UNREAD: "the published bytes were not read",
}


def show_compared(face: Face, compared: Sequence[Compared]) -> int:
    """Each release and what became of it; exit 3 unless all went well."""
    from synapse_apply.views.safety import clean

    found = [one for each in compared for one in each.diagnostics]
    code = Exit.OK if all(one.is_well for one in compared) else Exit.INCOMPLETE
    if face.as_json:
        document = {"bytes": [_document(one) for one in compared], "exit_code": int(code)}
        face.document({**document, "diagnostics": [one.to_json() for one in found]})
        return code
    face.warn(found)
    for one in compared:
        digest = f" ({clean(one.published)})" if one.is_well else ""
        face.out(f"{clean(str(one.address))}: {_WORDS[one.finding]}{digest}.\n")
    return code


def _document(one: Compared) -> dict[str, Any]:
    return {
        "address": str(one.address),
        "result": one.finding.value,
        "recorded": one.recorded or None,
        "published": one.published or None,
    }

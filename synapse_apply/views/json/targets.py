"""Which JSON document a command writes that worked on several targets: one part for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synapse_apply.model.coding.json_types import JsonDocument
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.views.json.documents import FORMAT_VERSION


@frozen
class TargetPart:
    """One target's exit code, and the document that the command has for one target."""

    target: str
    exit_code: int
    document: Mapping[str, Any] | None


def build_targets_document(
    command: str,
    parts: Iterable[TargetPart],
    not_begun: Sequence[str],
    exit_code: int,
    *,
    tool_version: str,
    diagnostics: Iterable[Diagnostic] = (),
) -> JsonDocument:
    """The document of several targets (targets.schema.json); `diagnostics` are of none of them."""
    return {
        "format_version": FORMAT_VERSION,
        "tool_version": tool_version,
        "command": command,
        "targets": [
            {"target": part.target, "exit_code": part.exit_code, "document": part.document}
            for part in parts
        ],
        "not_begun": list(not_begun),
        "exit_code": exit_code,
        "diagnostics": [finding.to_json() for finding in diagnostics],
    }

"""What `verify --bytes` prints, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.cli.console import Console
from synapse_apply.library import BytesResult, ComparedBytes
from synapse_apply.model.errors import Exit

_RESULT_TEXTS = {
    BytesResult.SAME: "the published bytes are those that are recorded",
    BytesResult.LEARNED: "the published bytes are recorded from now on",
    BytesResult.DIFFERENT: "the published bytes are not those that are recorded",
    BytesResult.UNREAD: "the published bytes were not read",
}


def print_compared_bytes(console: Console, comparisons: Sequence[ComparedBytes]) -> int:
    """Print the result for each release; returns exit code 3 unless all are consistent."""
    from synapse_apply.views.sanitize import sanitize

    findings = [entry for comparison in comparisons for entry in comparison.diagnostics]
    code = Exit.OK if all(entry.has_expected_digest for entry in comparisons) else Exit.INCOMPLETE
    if console.as_json:
        document = {
            "bytes": [
                {
                    "address": str(entry.address),
                    "result": entry.result.value,
                    "recorded": entry.recorded_digest or None,
                    "published": entry.published_digest or None,
                }
                for entry in comparisons
            ],
            "exit_code": int(code),
        }
        console.write_or_keep_document(
            {**document, "diagnostics": [entry.to_json() for entry in findings]}
        )
        return code
    console.write_findings(findings)
    for entry in comparisons:
        digest = f" ({sanitize(entry.published_digest)})" if entry.has_expected_digest else ""
        console.write_output(
            f"{sanitize(str(entry.address))}: {_RESULT_TEXTS[entry.result]}{digest}.\n"
        )
    return code

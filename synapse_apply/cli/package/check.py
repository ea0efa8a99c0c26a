"""`synapse-apply package check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual
from synapse_apply.cli.package.options import sought
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply.cli.reports import Reports
    from synapse_apply.session.where import Where


@manual(
    "check",
    examples=[
        ("synapse-apply package check plugins/yolo", "A folder, before it is merged."),
        ("synapse-apply package check dist/yolo.zip --strict", "A zip; warnings are errors."),
        ("synapse-apply package check plugins/yolo --ref yolo-v1.1.0", "As it was at a tag."),
        ("synapse-apply package check release/yolo --json", "Findings for an editor or a bot."),
    ],
    exits=[("0", "nothing that the platform would refuse"), ("1", "errors; every one is shown")],
)
@sought
@options.reports
def command(*, face: Face, where: Where, reports: Reports | None, what: str, ref: str) -> int:
    """Read a package as the platform will, and say what it would refuse or ignore.

    That is its config.yaml, its entrypoints, code that is left out, and secrets, which no finding
    shows. Each finding names its rule; docs/packages.md lists them. Nothing is sent anywhere.
    `validate` does the same for all packages of a project, and compares what they need.
    """
    from synapse_apply import __version__
    from synapse_apply.model.aim import aimed_findings
    from synapse_apply.session import package
    from synapse_apply.views.failure import failure_document
    from synapse_apply.views.findings import counted
    from synapse_apply.views.safety import clean, disarm

    found = package.find(where, what, ref)
    findings = package.check(found, strict=where.strict)
    errors = any(finding.is_error for finding in findings)
    code = Exit.ERROR if errors else Exit.OK
    if face.as_json:
        told = aimed_findings(findings, face.aim)
        face.document(failure_document("package check", told, code, tool_version=__version__))
    else:
        face.warn(findings)
        if not errors:
            face.out(disarm(f"Valid: {clean(found.name)}{counted(findings)}.\n"))
    return reports.of_findings(findings, code) if reports else code

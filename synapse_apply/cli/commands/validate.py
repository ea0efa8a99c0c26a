"""`synapse-apply validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli import options, revisions
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply.cli.reports import Reports
    from synapse_apply.session.where import Where


@manual(
    "validate",
    examples=[
        ("synapse-apply validate", "Check everything, for every target."),
        ("synapse-apply validate -t prod --strict", "One target; warnings are errors."),
        ("synapse-apply validate --json", "Findings for an editor or a bot."),
        ("synapse-apply validate --report github", "Each finding at its line in the pull request."),
    ],
    exits=[("0", "all is well, warnings aside"), ("1", "there are errors; every one is shown")],
)
@options.output
@options.place
@options.reports
@revisions.rules
@options.files
@options.variables
def command(*, face: Face, where: Where, reports: Reports | None) -> int:
    """Check the project file, the manifests and the packages they name.

    Needs no backend, no credentials and no value of a secret, so it can run for a pull request
    from anywhere. Every finding is shown with file, line and column. No project file and no
    manifest is an error, since the folder is the wrong one; an empty folder is a warning.
    """
    from synapse_apply import __version__
    from synapse_apply.session.validate import validate

    found = validate(where, every_target=where.target is None)
    errors = sum(finding.is_error for finding in found.diagnostics)
    code = Exit.ERROR if errors else Exit.OK
    if face.as_json:
        from synapse_apply.model.aim import aimed_findings
        from synapse_apply.views.failure import failure_document

        face.document(
            failure_document(
                "validate",
                aimed_findings(found.diagnostics, face.aim),
                code,
                tool_version=__version__,
            )
        )
    else:
        face.warn(found.diagnostics)
        if not errors:
            face.out(found.summary + "\n")
    return reports.of_findings(found.diagnostics, code) if reports else code

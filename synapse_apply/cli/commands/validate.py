"""The command `validate`: how findings are printed, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options, revision_options
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.cli.reports import Reports


@manual_command(
    "validate",
    examples=[
        ("synapse-apply validate", "Check everything, for every target."),
        ("synapse-apply validate -t prod --strict", "One target; warnings are errors."),
        ("synapse-apply validate --json", "Findings for an editor or a bot."),
        ("synapse-apply validate --report github", "Each finding at its line in the pull request."),
    ],
    exits=[("0", "valid, warnings aside"), ("1", "there are errors; every one is shown")],
)
@options.add_json_options
@options.add_targets_option
@options.add_report_option
@revision_options.add_project_from_option
@options.add_file_option
@options.add_variable_options
def command(*, console: Console, invocation: Invocation, reports: Reports | None) -> int:
    """Check the project file, the manifests and the packages they name.

    Needs no backend, no credentials and no value of a secret, so it can run for a pull request
    from anywhere. Every finding is shown with file, line and column. No project file and no
    manifest is an error, since the folder is the wrong one; an empty folder is a warning.
    """
    from synapse_apply import __version__
    from synapse_apply.cli.flows.command_target import open_command_target

    with open_command_target(invocation) as target:
        validation = target.validate()
    errors = sum(finding.is_error for finding in validation.diagnostics)
    code = Exit.ERROR if errors else Exit.OK
    if console.as_json:
        from synapse_apply.model.command import name_target_in_commands
        from synapse_apply.views.json.failure import build_findings_document_in_shape_of_command

        console.write_or_keep_document(
            build_findings_document_in_shape_of_command(
                "validate",
                name_target_in_commands(validation.diagnostics, console.typed_target),
                code,
                tool_version=__version__,
            )
        )
    else:
        console.write_findings(validation.diagnostics)
        if not errors:
            console.write_output(validation.summary + "\n")
    return reports.write_findings(validation.diagnostics, code) if reports else code

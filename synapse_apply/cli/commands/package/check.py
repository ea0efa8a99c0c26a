"""The command `package check`: how findings are printed, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli.commands.package.options import add_package_options
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.cli.reports import Reports


@manual_command(
    "check",
    examples=[
        ("synapse-apply package check plugins/yolo", "A folder, before it is merged."),
        ("synapse-apply package check dist/yolo.zip --strict", "A zip; warnings are errors."),
        ("synapse-apply package check plugins/yolo --ref yolo-v1.1.0", "As it was at a tag."),
        ("synapse-apply package check release/yolo --json", "Findings for an editor or a bot."),
    ],
    exits=[("0", "nothing that the platform would refuse"), ("1", "errors; every one is shown")],
)
@add_package_options
@options.add_report_option
def command(
    *, console: Console, invocation: Invocation, reports: Reports | None, what: str, ref: str
) -> int:
    """Read a package as the platform will, and say what it would refuse or ignore.

    That is its config.yaml, its entrypoints, code that is left out, and secrets, which no finding
    shows. Each finding names its rule; docs/packages.md lists them. Nothing is sent anywhere.
    `validate` does the same for all packages of a project, and compares what they need.
    """
    from synapse_apply import __version__
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.model.command import name_target_in_commands
    from synapse_apply.views.json.failure import build_findings_document_in_shape_of_command
    from synapse_apply.views.sanitize import escape_ci_commands, sanitize
    from synapse_apply.views.text.findings import format_finding_counts_or_empty

    with open_command_target(invocation) as target:
        package_query = target.packages.find_package(what, ref=ref)
        findings = target.packages.check_package(package_query)
    errors = any(finding.is_error for finding in findings)
    code = Exit.ERROR if errors else Exit.OK
    if console.as_json:
        targeted_findings = name_target_in_commands(findings, console.typed_target)
        console.write_or_keep_document(
            build_findings_document_in_shape_of_command(
                "package check", targeted_findings, code, tool_version=__version__
            )
        )
    else:
        console.write_findings(findings)
        verdict = "Not valid" if errors else "Valid"
        counts_text = format_finding_counts_or_empty(findings)
        console.write_output(
            escape_ci_commands(f"{verdict}: {sanitize(package_query.label)}{counts_text}.\n")
        )
    return reports.write_findings(findings, code) if reports else code

"""The command `controller check`: how findings are printed, and the exit code."""

from __future__ import annotations

import os
from pathlib import Path

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options
from synapse_apply.model.errors import Exit


@manual_command(
    "check",
    examples=[
        ("synapse-apply controller check", "Check controller.yaml."),
        (
            "synapse-apply controller check --online",
            "Also what a start on this machine would refuse.",
        ),
        ("synapse-apply controller check acme.yaml --strict", "Warnings are errors."),
    ],
    exits=[("0", "valid, warnings aside"), ("1", "there are errors; every one is shown")],
)
@options.add_json_options
@controller_options.add_file_argument
@click.option("--strict", is_flag=True, help="Warnings are errors.")
@click.option(
    "--online",
    is_flag=True,
    help="Also read the secrets and the head of each repository, and ask the store's database.",
)
def command(*, console: Console, file: Path, strict: bool, online: bool) -> int:
    """Check a controller's configuration; without --online it reads no secret and asks nobody.

    Every finding is shown with file, line and column. What this version does not use is a warning.
    With --online each repository is fetched into a temporary folder; nothing is written elsewhere.
    """
    from synapse_apply import __version__
    from synapse_apply.controller.checking import check_configuration

    findings = check_configuration(file, dict(os.environ) if online else None)
    if strict:
        findings = tuple(finding.with_error_in_place_of_warning() for finding in findings)
    code = Exit.ERROR if any(finding.is_error for finding in findings) else Exit.OK
    if console.as_json:
        from synapse_apply.views.json.failure import build_findings_document_in_shape_of_command

        console.write_or_keep_document(
            build_findings_document_in_shape_of_command(
                "controller check", findings, code, tool_version=__version__
            )
        )
        return code
    console.write_findings(findings)
    if code == Exit.OK:
        console.write_output(f"{file} is valid.\n")
    return code

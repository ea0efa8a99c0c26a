"""What `export` prints when it is done: its files, what it left out, and the next steps."""

from __future__ import annotations

from synapse_apply import Invocation
from synapse_apply.cli.console import Console
from synapse_apply.cli.params.invocation_options import add_invocation_options
from synapse_apply.library import ExportedFiles
from synapse_apply.model.coding.json_types import JsonDocument
from synapse_apply.model.diagnostic import format_json_pointer
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.views.paths import shown_path
from synapse_apply.views.text.export import format_variables_to_set, render_unexported


def print_exported_files(
    console: Console, invocation: Invocation, exported_files: ExportedFiles
) -> None:
    """Print the files that were written, the secrets to set, what was not exported, and hints."""
    export_report, unchanged_files = exported_files.report, exported_files.unchanged_files
    for path in exported_files.files:
        console.write_output(f"Wrote {shown_path(path)}\n")
    left_out_fields = [
        (str(entry.address), reason)
        for entry in export_report.objects
        for reason in entry.left_out_fields
    ]
    secrets = [
        (str(entry.address), str(secret))
        for entry in export_report.objects
        for secret in entry.secrets
    ]
    console.write_output(format_variables_to_set(secrets))
    console.write_output(
        render_unexported(
            left_out_fields, [(entry.label, entry.reason) for entry in export_report.missed_objects]
        )
    )
    unchanged_text = f", {len(unchanged_files)} files unchanged" if unchanged_files else ""
    count = format_count_and_noun(len(export_report.objects), "resource")
    failure_count = sum(entry.is_failure for entry in export_report.missed_objects)
    console.write_output(
        f"\nExport complete! {count} exported, {failure_count} not{unchanged_text}.\n"
    )
    if export_report.objects and "SYNAPSE_APPLY_IN_AUTOMATION" not in console.environ:
        # One a line; every command can be run as printed.
        console.write_output("\nNext:\n")
        for step in exported_files.next_steps:
            console.write_output(f"  {add_invocation_options(step, invocation)}\n")


def build_export_document(exported_files: ExportedFiles) -> JsonDocument:
    """What was exported and what was not, with the reasons, and where the inventory is."""
    export_report = exported_files.report
    return {
        "exported": [
            {
                "address": str(entry.address),
                "id": entry.remote_id,
                "left_out": list(entry.left_out_fields),
                "secrets": [
                    {"path": format_json_pointer(secret.path), "env": secret.variable}
                    for secret in entry.secrets
                ],
            }
            for entry in export_report.objects
        ],
        "not_exported": [
            {"what": entry.label, "reason": entry.reason} for entry in export_report.missed_objects
        ],
        "inventory": str(exported_files.inventory),
    }

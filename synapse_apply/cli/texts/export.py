"""What `export` prints when it is done: its files, what it left out, and the next steps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from synapse_apply.cli.console import Console
from synapse_apply.cli.params.invocation_options import with_invocation_options
from synapse_apply.live.live_backend import LiveBackend
from synapse_apply.manifests.export.export_files import ExportResult
from synapse_apply.manifests.files.manifest_files import (
    is_folder_read_by_default,
    list_manifest_paths,
)
from synapse_apply.model.command import Command, Text
from synapse_apply.operations.export import ExportReport
from synapse_apply.views.grammar import pluralize
from synapse_apply.views.text.export import render_secret_variables, render_unexported
from synapse_apply.workspace.configuration import format_path


def print_export_result(
    console: Console, export_report: ExportReport, export_result: ExportResult
) -> None:
    """Print the files that were written, the secrets to set, and what was not exported."""
    for path in export_result.files:
        console.write_output(f"Wrote {format_path(path)}\n")
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
    console.write_output(render_secret_variables(secrets))
    console.write_output(
        render_unexported(
            left_out_fields, [(entry.label, entry.reason) for entry in export_report.missed_objects]
        )
    )
    unchanged_text = (
        f", {len(export_result.unchanged)} files unchanged" if export_result.unchanged else ""
    )
    count = pluralize(len(export_report.objects), "resource")
    failure_count = sum(entry.is_failure for entry in export_report.missed_objects)
    console.write_output(
        f"\nExport complete! {count} exported, {failure_count} not{unchanged_text}.\n"
    )


def format_next_steps(
    live_backend: LiveBackend, export_report: ExportReport, folder: Path, inventory: Path
) -> str:
    """The next steps, one per line; every command can be run as printed."""
    return "\nNext:\n" + "".join(
        f"  {with_invocation_options(line, live_backend.invocation)}\n"
        for line in (
            *_iter_hint_unless_folder_is_read(live_backend, folder),
            *_iter_state_steps(live_backend, export_report),
            *_iter_import_steps(inventory),
        )
    )


def _iter_import_steps(inventory: Path) -> Iterator[str]:
    yield Text(Command("import -f", format_path(inventory)), " takes them into the state.")
    yield Text(Command("plan"), " says how they differ from the manifests.")


def _iter_hint_unless_folder_is_read(live_backend: LiveBackend, folder: Path) -> Iterator[str]:
    """How to have the folder read: a plan would forget recorded objects that it does not read."""
    project, target = live_backend.project, live_backend.target
    if is_folder_read_by_default(project, target, folder):
        return
    file = project.file.name if project.file else "a project file"
    relative_folder = os.path.relpath(folder.resolve(), project.root.resolve())
    current_selections = ", ".join(list_manifest_paths(project, target))
    instruction = f"Add {relative_folder} to `manifests:` in {file} (now: {current_selections})"
    if relative_folder.startswith(".."):
        instruction = (
            f"Move {format_path(folder)} to where {file} has `manifests:` ({current_selections})"
        )
    yield f"{instruction} first: a plan would want to forget what it does not read."


def _iter_state_steps(live_backend: LiveBackend, export_report: ExportReport) -> Iterator[str]:
    target = live_backend.target
    if export_report.has_state or target.is_embedded:
        return
    if target.state.lineage:
        yield Text(Command("state restore FILE"), " brings back the state that is pinned; or,")
        yield Text(Command("state init --lineage", target.state.lineage), " makes an empty one.")
    else:
        yield Text(Command("state init"), f" makes the state of target {target.name}.")

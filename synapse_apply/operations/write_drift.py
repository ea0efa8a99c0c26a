"""Where `drift --write` writes live values in the manifests, and when it refuses to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from synapse_apply.kinds.compare import is_same_value
from synapse_apply.live.project_files import ManifestComparison, build_live_edits
from synapse_apply.manifests import rewriting
from synapse_apply.manifests.decode.loading import FileCache, LoadedManifests
from synapse_apply.manifests.project.project import read_project_or_findings
from synapse_apply.manifests.project.targets import list_declared_targets
from synapse_apply.manifests.yaml.editing import Edit
from synapse_apply.manifests.yaml.reader import read_documents
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, mutable, replace
from synapse_apply.model.phrases import format_field_path, suggest_words
from synapse_apply.model.plan import FieldChange
from synapse_apply.model.report import Drift, ObjectDrift, WrittenEdit
from synapse_apply.model.resource import Desired
from synapse_apply.model.values import ABSENT, get_at_or_absent, is_map
from synapse_apply.operations.drift import (
    build_options_that_revert_drift,
    compute_drift,
    require_no_open_call,
)
from synapse_apply.operations.plan import plan as make_plan
from synapse_apply.workspace import configuration
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.target_session import PlanResult, TargetSession

_REFUSAL_SUMMARY = "This drift cannot be written"


@frozen
class _LiveEdit:
    """One edit of a manifest: `change` leads from the declared value to the live one at `spot`."""

    address: Address
    change: FieldChange
    spot: rewriting.DocumentSpot


@mutable
class _EditedFiles:
    """The edits so far, by file, and the content of each document after them."""

    edits: dict[tuple[Path, str], list[Edit]] = field(default_factory=dict)
    edited_documents: dict[tuple[Path, int], Any] = field(default_factory=dict)

    def add_edit(self, spot: rewriting.DocumentSpot, value: Any) -> None:
        """Add an edit that sets `spot` to `value` (ABSENT: removes it), with any missing maps."""
        document = spot.document
        document_key = (document.file, document.index)
        # A copy: later edits are based on it, and the parsed document must stay as it is.
        original_value = json.loads(json.dumps(document.document.value))
        parent = self.edited_documents.setdefault(document_key, original_value)
        for depth, part in enumerate(spot.path):
            is_last = depth == len(spot.path) - 1
            child = parent.get(part) if isinstance(parent, dict) else None
            if is_last or not isinstance(child, dict):
                new_value = value
                for missing in reversed(spot.path[depth + 1 :]):
                    new_value = {missing: new_value}
                break
            parent = child
        edit = Edit(spot.path[: depth + 1], new_value, document.index, allow_collections=True)
        self.edits.setdefault((document.file, document.name), []).append(edit)
        if new_value is ABSENT:
            parent.pop(part, None)
        else:
            parent[part] = new_value


def write_named_drift(
    invocation: Invocation, session: TargetSession, names: Sequence[str], *, write: bool
) -> Drift:
    """As `OpenTarget.write_drift`; raises as `write_live_values`."""
    plan_result = make_plan(session, build_options_that_revert_drift(None))
    drift = compute_drift(session, plan_result)
    drifted_addresses = {
        object_drift.address for object_drift in drift.objects if not object_drift.is_missing
    }
    addresses = session.names.choose_all(names, drifted_addresses.__contains__, "has drifted")
    return write_live_values(invocation, session, plan_result, drift, addresses, write=write)


def write_live_values(
    invocation: Invocation,
    session: TargetSession,
    plan_result: PlanResult,
    drift: Drift,
    addresses: Sequence[Address],
    *,
    write: bool,
) -> Drift:
    """Write the live values of these resources in place of their declared ones.

    `drift` must have been computed from `plan_result`. Returns it with the edits added; with
    `write` false the files stay as they are. InputError, with every finding and no file written,
    where a value cannot be written, or where a plan of the edited manifests would still change
    what is live.
    """
    findings: list[Diagnostic] = []
    live_edits: list[_LiveEdit] = []
    editor = _ProjectEditor(invocation, session)
    for address in dict.fromkeys(addresses):
        try:
            object_drift = _require_writable_drift(session, drift, address)
            # With what is live in the files the next apply would wait for it.
            require_no_open_call(plan_result, address)
            origins = editor.locate_field_origins(session.desired[address])
        except InputError as problem:
            findings += problem.diagnostics
            continue
        if not object_drift.fields:
            continue
        for change in build_live_edits(
            plan_result.resources[address], origins.resource.spec, object_drift.fields
        ):
            try:
                live_edits += _iter_edit(session, origins, change, object_drift.blocked_reason)
            except InputError as problem:
                findings += problem.diagnostics
    if findings:
        raise InputError(*findings)
    files = _EditedFiles()
    for live_edit in live_edits:
        live_value = _escape_variables(live_edit.change.after)
        # In the target's overlay null removes a value.
        is_in_overlay = live_edit.spot.path[0] == "targets"
        files.add_edit(
            live_edit.spot, None if live_value is ABSENT and is_in_overlay else live_value
        )
    rewrites = [rewriting.edited(file, name, edits) for (file, name), edits in files.edits.items()]
    new_manifests = editor.reload_manifests(rewrites, live_edits)
    # A plan of the new manifests must change no drifted field any more.
    comparison = ManifestComparison(plan_result.resources, session.secrets)
    for address in dict.fromkeys(addresses):
        for path in comparison.list_changed_fields(new_manifests.desired[address]):
            full_path: FieldPath = ("spec", *path)
            error = _build_refusal_error(
                address,
                "With the live values in the files, a plan would still change "
                f"{format_field_path(full_path)}",
                _EDIT_BY_HAND_HINT,
                position=session.desired[address].find_position(path),
                path=full_path,
            )
            findings += error.diagnostics
    if findings:
        raise InputError(*findings)
    if write:
        rewriting.rewrite_all_or_none(rewrites)
    documents_by_file = {
        entry.file: read_documents(entry.new_content, entry.name).documents for entry in rewrites
    }
    written_edits = []
    for edit in live_edits:
        document, path = edit.spot.document, edit.spot.path
        positions = documents_by_file[document.file][document.index].positions
        # Of a removed value, the line of its nearest parent.
        while path and path not in positions:
            path = path[:-1]
        line = positions[path].line
        written_edits.append(WrittenEdit(edit.address, edit.change, document.name, line))
    return replace(drift, written_edits=tuple(written_edits))


def _require_writable_drift(session: TargetSession, drift: Drift, address: Address) -> ObjectDrift:
    """The drift of an address, empty where it has none.

    InputError where a read of it failed, it is not declared, or the live object is gone.
    """
    problems = [d for d in drift.diagnostics if d.is_error and d.address in (None, str(address))]
    if problems:
        raise InputError(*problems)
    if address not in session.desired:
        hint = suggest_words(str(address), map(str, session.desired))
        raise _build_refusal_error(address, f"No manifest declares {address}", hint)
    object_drift = next(
        (object_drift for object_drift in drift.objects if object_drift.address == address), None
    )
    if object_drift is None:
        return ObjectDrift(address, "")
    if object_drift.is_missing:
        hint = Text(
            "To create it again: ",
            Command("apply --only", address),
            ". To stop managing it: remove its manifest, then ",
            Command("state rm", address),
            ".",
        )
        raise _build_refusal_error(
            address, f"{address} is gone, so there is nothing to write", hint
        )
    return object_drift


def _build_refusal_error(address: Address, detail: str, hint: str, **fields: Any) -> InputError:
    return InputError.from_summary(
        _REFUSAL_SUMMARY, f"{detail}.", hint, address=str(address), **fields
    )


# Written where the declared value stands, in the target's overlay where other targets read the
# manifest. Everything is read again before the first file is replaced, and compared as a plan does
# it. Drift is a set of leaves, so the highest place that must change is found first.
def _iter_edit(
    session: TargetSession,
    origins: rewriting.FieldOrigins,
    change: FieldChange,
    blocked_reason: str,
) -> Iterator[_LiveEdit]:
    """The manifest edit for one field change; none where the manifest already has the live value.

    InputError for a secret and for a reference, which are never written. `blocked_reason` says why
    apply could not undo the drift.
    """
    resource = origins.resource
    address = resource.address
    full_path: FieldPath = ("spec", *change.path)
    position_fields = {"position": resource.find_position(change.path), "path": full_path}
    if change.sensitive:
        secret_phrase = (
            "holds a secret"
            if is_map(get_at_or_absent(resource.spec, change.path))
            else "is a secret"
        )
        undo = Text("undo it: ", Command("apply --only", address, "--revert-drift"))
        if blocked_reason:
            undo = Text(f"change it back in Synapse: apply cannot undo it ({blocked_reason})")
        raise _build_refusal_error(
            address,
            f"{format_field_path(full_path)} {secret_phrase}: its value never goes into a file",
            Text("Put the new value in the source that the manifest reads, or ", undo, "."),
            **position_fields,
        )
    rule = session.catalogue[address.kind].rules.get(str(change.path[0]))
    if rule is None or rule.references:
        # Else it is the digest of a package.
        reason = "names another resource, but the live value is an id" if rule else "is not a field"
        command = Command("apply --only", address, "--revert-drift", "--allow-replace")
        raise _build_refusal_error(
            address,
            f"{format_field_path(full_path)} {reason}",
            "Edit it manually." if rule else Text("undo it: ", command),
            **position_fields,
        )
    if not is_same_value(change.before, change.after):
        yield _LiveEdit(address, change, origins.require_edit_spot(change.path))


def _escape_variables(value: Any) -> Any:
    """A value with `${` escaped in all its texts: a live text refers to no variable."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, Mapping):
        return {key: _escape_variables(child) for key, child in value.items()}
    return (
        [_escape_variables(child) for child in value] if isinstance(value, list | tuple) else value
    )


class _ProjectEditor:
    """The project's documents as written, and the manifests each target decodes from them.

    Those of every target: several of them may read one document.
    """

    def __init__(self, invocation: Invocation, session: TargetSession) -> None:
        self.invocation = invocation
        self.project, self.target = session.project, session.target
        declared = (*list_declared_targets(self.project), self.target)
        targets = {target.name: target for target in declared}
        paths = [str(path) for path in invocation.paths]
        self.documents = tuple(rewriting.readable_documents(self.project, targets.values(), paths))
        self.manifests_by_target = {
            name: session.declared_target.manifests
            if name == self.target.name
            else configuration.load_target_manifests(invocation, self.project, target)
            for name, target in targets.items()
        }

    def locate_field_origins(self, resource: Desired) -> rewriting.FieldOrigins:
        """Where each field of a resource is written: its manifest or a target's overlay."""
        document = next(
            candidate for candidate in self.documents if candidate.position == resource.position
        )
        readers = sum(
            any(one.position == resource.position for one in manifests.desired.values())
            for manifests in self.manifests_by_target.values()
        )
        project_document = rewriting.read_project_document(self.project)
        return rewriting.FieldOrigins(
            self.target, resource, document, project_document, readers > 1
        )

    def reload_manifests(
        self, rewrites: Sequence[rewriting.Rewrite], live_edits: Sequence[_LiveEdit]
    ) -> LoadedManifests:
        """Decode the edited files for every target; returns the manifests of this target.

        InputError for an error that was not there before, a written value that would still not be
        declared, or a change of anything else.
        """
        target_manifests = self.manifests_by_target[self.target.name]
        project = self.project
        file_cache = FileCache(
            {entry.file: read_documents(entry.new_content, entry.name) for entry in rewrites}
        )
        for entry in rewrites:
            if entry.file == project.file:
                reloaded_project, findings = read_project_or_findings(
                    entry.file, entry.name, entry.new_content
                )
                if reloaded_project is None:
                    raise InputError(*findings)
                project = reloaded_project
        for name, old_manifests in self.manifests_by_target.items():
            target = project.targets.get(name, self.target)
            new_manifests = configuration.load_target_manifests(
                self.invocation, project, target, file_cache=file_cache
            )
            known_findings = {entry.line_independent_key for entry in old_manifests.diagnostics}
            if new_errors := [
                d
                for d in new_manifests.diagnostics
                if d.is_error and d.line_independent_key not in known_findings
            ]:
                detail = "With the live values, the manifests would have the errors below."
                raise InputError(
                    error_finding(_REFUSAL_SUMMARY, detail, "No file was written."), *new_errors
                )
            edits: dict[Address, list[_LiveEdit]] = {}
            if name == self.target.name:
                target_manifests = new_manifests
                for live_edit in live_edits:
                    edits.setdefault(live_edit.address, []).append(live_edit)
            for address, resource in old_manifests.desired.items():
                new = new_manifests.desired.get(address)
                if new is None or (address not in edits and new.spec != resource.spec):
                    raise _build_refusal_error(
                        address,
                        f"the manifests would no longer declare {address} as they do now",
                        _EDIT_BY_HAND_HINT,
                    )
                for change in (edit.change for edit in edits.get(address, ())):
                    if not is_same_value(get_at_or_absent(new.spec, change.path), change.after):
                        field_name = format_field_path(("spec", *change.path))
                        raise _build_refusal_error(
                            address,
                            f"{field_name} would still differ from the live value",
                            _EDIT_BY_HAND_HINT,
                        )
        return target_manifests


_EDIT_BY_HAND_HINT = "Edit the manifest manually. No file was written."

"""Where `drift --write` writes live values in the manifests, and when it refuses to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from synapse_apply.kinds.compare import is_same_value
from synapse_apply.live.project_files import ManifestComparison, build_live_edits
from synapse_apply.manifests.decode.loading import FileCache, LoadedManifests
from synapse_apply.manifests.project.project import read_project_or_findings
from synapse_apply.manifests.project.targets import list_declared_targets
from synapse_apply.manifests.rewriting import (
    DocumentSpot,
    FieldOrigins,
    Rewrite,
    WrittenDocument,
    readable_documents,
    rewrite_all_or_none,
)
from synapse_apply.manifests.yaml.editing import Edit, apply_edits
from synapse_apply.manifests.yaml.reader import read_documents
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.phrases import format_field_path, shown_path, suggest_words
from synapse_apply.model.plan import FieldChange
from synapse_apply.model.project import Project, Target
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
from synapse_apply.workspace.selection import choose_addresses
from synapse_apply.workspace.target_session import PlanResult, TargetSession

_REFUSAL_SUMMARY = "This drift cannot be written"


@frozen
class _LiveEdit:
    """One edit of a manifest: `change` leads from the declared value to the live one at `spot`."""

    address: Address
    change: FieldChange
    spot: DocumentSpot

    @property
    def is_in_overlay(self) -> bool:
        return self.spot.path[0] == "targets"


@mutable
class _EditedFiles:
    """The edits so far, by file, and the content of each document after them."""

    edits: dict[tuple[Path, str], list[Edit]] = field(default_factory=dict)
    edited_documents: dict[tuple[Path, int], Any] = field(default_factory=dict)

    def add_edit(self, spot: DocumentSpot, value: Any) -> None:
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
                new_value = _wrap_value_in_maps(spot.path[depth + 1 :], value)
                break
            parent = child
        edit = Edit(spot.path[: depth + 1], new_value, document.index, allow_collections=True)
        self.edits.setdefault((document.file, document.name), []).append(edit)
        if new_value is ABSENT:
            parent.pop(part, None)
        else:
            parent[part] = new_value

    def iter_rewrites(self) -> Iterator[Rewrite]:
        """The old and new bytes of each edited file; InputError for a file that cannot be read."""
        for (file, name), file_edits in self.edits.items():
            try:
                old_bytes = file.read_bytes()
            except OSError as problem:
                raise InputError.from_summary(
                    "A file cannot be read", f"{name}: {problem}."
                ) from None
            yield Rewrite(
                file, name, old_bytes, apply_edits(old_bytes.decode(), name, file_edits).encode()
            )


def write_named_drift(
    invocation: Invocation, session: TargetSession, names: Sequence[str], *, write: bool
) -> Drift:
    """Compute the drift, and write the live values of the named resources into their manifests.

    A name with `*` means every drifted resource that it matches. Returns and raises as
    `write_live_values`; InputError also for a name that matches nothing.
    """
    plan_result = make_plan(session, build_options_that_revert_drift(None))
    drift = compute_drift(session, plan_result)
    drifted_addresses = {
        object_drift.address for object_drift in drift.objects if not object_drift.is_missing
    }
    addresses = choose_addresses(session, names, drifted_addresses.__contains__, "has drifted")
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
    editor = _ProjectEditor.from_session(invocation, session)
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
        live_value = (
            ABSENT
            if live_edit.change.after is ABSENT
            else _escape_variables(live_edit.change.after)
        )
        files.add_edit(
            live_edit.spot, None if live_value is ABSENT and live_edit.is_in_overlay else live_value
        )
    rewrites = tuple(files.iter_rewrites())
    new_manifests = editor.reload_manifests(rewrites, live_edits)
    _require_no_drift(session, plan_result, new_manifests, addresses)
    if write:
        rewrite_all_or_none(rewrites)
    return replace(drift, written_edits=tuple(_iter_written_edits(live_edits, rewrites)))


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
            "To make it again: ",
            Command("apply --only", address),
            ". To let it go: remove its manifest, then ",
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
    session: TargetSession, origins: FieldOrigins, change: FieldChange, blocked_reason: str
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
        raise _build_refusal_error(
            address,
            f"{format_field_path(full_path)} {secret_phrase}: its value never goes into a file",
            Text(
                "Bring the new value to where it is read from, or ",
                _undo_advice(address, blocked_reason),
                ".",
            ),
            **position_fields,
        )
    rule = session.catalogue[address.kind].rules.get(str(change.path[0]))
    if rule is None or rule.references:
        # Else it is the digest of a package.
        reason = "names another resource, and what is live is an id" if rule else "is no field"
        undo = Command("apply --only", address, "--revert-drift", "--allow-replace")
        raise _build_refusal_error(
            address,
            f"{format_field_path(full_path)} {reason}",
            "Edit it by hand." if rule else Text("undo it: ", undo),
            **position_fields,
        )
    if not is_same_value(change.before, change.after):
        yield _LiveEdit(address, change, origins.require_edit_spot(change.path))


def _undo_advice(address: Address, blocked_reason: str) -> str:
    """How to undo the drift instead of writing it, as the end of a sentence."""
    if blocked_reason:
        return f"change it back in Synapse: apply cannot undo it ({blocked_reason})"
    return Text("undo it: ", Command("apply --only", address, "--revert-drift"))


def _escape_variables(value: Any) -> Any:
    """A value with `${` escaped in all its texts: a live text refers to no variable."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, Mapping):
        return {key: _escape_variables(child) for key, child in value.items()}
    return (
        [_escape_variables(child) for child in value] if isinstance(value, list | tuple) else value
    )


def _wrap_value_in_maps(path: FieldPath, value: Any) -> Any:
    for part in reversed(path):
        value = {part: value}
    return value


def _iter_written_edits(
    live_edits: Sequence[_LiveEdit], rewrites: Sequence[Rewrite]
) -> Iterator[WrittenEdit]:
    """Each edit with its line in the new file; of a removed value, its nearest parent's line."""
    documents_by_file = {
        edit.file: read_documents(edit.new_content, edit.name).documents for edit in rewrites
    }
    for edit in live_edits:
        document, path = edit.spot.document, edit.spot.path
        positions = documents_by_file[document.file][document.index].positions
        while path and path not in positions:
            path = path[:-1]
        yield WrittenEdit(edit.address, edit.change, document.name, positions[path].line)


@frozen
class _ProjectEditor:
    """The project's documents as written, and the manifests each target decodes from them."""

    invocation: Invocation
    project: Project
    target: Target
    documents: Sequence[WrittenDocument]
    manifests_by_target: Mapping[str, LoadedManifests]

    @classmethod
    def from_session(cls, invocation: Invocation, session: TargetSession) -> _ProjectEditor:
        """Load the manifests of every target: several of them may read one document."""
        project, target = session.project, session.target
        targets = {
            each_target.name: each_target
            for each_target in (*list_declared_targets(project), target)
        }
        documents = tuple(
            readable_documents(project, targets.values(), [str(path) for path in invocation.paths])
        )
        manifests_by_target = {
            name: session.declared_target.manifests
            if name == target.name
            else configuration.load_target_manifests(invocation, project, each_target)
            for name, each_target in targets.items()
        }
        return cls(invocation, project, target, documents, manifests_by_target)

    def locate_field_origins(self, resource: Desired) -> FieldOrigins:
        """Where each field of a resource is written: its manifest or a target's overlay."""
        document = next(
            candidate for candidate in self.documents if candidate.position == resource.position
        )
        reading_targets = [
            name
            for name, manifests in self.manifests_by_target.items()
            if any(
                candidate.position == resource.position for candidate in manifests.desired.values()
            )
        ]
        file = self.project.file
        project_document = None
        if file is not None:
            name = shown_path(file)
            project_document = WrittenDocument(
                file, name, 0, read_documents(file.read_bytes(), name).documents[0]
            )
        return FieldOrigins(
            self.target, resource, document, project_document, len(reading_targets) > 1
        )

    def reload_manifests(
        self, rewrites: Sequence[Rewrite], live_edits: Sequence[_LiveEdit]
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
                detail = "With what is live the manifests would have errors, which follow."
                raise InputError(
                    error_finding(_REFUSAL_SUMMARY, detail, "No file was written."), *new_errors
                )
            if name == self.target.name:
                target_manifests = new_manifests
            _require_only_edits(
                old_manifests, new_manifests, live_edits if name == self.target.name else ()
            )
        return target_manifests


def _require_only_edits(
    old_manifests: LoadedManifests, new_manifests: LoadedManifests, live_edits: Sequence[_LiveEdit]
) -> None:
    """InputError where the edits lost a resource, changed another one, or did not take effect."""
    edits_by_address: dict[Address, list[_LiveEdit]] = {}
    for live_edit in live_edits:
        edits_by_address.setdefault(live_edit.address, []).append(live_edit)
    for address, resource in old_manifests.desired.items():
        new_resource = new_manifests.desired.get(address)
        if new_resource is None or (
            address not in edits_by_address and new_resource.spec != resource.spec
        ):
            raise _build_refusal_error(
                address, f"{address} would not be declared as it is now", _EDIT_BY_HAND_HINT
            )
        for live_edit in edits_by_address.get(address, ()):
            if not is_same_value(
                get_at_or_absent(new_resource.spec, live_edit.change.path), live_edit.change.after
            ):
                name = format_field_path(("spec", *live_edit.change.path))
                raise _build_refusal_error(
                    address, f"{name} would still not be what is live", _EDIT_BY_HAND_HINT
                )


def _require_no_drift(
    session: TargetSession,
    plan_result: PlanResult,
    new_manifests: LoadedManifests,
    addresses: Sequence[Address],
) -> None:
    """InputError where a plan of the new manifests would still change a drifted field."""
    comparison = ManifestComparison(plan_result.resources, session.secrets)
    findings: list[Diagnostic] = []
    for address in dict.fromkeys(addresses):
        for path in comparison.list_changed_fields(new_manifests.desired[address]):
            full_path: FieldPath = ("spec", *path)
            detail = (
                f"With what is live in the files a plan would still change "
                f"{format_field_path(full_path)}"
            )
            position_fields = {
                "position": session.desired[address].find_position(path),
                "path": full_path,
            }
            findings += _build_refusal_error(
                address, detail, _EDIT_BY_HAND_HINT, **position_fields
            ).diagnostics
    if findings:
        raise InputError(*findings)


_EDIT_BY_HAND_HINT = "Edit the manifest by hand. No file was written."

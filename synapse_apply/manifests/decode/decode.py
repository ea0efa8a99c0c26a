"""How one document becomes one Desired: kind, variables, overlays, schema, fields, lifecycle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests import schemas
from synapse_apply.manifests.decode import kinds
from synapse_apply.manifests.decode.draft import DecodeContext, Draft
from synapse_apply.manifests.decode.kinds import (
    SENSITIVE,
    may_be_sensitive,
    replace_secrets,
    select_secret_marks,
)
from synapse_apply.manifests.decode.variables import (
    LayeredPositions,
    Overlay,
    ReportFinding,
    VariableValues,
    apply_merge_patch,
    copy_without,
    substitute_variables,
)
from synapse_apply.manifests.schemas import ValueToCheck, build_schema_findings
from synapse_apply.manifests.yaml.reader import FILL_IN, Document, describe_value_kind
from synapse_apply.model.address import Address
from synapse_apply.model.dated_exception import DAY_HINT, DatedException, is_day
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    parse_json_pointer,
)
from synapse_apply.model.frozen import replace
from synapse_apply.model.phrases import format_field_path, suggest_words
from synapse_apply.model.resource import Desired, Lifecycle
from synapse_apply.model.values import Reference, flatten

API_VERSION = "synapse-apply/v1"
_MAX_REMOVED = 100
# Of kinds that are not named by their metadata alone, or whose spec holds more than fields.
_ADDRESS_BUILDERS: dict[str, Callable[[Draft], Address | None]] = {
    kinds.RELEASE: kinds.release_address
}
_SPEC_DECODERS: dict[str, Callable[[Draft], dict[str, Any]]] = {
    kinds.PLUGIN: kinds.decode_plugin,
    kinds.RELEASE: kinds.decode_release,
    kinds.STORAGE: kinds.decode_storage,
}


def prefix_by_kind_name() -> dict[str, str]:
    """The address prefix of each kind by its name, such as `Storage` to `storage`."""
    return {kind.kind: prefix for prefix, kind in sorted(CATALOGUE.items())}


def begin_draft(context: DecodeContext, document: Document, values: VariableValues) -> Draft | None:
    """A draft of the document with its variables replaced; None (reported) if its kind is unknown.

    A text whose variable has no value stays as written, and its path is in `unknown_paths`.
    """
    value = document.value
    draft = Draft(context, "", value, document.positions, document, document.position)
    if not isinstance(value, dict):
        detail = f"this document is {describe_value_kind(value)}, not a mapping"
        draft.report((), "Not a manifest", detail, f"begin with `apiVersion: {API_VERSION}`")
        return None
    # A loop, as the catalogue is keyed by prefix and has few kinds.
    for prefix, resource_type in CATALOGUE.items():
        if resource_type.kind == value.get("kind") and value.get("apiVersion") == API_VERSION:
            draft.schema = prefix
            if document.source.has_variables:
                draft.value = _fill_variables(draft, values)
            return draft
    _report_unknown_kind(draft)
    return None


def _report_unknown_kind(draft: Draft) -> None:
    version, kind = draft.value.get("apiVersion"), draft.value.get("kind")
    prefixes = prefix_by_kind_name()
    if version != API_VERSION:
        summary, detail = "Unknown apiVersion", "this version reads " + API_VERSION
        if version is None:
            summary, detail = "Missing field", "the document has no `apiVersion`"
        draft.report(("apiVersion",), summary, detail, f"write apiVersion: {API_VERSION}")
    # The usual case of a wrong kind: the project file was put into the folder of the manifests.
    if kind == "Project":
        detail = "a manifest has kind Project"
        hint = "rename the file to synapse-apply.yaml and move it to the project's root"
        draft.report(("kind",), "Project file among manifests", detail, hint)
    # A `kind` that is missing or no text would give a misleading suggestion below.
    elif not isinstance(kind, str):
        path = ("kind",) if "kind" in draft.value else ()
        hint = "write one of: " + ", ".join(prefixes)
        draft.report(path, "Missing field", "the document has no `kind`", hint)
    elif kind not in prefixes:
        hint = suggest_words(kind, prefixes)
        draft.report(("kind",), "Unknown kind", f"`{kind}` is not a kind", hint)


def _fill_variables(draft: Draft, values: VariableValues) -> Any:
    """The draft's value with variables replaced, except in the fields that make up its address.

    An address must be the same on every target, so `apiVersion`, `kind`, `metadata.name` and
    `spec.plugin` take no variables.
    """
    # Taken out before the substitution and put back in front, so that the order of keys stays.
    fixed_fields = {key: draft.value[key] for key in ("apiVersion", "kind") if key in draft.value}
    name, owner = draft.metadata.get("name"), draft.spec.get("plugin")
    substitutable = {key: value for key, value in draft.value.items() if key not in fixed_fields}
    if isinstance(name, str):
        substitutable["metadata"] = {k: v for k, v in draft.metadata.items() if k != "name"}
    if isinstance(owner, str):
        substitutable["spec"] = {k: v for k, v in draft.spec.items() if k != "plugin"}
    result = substitute_variables(
        substitutable, values, _reporter(draft), unreplaced_paths=draft.unknown_paths
    )
    if isinstance(name, str):
        result["metadata"] = {"name": name, **result["metadata"]}
    if isinstance(owner, str):
        result["spec"] = {"plugin": owner, **result["spec"]}
    return {**fixed_fields, **result}


def _reporter(draft: Draft, overlay: Overlay | None = None) -> ReportFinding:
    """A function that reports what cannot be replaced in the draft, or in one of its overlays."""

    def report_unresolved(path: FieldPath, summary: str, detail: str, hint: str) -> None:
        # Quotes nothing where the field may hold a secret.
        if select_secret_marks(draft).is_secret(path[1:]):
            detail = f"`{format_field_path(path)}` contains a reference to an undeclared variable"
        draft.report(path, summary, detail, hint, target=draft.context.target.name)
        if overlay is not None:
            # The text stands in the project file, not in the manifest that was reported.
            position = overlay.positions.get((*overlay.prefix, *path), overlay.position)
            draft.context.findings[-1] = draft.context.findings[-1].with_changes(position=position)

    return report_unresolved


def set_address(draft: Draft) -> None:
    """Set the draft's address from its fields; None where they are unfit (the schema reports)."""
    draft.address = _ADDRESS_BUILDERS.get(draft.schema, kinds.named_address)(draft)


def apply_overlay(draft: Draft, overlay: Overlay, values: VariableValues) -> None:
    """Apply one overlay to the draft in place; one that would change the address is an error.

    After such an error the draft is as it was.
    """
    report_unresolved = _reporter(draft, overlay)
    # An overlay with a pattern is copied into every document it matches, so it is charged each
    # time.
    if not values.charge(overlay.patch, f"overlay {overlay.pattern}", report_unresolved, ()):
        return
    unknown_paths: set[FieldPath] = set()
    patch = substitute_variables(
        overlay.patch, values, report_unresolved, unreplaced_paths=unknown_paths
    )
    before = draft.address, draft.value, draft.positions
    draft.value = apply_merge_patch(draft.value, patch)
    draft.positions = LayeredPositions(overlay, draft.positions)
    set_address(draft)
    if draft.address == before[0]:
        draft.unknown_paths |= unknown_paths
        return
    new_address = draft.address or "nothing"
    draft.address, draft.value, draft.positions = before
    draft.context.findings.append(
        error_finding(
            "Overlay changes the address",
            f"{draft.address} would become {new_address}",
            "change the manifest, or write a separate manifest for the target",
            position=overlay.position,
            address=str(draft.address),
            target=draft.context.target.name,
        )
    )


def find_misfits(draft: Draft) -> Sequence[Diagnostic]:
    """Each misfit of the draft with its schema; those of values that are known are reported."""
    # Nearly every document fits, and `is_valid` is much faster than collecting the misfits.
    if schemas.compile_validator(draft.schema).is_valid(draft.value):
        return ()
    address = str(draft.address) if draft.address else None
    misfits = build_schema_findings(draft.schema, _value_to_check(draft))
    for finding in misfits:
        if not draft.is_unknown_at_or_above(finding.path or ()):
            # Only a value from an overlay is wrong on this target alone.
            overlaid_here = finding.position and finding.position.file != draft.document.source.file
            target = draft.context.target.name if overlaid_here else None
            draft.context.findings.append(finding.with_changes(address=address, target=target))
    return misfits


def decode_fitting_part(draft: Draft, misfits: Sequence[Diagnostic]) -> Desired | None:
    """Decode a draft without its misfits and without what is not known, reporting what is wrong.

    Returns what the rest declares, used only to check its references; None where it fits no schema.
    """
    if len(misfits) > _MAX_REMOVED:  # each removal copies the maps around the field
        return None
    for misfit in misfits:
        draft.value = copy_without(draft.value, misfit.path or ())
    draft.unknown_paths |= {misfit.path or () for misfit in misfits}
    if misfits and not schemas.compile_validator(draft.schema).is_valid(draft.value):
        return None
    count_before = len(draft.context.findings)
    resource = decode_desired(draft)
    # Decoding reports what it misses as well; why it is missing was reported already.
    draft.context.findings[count_before:] = [
        finding
        for finding in draft.context.findings[count_before:]
        if not draft.is_unknown_at_or_above(finding.path or ())
    ]
    if resource is None:
        return None
    known = [name for name in resource.spec if not draft.is_unknown_at_or_above(("spec", name))]
    return replace(resource, spec={name: resource.spec[name] for name in known})


def _value_to_check(draft: Draft) -> ValueToCheck:
    source, marks = draft.document.source, select_secret_marks(draft)

    def is_hidden(path: FieldPath) -> bool:
        return path[:1] == ("spec",) and marks.is_secret(path[1:])

    def scalar_text(position: Position, value: Any) -> str:
        # A value may come from an overlay; the text of all of them is the project file's.
        overlays: Iterable[Overlay] = islice(draft.context.target.overlays.values(), 1)
        for text in (source, *(overlay.source for overlay in overlays)):
            if text.file == position.file:
                return text.scalar_text(position, value)
        return str(value)

    return ValueToCheck(draft.value, draft.positions, is_hidden, scalar_text)


def decode_desired(draft: Draft) -> Desired | None:
    """The Desired of a draft that fits its schema; None (reported) without version or package."""
    if draft.address is None:
        kinds.report_missing_version(draft)
        return None
    # Values that still hold the placeholder of `synapse-apply init`: sent as they are, they could
    # end up in a field that can never be changed again. Known from one search of the text: the walk
    # over all values is needed for few documents.
    for path, value in flatten(draft.spec).items() if draft.document.source.has_fill_in else ():
        if value == FILL_IN:
            field_path = ("spec", *path)
            detail = f"`{format_field_path(field_path)}` is still {FILL_IN}"
            hint = "write the value, or remove the line"
            draft.report(field_path, "Value not filled in", detail, hint)
    spec = _SPEC_DECODERS.get(draft.schema, kinds.decode_spec)(draft)
    # Kinds in `marks` (storages) have their secrets replaced by their own decoder.
    if draft.schema not in draft.context.marks.kinds:
        spec = replace_secrets(draft, spec)
    # Read after the spec, which reports a source that cannot be read.
    carries_package = CATALOGUE[draft.schema].carries_package
    source = kinds.release_source(draft) if carries_package else None
    # Its version may be in the package, so the resource would be incomplete.
    if draft.context.read_config(source).is_unreadable:
        return None
    depends_on = tuple([value.address for value in spec.values() if isinstance(value, Reference)])
    pinned_id, lifecycle = draft.metadata.get("id"), _DEFAULT_LIFECYCLE
    if block := draft.value.get("lifecycle"):
        exceptions: list[DatedException] = []
        lifecycle = Lifecycle(
            prevent_destroy=block.get("prevent_destroy", False),
            external=block.get("external", False),
            ignore_changes=_decode_pointers(draft, block, "ignore_changes", exceptions),
            own=_decode_pointers(draft, block, "own"),
            sensitive=_decode_pointers(draft, block, SENSITIVE),
            exceptions=tuple(exceptions),
        )
    verify, retain = kinds.decode_verification(draft), draft.spec.get("retain")
    if lifecycle.external:
        # What finds the object; the rest is another's to declare, and is never compared.
        keys = {"name", *CATALOGUE[draft.schema].identity_fields}
        spec = {name: value for name, value in spec.items() if name in keys}
        source = verify = retain = None
    return Desired(
        address=draft.address,
        spec=spec,
        labels=dict(draft.metadata.get("labels", {})),
        lifecycle=lifecycle,
        remote_id=None if pinned_id is None else str(pinned_id),
        depends_on=depends_on,
        source=source,
        verify=verify,
        retain=retain,
        position=draft.position,
        positions=draft.positions,
    )


_DEFAULT_LIFECYCLE = Lifecycle()


def _decode_pointers(
    draft: Draft,
    block: Mapping[str, Any],
    key: str,
    exceptions: list[DatedException] | None = None,
) -> tuple[FieldPath, ...]:
    """The paths that the entries of a key point to; those that end go into `exceptions`."""
    paths: list[FieldPath] = []
    for index, entry in enumerate(block.get(key, ())):
        pointer_path: FieldPath = ("lifecycle", key, index)
        text = entry
        if isinstance(entry, dict):
            text, pointer_path = entry["path"], (*pointer_path, "path")
        path = parse_json_pointer(text)
        fields = schemas.list_spec_fields(draft.schema)
        # The first name must be a field; below it, keys may be free or appear later.
        if not path or path[0] not in fields:
            draft.report(
                pointer_path,
                "Pointer matches no field",
                f"`{text}` points to no field of spec",
                suggest_words(path[0], fields)
                if path
                else "point to a field, for example /description",
            )
        elif exceptions is not None and isinstance(entry, dict):
            exception = _decode_exception(draft, path, entry, pointer_path[:-1])
            exceptions += [exception] if exception else []
        elif key != SENSITIVE or may_be_sensitive(draft, path, pointer_path):
            paths.append(path)
    return tuple(paths)


def _decode_exception(
    draft: Draft, path: FieldPath, entry: Mapping[str, Any], entry_path: FieldPath
) -> DatedException | None:
    """An ignored field that ends; None (reported) where its end is no day."""
    until = entry["until"]
    if not is_day(until):
        detail = f"`{until}` is not a date"
        draft.report((*entry_path, "until"), "Malformed date", detail, DAY_HINT)
        return None
    return DatedException(
        path,
        f"`ignore_changes: {entry['path']}` of {draft.address}",
        until,
        entry.get("reason", ""),
        str(draft.address),
        position=draft.find_position(entry_path),
    )

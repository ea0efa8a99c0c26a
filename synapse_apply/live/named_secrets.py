"""Which fields of single objects are secret: by `lifecycle.sensitive`, or by their record.

A field is secret if its manifest names it, or if its record has the digest of a secret there, be
it in a call without an answer, which may act late. So no edit of a commit (the name dropped or
moved, another address, another description of a provider) reveals what the backend has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.manifests.schemas import read_marks_of_storage_secrets
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    format_json_pointer,
    warning_finding,
)
from synapse_apply.model.frozen import replace
from synapse_apply.model.json_types import Spec
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.resource import Desired
from synapse_apply.model.secrets.secret_marks import UNMARKED, NamedSecrets, SecretMarks, SpecMarks
from synapse_apply.model.state import Intent, Record
from synapse_apply.model.values import (
    Fields,
    Mac,
    Reference,
    SecretRef,
    Sensitive,
    WithheldSecret,
    is_map,
)
from synapse_apply.workspace.target_session import TargetSession

_SECRET_TYPES = frozenset({Mac, WithheldSecret})
_NO_PATHS: frozenset[FieldPath] = frozenset()


def list_secret_paths(entry: Record | Intent) -> frozenset[FieldPath]:
    """The fields of an open call, or of a record and its given-up calls, that hold secrets."""
    sides: list[Fields] = [entry.applied, entry.seen] if isinstance(entry, Record) else []
    for call in entry.given_up if isinstance(entry, Record) else (entry,):
        sides += [call.fields, call.before, call.found]
    paths = [path for side in sides for path, value in side.items() if type(value) in _SECRET_TYPES]
    return frozenset(paths) if paths else _NO_PATHS


# A record's digests count for its id, so that no edit of a manifest or of `providers`, no move or
# pin shows a live value. Plain values declared at such a place are wrapped before anything is
# compared; the state stays as it is until the next apply.
def with_named_secrets(
    session: TargetSession,
    marks: SecretMarks,
    desired: Mapping[Address, Desired],
    records: Mapping[Address, Record],
    intents: Iterable[Intent],
) -> SecretMarks:
    """The marks with the secret fields of single objects.

    Every free-form field is where the state is not verified, since whoever wrote it may have left
    a secret out.
    """
    catalogue = session.catalogue
    by_address: dict[Address, frozenset[FieldPath]] = defaultdict(frozenset)
    by_id: dict[tuple[str, str, str], frozenset[FieldPath]] = defaultdict(frozenset)
    by_key: dict[tuple[str, str], frozenset[FieldPath]] = defaultdict(frozenset)
    anywhere: dict[str, frozenset[FieldPath]] = defaultdict(frozenset)

    def add_paths(
        address: Address, api: str, remote_id: str, key: str, paths: frozenset[FieldPath]
    ) -> None:
        by_address[address] |= paths
        if remote_id:
            by_id[address.kind, api, remote_id] |= paths
        if key:
            by_key[address.kind, key] |= paths

    entries: tuple[Record | Intent, ...] = (*records.values(), *intents)
    for entry in entries:
        if paths := list_secret_paths(entry):
            add_paths(entry.address, entry.api, entry.remote_id, entry.natural_key, paths)
    for address, resource in desired.items():
        kind = catalogue.get(address.kind)
        named = frozenset(resource.lifecycle.sensitive)
        if kind is None or not named:
            continue
        key = kind.derive_natural_key(resource.spec, {})
        api = kind.select_newest_binding(session.target.api).api
        add_paths(address, api, resource.remote_id or "", key, named)
        if address in records:
            record = records[address]
            add_paths(address, record.api, record.remote_id, record.natural_key, named)
        if not key:
            anywhere[address.kind] |= named
    if by_address:
        marks = replace(marks, named=NamedSecrets(by_address, by_id, by_key, anywhere))
    return marks if session.store.is_verified else with_free_form_secret(marks, catalogue)


def with_free_form_secret(marks: SecretMarks, catalogue: Catalogue) -> SecretMarks:
    """The marks where no record can be relied on: every free-form field is secret.

    Of a kind that has marks, so is each field that the project alone describes.
    """
    of_kind = {
        prefix: frozenset((name,) for name, rule in kind.rules.items() if rule.free_form)
        for prefix, kind in catalogue.items()
        if prefix not in marks.kinds
    }
    kinds = {
        prefix: replace(marks.kinds[prefix], described_paths_by_value=described)
        for prefix, kind in read_marks_of_storage_secrets().kinds.items()
        for values in [dict.fromkeys(marks.kinds[prefix].secret_paths_by_value, _NO_PATHS)]
        for described in [values | dict(kind.described_paths_by_value)]
    }
    return SecretMarks(kinds, replace(marks.named or NamedSecrets(), of_kind=of_kind))


def wrap_recorded_secrets(
    desired: Mapping[Address, Desired],
    records: Mapping[Address, Record],
    marks: SecretMarks,
    intents: Iterable[Intent] = (),
) -> tuple[Mapping[Address, Desired], tuple[Diagnostic, ...]]:
    """The declared resources, plain values wrapped where a secret is recorded; and warnings."""
    recorded: dict[Address, frozenset[FieldPath]] = defaultdict(frozenset)
    entries: tuple[Record | Intent, ...] = (*records.values(), *intents)
    for entry in entries:
        if paths := list_secret_paths(entry):
            recorded[entry.address] |= paths
    changed: dict[Address, Desired] = {}
    findings = []
    for address, paths in recorded.items():
        resource = desired.get(address)
        if resource is None:
            continue
        spec, literals = _wrap_literals(resource.spec, UNMARKED.with_named_secret_paths(paths))
        if literals:
            changed[address] = replace(resource, spec=spec)
            is_marked = address.kind in marks.kinds
            findings.append(_unnamed_secret(resource, literals, is_marked))
    if marks.named is not None and marks.named.of_kind:
        for address, resource in desired.items():
            spec_marks = marks.select_for_object(address.kind, resource.spec)
            if spec_marks is not None:
                base = changed.get(address, resource)
                spec, _ = _wrap_literals(base.spec, spec_marks)
                changed[address] = replace(base, spec=spec)
    return ({**desired, **changed} if changed else desired), tuple(findings)


def _wrap_literals(spec: Spec, marks: SpecMarks) -> tuple[Spec, list[FieldPath]]:
    """A spec with its plain values at secret paths as literal secrets; and these paths."""
    literals: list[FieldPath] = []

    def wrap(value: Any, path: FieldPath) -> Any:
        if value is None or isinstance(value, SecretRef | Reference):
            return value
        if is_map(value) and value:
            return {key: wrap(below, (*path, key)) for key, below in value.items()}
        is_map_above = is_map(value) and not marks.is_secret(path)
        if is_map_above or not (marks.is_secret(path) or marks.has_named_field_below(path)):
            return value
        literals.append(path)
        return SecretRef("literal", literal=Sensitive(value))

    return {key: wrap(value, (key,)) for key, value in spec.items()}, literals


def _unnamed_secret(resource: Desired, paths: list[FieldPath], is_marked: bool) -> Diagnostic:
    names = format_short_list(map(format_json_pointer, paths))
    name_it = (
        f"Mark it as a secret again, lifecycle: {{sensitive: [{format_json_pointer(paths[0])}]}}."
    )
    if is_marked:
        name_it = "Mark the key under `providers` in the project file as `secret: true`."
    return warning_finding(
        "A recorded secret is no longer marked as secret",
        f"{resource.address}: {names} is recorded as a secret, but the manifest has a plain "
        "value there. The tool still treats the value as a secret and hides it.",
        Text(
            f"{name_it} To make it public, forget the resource and adopt it again: ",
            Command("state rm", resource.address),
        ),
        address=str(resource.address),
        path=("spec", *paths[0]),
        position=resource.find_position(paths[0]),
    )

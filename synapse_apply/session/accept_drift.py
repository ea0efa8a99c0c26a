"""Use case: take live values over into the files that declare them; nothing is sent or recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from synapse_apply.kinds.compare import same
from synapse_apply.manifests.editing import Edit, edited
from synapse_apply.manifests.loading import Loaded, Shelf
from synapse_apply.manifests.origins import Origins, Spot
from synapse_apply.manifests.project import read_project
from synapse_apply.manifests.reader import read
from synapse_apply.manifests.rewriting import Rewrite, rewrite
from synapse_apply.manifests.targets import declared_targets
from synapse_apply.manifests.wording import did_you_mean, dotted
from synapse_apply.manifests.written import Written, written
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Diagnostic, Path, error
from synapse_apply.model.drift import Drift, Edited, ObjectDrift
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import FieldChange
from synapse_apply.model.project import Project, Target
from synapse_apply.model.values import ABSENT, dig, is_map
from synapse_apply.session import declare
from synapse_apply.session.context import Context, Planned
from synapse_apply.session.takeover import Comparison, edits
from synapse_apply.session.where import Where

_REFUSED = "This drift cannot be accepted"


@frozen
class _Wanted:
    """A live value that shall stand at a place; `field` leads from what is declared to it."""

    address: Address
    field: FieldChange
    spot: Spot

    @property
    def in_overlay(self) -> bool:
        return self.spot.path[0] == "targets"


@dataclass(slots=True)
class _Files:
    """The files as they will be: edits by file, and each document as the edits so far leave it."""

    edits: dict[tuple[FilePath, str], list[Edit]] = field(default_factory=dict)
    values: dict[tuple[FilePath, int], Any] = field(default_factory=dict)

    def put(self, spot: Spot, value: Any) -> None:
        """Add the edit that makes a value stand at a place, maps on the way to it included."""
        document = spot.document
        at = (document.file, document.index)
        copy = json.loads(json.dumps(document.document.value))
        now = self.values.setdefault(at, copy)
        for depth, part in enumerate(spot.path):
            last = depth == len(spot.path) - 1
            below = now.get(part) if isinstance(now, dict) else None
            if last or not isinstance(below, dict):
                made = _nested(spot.path[depth + 1 :], value)
                break
            now = below
        edit = Edit(spot.path[: depth + 1], made, document.index, whole=True)
        self.edits.setdefault((document.file, document.name), []).append(edit)
        if made is ABSENT:
            now.pop(part, None)
        else:
            now[part] = made

    def rewritten(self) -> Iterator[Rewrite]:
        for (file, name), made in self.edits.items():
            try:
                before = file.read_bytes()
            except OSError as problem:
                raise InputError.of("A file cannot be read", f"{name}: {problem}.") from None
            yield Rewrite(file, name, before, edited(before.decode(), name, made).encode())


def accept(
    where: Where,
    context: Context,
    planned: Planned,
    found: Drift,
    addresses: Sequence[Address],
    *,
    write: bool,
) -> Drift:
    """Write the live values of these resources where their declared ones stand.

    `found` is the drift of what was `planned`. It comes back with what was edited. InputError,
    with every finding, where one of them cannot be written, or when a plan of the manifests as
    they would be still changed what is live; no file is written then.
    """
    findings: list[Diagnostic] = []
    wanted: list[_Wanted] = []
    place = _Place.of(where, context)
    for address in dict.fromkeys(addresses):
        try:
            one = _object(context, found, address)
            origins = place.origins(context.desired[address])
        except InputError as problem:
            findings += problem.diagnostics
            continue
        if not one.fields:
            continue
        for change in edits(planned.items[address], origins.resource.spec, one.fields):
            try:
                wanted += _wanted(context, origins, change, one.stuck)
            except InputError as problem:
                findings += problem.diagnostics
    if findings:
        raise InputError(*findings)
    files = _Files()
    for each in wanted:
        live = ABSENT if each.field.after is ABSENT else _escaped(each.field.after)
        files.put(each.spot, None if live is ABSENT and each.in_overlay else live)
    rewrites = tuple(files.rewritten())
    after = place.check(rewrites, wanted)
    _check_clean(context, planned, after, addresses)
    if write:
        rewrite(rewrites)
    return replace(found, accepted=tuple(_told(wanted, rewrites)))


def _object(context: Context, found: Drift, address: Address) -> ObjectDrift:
    """The drift of an address, which may be none; InputError where there is nothing live."""
    problems = [d for d in found.diagnostics if d.is_error and d.address in (None, str(address))]
    if problems:
        raise InputError(*problems)
    if address not in context.desired:
        hint = did_you_mean(str(address), map(str, context.desired))
        raise _refused(address, f"No manifest declares {address}", hint)
    one = next((one for one in found.objects if one.address == address), None)
    if one is None:
        return ObjectDrift(address, "")
    if one.gone:
        hint = f"To make it again: `synapse-apply apply --only {address}`. To let it go: "
        hint += f"remove its manifest, then `synapse-apply state rm {address}`."
        raise _refused(address, f"{address} is gone, so there is nothing to write", hint)
    return one


def _refused(address: Address, detail: str, hint: str, **more: Any) -> InputError:
    return InputError(error(_REFUSED, f"{detail}.", hint, address=str(address), **more))


def _wanted(
    context: Context, origins: Origins, change: FieldChange, stuck: str
) -> Iterator[_Wanted]:
    """What is to be written for an edit; nothing where the manifest says it already.

    `stuck` tells why apply could not undo the drift.
    """
    resource = origins.resource
    address = resource.address
    full: Path = ("spec", *change.path)
    place = {"position": resource.place(change.path), "path": full}
    if change.sensitive:
        what = "holds a secret" if is_map(dig(resource.spec, change.path)) else "is a secret"
        raise _refused(
            address,
            f"{dotted(full)} {what}: its value never goes into a file",
            f"Bring the new value to where it is read from, or {_undone(address, stuck)}.",
            **place,
        )
    if context.catalogue[address.kind].rule(change.path).references:
        raise _refused(
            address,
            f"{dotted(full)} names another resource, and what is live is an id",
            "Edit it by hand.",
            **place,
        )
    if not same(change.before, change.after):
        yield _Wanted(address, change, origins.spot(change.path))


def _undone(address: Address, stuck: str) -> str:
    """How drift is undone, as the end of a sentence."""
    if stuck:
        return f"change it back in the product: apply cannot undo it ({stuck})"
    return f"undo it: `synapse-apply apply --only {address} --revert-drift`"


def _escaped(value: Any) -> Any:
    """What looks like a variable in a live text is none."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, Mapping):
        return {key: _escaped(below) for key, below in value.items()}
    return [_escaped(below) for below in value] if isinstance(value, list | tuple) else value


def _nested(path: Path, value: Any) -> Any:
    for part in reversed(path):
        value = {part: value}
    return value


def _told(wanted: Sequence[_Wanted], rewrites: Sequence[Rewrite]) -> Iterator[Edited]:
    """Each edit with the line it is on now; of a value that was taken out, of what it stood in."""
    texts = {one.file: read(one.after, one.name).documents for one in rewrites}
    for one in wanted:
        document, path = one.spot.document, one.spot.path
        positions = texts[document.file][document.index].positions
        while path and path not in positions:
            path = path[:-1]
        yield Edited(one.address, one.field, document.name, positions[path].line)


@frozen
class _Place:
    """The project as it is written, and as each of its targets reads it."""

    where: Where
    project: Project
    target: Target
    documents: Sequence[Written]
    loaded: Mapping[str, Loaded]

    @classmethod
    def of(cls, where: Where, context: Context) -> _Place:
        """All targets, since a manifest may be read by several of them."""
        project, target = context.project, context.target
        targets = {one.name: one for one in (*declared_targets(project), target)}
        documents = tuple(written(project, targets.values(), [str(path) for path in where.paths]))
        loaded = {
            name: context.loaded if name == target.name else declare.loaded(where, project, one)
            for name, one in targets.items()
        }
        return cls(where, project, target, documents, loaded)

    def origins(self, resource: Desired) -> Origins:
        """Where the fields of a resource come from."""
        document = next(one for one in self.documents if one.position == resource.position)
        readers = [
            name
            for name, loaded in self.loaded.items()
            if any(one.position == resource.position for one in loaded.desired.values())
        ]
        file = self.project.file
        own = None
        if file is not None:
            name = declare.shown(file)
            own = Written(file, name, 0, read(file.read_bytes(), name).documents[0])
        return Origins(self.target, resource, document, own, len(readers) > 1)

    def check(self, files: Sequence[Rewrite], wanted: Sequence[_Wanted]) -> Loaded:
        """Read all as it will be: what was accepted is declared, and nothing else has changed.

        Gives what this target will declare.
        """
        ours = self.loaded[self.target.name]
        project = self.project
        shelf = Shelf({one.file: read(one.after, one.name) for one in files})
        for one in files:
            if one.file == project.file:
                made, findings = read_project(one.file, one.name, one.after)
                if made is None:
                    raise InputError(*findings)
                project = made
        for name, before in self.loaded.items():
            target = project.targets.get(name, self.target)
            after = declare.loaded(self.where, project, target, shelf=shelf)
            known = {_mark(one) for one in before.diagnostics}
            if new := [d for d in after.diagnostics if d.is_error and _mark(d) not in known]:
                head = "With what is live the manifests would have errors, which follow."
                raise InputError(error(_REFUSED, head, "No file was written."), *new)
            if name == self.target.name:
                ours = after
            _check_same(before, after, wanted if name == self.target.name else ())
        return ours


def _check_same(before: Loaded, after: Loaded, wanted: Sequence[_Wanted]) -> None:
    accepted: dict[Address, list[_Wanted]] = {}
    for one in wanted:
        accepted.setdefault(one.address, []).append(one)
    for address, resource in before.desired.items():
        now = after.desired.get(address)
        if now is None or (address not in accepted and now.spec != resource.spec):
            raise _refused(address, f"{address} would not be declared as it is now", _BY_HAND)
        for one in accepted.get(address, ()):
            if not same(dig(now.spec, one.field.path), one.field.after):
                name = dotted(("spec", *one.field.path))
                raise _refused(address, f"{name} would still not be what is live", _BY_HAND)


def _check_clean(
    context: Context, planned: Planned, after: Loaded, addresses: Sequence[Address]
) -> None:
    """Compare what will be declared with what is live, as the next plan will."""
    comparison = Comparison(planned.items, context.secrets)
    findings: list[Diagnostic] = []
    for address in dict.fromkeys(addresses):
        for path in comparison.remaining(after.desired[address]):
            full: Path = ("spec", *path)
            why = f"With what is live in the files a plan would still change {dotted(full)}"
            place = {"position": context.desired[address].place(path), "path": full}
            findings += _refused(address, why, _BY_HAND, **place).diagnostics
    if findings:
        raise InputError(*findings)


_BY_HAND = "Edit the manifest by hand. No file was written."


def _mark(finding: Diagnostic) -> tuple[Any, ...]:
    """What makes two errors the same where lines have moved."""
    file = finding.position.file if finding.position else ""
    return finding.summary, finding.address, finding.path, finding.target, file

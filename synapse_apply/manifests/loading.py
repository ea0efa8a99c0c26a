"""Everything a target's manifests say: files to Desired, every finding in one run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any

from synapse_apply.files.checkout import read_plain
from synapse_apply.manifests import across, shapes
from synapse_apply.manifests.committed import Written, committed
from synapse_apply.manifests.decode import (
    API_VERSION,
    check,
    desired,
    drafted,
    examine_rest,
    overlaid,
    place_address,
)
from synapse_apply.manifests.draft import Context, PackageConfig
from synapse_apply.manifests.files import manifest_files, shown
from synapse_apply.manifests.fitting import Fitting
from synapse_apply.manifests.inventory import is_inventory
from synapse_apply.manifests.needing import with_needs
from synapse_apply.manifests.overlays import Overlay
from synapse_apply.manifests.reader import Document, Reading, read
from synapse_apply.manifests.refactoring import check_declared, check_declared_at, later_names
from synapse_apply.manifests.variables import Values
from synapse_apply.model.address import Address, in_order
from synapse_apply.model.desired import Desired, PackageSource
from synapse_apply.model.diagnostic import Diagnostic, Position, error
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.project import Project, Target
from synapse_apply.model.unhurried import unhurried_gc
from synapse_apply.model.values import Reference, SecretRef


@dataclass(frozen=True)
class Loaded:
    """What one target declares. With an error among the diagnostics it must not be used."""

    target: Target
    desired: Mapping[Address, Desired]
    diagnostics: tuple[Diagnostic, ...]
    marks: SecretMarks
    reported_flaws: frozenset[tuple[PackageSource, str]] = frozenset()

    @property
    def has_errors(self) -> bool:
        return any(finding.is_error for finding in self.diagnostics)

    @cached_property
    def manifests_digest(self) -> str:
        """`sha256:HEX` over what is declared, whatever files it stands in; no secret value."""
        all_of_it = [_as_json(self.desired[address]) for address in in_order(self.desired)]
        text = json.dumps(all_of_it, sort_keys=True, separators=(",", ":"), default=_marker)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@dataclass(slots=True)
class Shelf:
    """Files read once, for several targets."""

    readings: dict[FilePath, Reading] = field(default_factory=dict)

    def read(self, file: FilePath, name: str) -> Reading:
        if file not in self.readings:
            try:
                self.readings[file] = read(read_plain(file), name)
            except OSError as problem:
                finding = error(
                    "Unreadable file",
                    f"{name}: {problem.strerror}",
                    "check its permissions",
                    position=Position(name, 1, 1),
                )
                self.readings[file] = Reading((), (finding,))
        return self.readings[file]


def load(
    project: Project,
    target: Target,
    *,
    variables: Mapping[str, Any] | None = None,
    strict: bool = False,
    package_config: PackageConfig | None = None,
    paths: Sequence[str] = (),
    shelf: Shelf | None = None,
    written: Written | None = None,
) -> Loaded:
    """What the manifests declare for one target, and every finding.

    `variables` are those of the command line; `paths` replace the listed manifests; `strict`
    makes errors of warnings. With `written` the manifests are those of a commit, and `paths` are
    relative to the project's folder. Raises nothing for what a user wrote.
    """
    context = Context(project, target, shapes.marks_with(project.providers), package_config)
    with unhurried_gc():
        values = Values(project, target, variables or {})
        values.check()
        if written is None:
            documents = _documents(context, paths, shelf or Shelf())
        else:
            documents = _committed(context, paths, written)
        declared = _decoded(context, documents, values, written.name if written else "")
    findings = [*values.findings, *context.findings]
    if strict:
        findings = [finding.as_strict() for finding in findings]
    return Loaded(
        target,
        declared,
        tuple(dict.fromkeys(findings)),
        context.marks,
        frozenset(context.reported_flaws),
    )


def validate(
    project: Project,
    targets: Iterable[Target],
    *,
    variables: Mapping[str, Any] | None = None,
    strict: bool = False,
    package_config: Callable[[Target], PackageConfig] | None = None,
    paths: Sequence[str] = (),
) -> tuple[tuple[Loaded, ...], tuple[Diagnostic, ...]]:
    """Every target loaded, and the findings of all: one that several share stands once.

    `package_config` gives the reader of one target, whose lists of allowed files differ.
    """
    shelf = Shelf()
    loaded = tuple(
        load(
            project,
            target,
            variables=variables,
            strict=strict,
            package_config=package_config(target) if package_config else None,
            paths=paths,
            shelf=shelf,
        )
        for target in targets
    )
    found: dict[Diagnostic, list[Diagnostic]] = {}
    for one in loaded:
        for finding in one.diagnostics:
            found.setdefault(finding.with_(target=None), []).append(finding)
    return loaded, tuple(same[0] if len(same) == 1 else key for key, same in found.items())


def _documents(context: Context, paths: Sequence[str], shelf: Shelf) -> list[Document]:
    listed = manifest_files(context.project, context.target, paths)
    context.findings.extend(listed.findings)
    documents: list[Document] = []
    folder = os.getcwd()  # noqa: PTH109 - compared as text, a thousand times
    for file in listed.files:
        reading = shelf.read(file, shown(file, folder))
        if listed.implicit and not has_manifests(reading):
            continue
        if file not in listed.named and is_inventory(reading):
            continue
        context.findings.extend(reading.diagnostics)
        documents.extend(reading.documents)
    return documents


def _committed(context: Context, paths: Sequence[str], written: Written) -> list[Document]:
    found = committed(context.project, context.target, paths, written)
    context.findings.extend(found.findings)
    documents: list[Document] = []
    for reading in found.readings:
        if found.implicit and not has_manifests(reading):
            continue
        context.findings.extend(reading.diagnostics)
        documents.extend(reading.documents)
    return documents


def has_manifests(reading: Reading) -> bool:
    """Whether a file nobody named is ours: other YAML lies about in a working folder too."""
    family = API_VERSION.partition("/")[0]
    return any(
        isinstance(document.value, dict)
        and str(document.value.get("apiVersion", "")).startswith(family)
        for document in reading.documents
    )


def _decoded(
    context: Context, documents: Iterable[Document], values: Values, ref: str
) -> dict[Address, Desired]:
    overlays = Overlays(context, ref)
    known: dict[Address, Position | None] = {}
    declared: dict[Address, Desired] = {}
    in_part: dict[Address, Desired] = {}
    for document in documents:
        draft = drafted(context, document, values)
        if draft is None:
            continue
        place_address(context, draft)
        if draft.address is not None:
            for overlay in overlays.of(draft.address):
                overlaid(context, draft, overlay, values)
            if draft.address in known:
                first = known[draft.address]
                context.findings.append(across.duplicate(draft.address, first, draft.position))
                continue
            known[draft.address] = draft.position
        if draft.broken:
            one = examine_rest(context, draft)
            if one is not None:
                in_part[one.address] = one
        elif check(context, draft):
            one = desired(context, draft)
            if one is not None:
                declared[one.address] = one
    context.findings.extend(across.check_references({**declared, **in_part}, known))
    context.findings.extend(across.check_sources(declared))
    context.findings.extend(across.check_codes(context, declared))
    context.findings.extend(overlays.check(known))
    context.findings.extend(_check_moves(context, known, ref))
    fitting = Fitting(context.target, context.findings)
    return fitting.of(with_needs(declared, context.config))


def _check_moves(context: Context, known: Collection[Address], ref: str) -> Iterable[Diagnostic]:
    project, target = context.project, context.target.name
    if ref:
        return check_declared_at(ref, project.moved, project.removed, known, target)
    return check_declared(project.moved, project.removed, known, target)


class Overlays:
    """The overlays of a target, and which of them fitted something.

    Manifests of a Git ref may have an address that was moved since: its overlay goes along.
    """

    def __init__(self, context: Context, ref: str) -> None:
        self._all: list[Overlay] = list(context.target.overlays.values())
        self._target = context.target.name
        self._ref = ref
        self._moved = context.project.moved if ref else ()
        self._used: set[str] = set()

    def of(self, address: Address) -> list[Overlay]:
        """Those that fit an address, in the order of the project file."""
        if not self._all:
            return []
        names = later_names(address, self._moved) if self._moved else (str(address),)
        fitting = [one for one in self._all if any(map(one.fits, names))]
        self._used.update(one.pattern for one in fitting)
        return fitting

    def check(self, known: Collection[Address]) -> Iterable[Diagnostic]:
        """Those that fitted nothing."""
        return across.check_overlays(self._all, self._used, known, self._target, self._ref)


def _as_json(one: Desired) -> dict[str, Any]:
    return {
        "address": str(one.address),
        "spec": one.spec,
        "labels": one.labels,
        "prevent_destroy": one.lifecycle.prevent_destroy,
        "ignore_changes": one.lifecycle.ignore_changes,
        "own": one.lifecycle.own,
        "id": one.remote_id,
        "source": str(one.source) if one.source else None,
        "verify": one.verify,
        **({"retain": one.retain} if one.retain is not None else {}),
    }


def _marker(value: Any) -> Any:
    if isinstance(value, SecretRef):
        return {"$secret": [value.source, value.name, value.format]}
    if isinstance(value, Reference):
        return {"$reference": str(value.address)}
    return list(value) if isinstance(value, tuple) else str(value)

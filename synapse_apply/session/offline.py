"""Use case: what a change of manifests means, without a backend, a state or any secret.

What was declared before (at a Git ref, or what an inventory lists) stands in for what is recorded
and live. Secrets are compared as references; nothing is resolved and nothing is asked.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path

from synapse_apply import __version__
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.manifests.loading import Loaded
from synapse_apply.manifests.targets import choose_target
from synapse_apply.model.address import Address
from synapse_apply.model.aim import aimed_plan
from synapse_apply.model.desired import Desired, PackageSource
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.errors import InputError, ManifestError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import FoundBy, Lookup, Observed, Sighting
from synapse_apply.model.plan import Action, Base, Change, FieldChange, Plan
from synapse_apply.model.project import Project, Target
from synapse_apply.model.refactoring import Moved
from synapse_apply.model.state import Binding, Record
from synapse_apply.model.values import (
    Fields,
    SecretWant,
)
from synapse_apply.planning import refusals as refused
from synapse_apply.planning.moving import let_go, moving
from synapse_apply.planning.planner import plan as make_plan
from synapse_apply.planning.situation import Choices, Item, Situation
from synapse_apply.session import declare
from synapse_apply.session.before import as_checked_out, before_at
from synapse_apply.session.named_secrets import wrap_recorded_secrets
from synapse_apply.session.prepare import wanted
from synapse_apply.session.replaced import with_replacements
from synapse_apply.session.supposed import (
    References,
    natural_key,
    record_of,
    records,
    sightings,
    undeclared,
)
from synapse_apply.session.surroundings import Checkout, SystemClock, checkout_of
from synapse_apply.session.where import Where

_OTHER_REFERENCE = "reference changed"
# What pre-commit gives a hook is all that stands in `args`.
_IN_A_HOOK = (
    "name it in .pre-commit-config.yaml, `args: [--against, git:HEAD, -t, NAME]`, "
    "or set default_target in synapse-apply.yaml"
)
_NOWHERE = Binding(url="")


@frozen
class Row:
    """A row of an inventory: the server's id, and the digest of what was published, if known."""

    id: str
    digest: str | None = None


@frozen
class Offline:
    """A target's manifests, and what they are compared with: `label` is how views call it.

    `then` is what was declared before, where that is known; `made_up` are the ids in `before` that
    stand in for those nobody knows. `compared` is False where what was declared cannot be used.
    """

    label: str
    target: Target
    loaded: Loaded
    desired: Mapping[Address, Desired]
    diagnostics: tuple[Diagnostic, ...]
    before: Mapping[Address, Record]
    secrets: References
    root: Path
    then: Mapping[Address, Desired] = field(default_factory=dict)
    made_up: frozenset[str] = frozenset()
    checkout: Checkout = Checkout()
    compared: bool = True
    partial: bool = False
    aim: str = ""
    moved: tuple[Moved, ...] = ()
    removed: frozenset[Address] = frozenset()
    catalogue: Catalogue = field(default_factory=lambda: CATALOGUE)

    def recorded(self) -> Iterable[Address]:
        """The addresses that count as recorded."""
        return self.before


def against_git(where: Where, ref: str) -> Offline:
    """The checkout beside the manifests of a Git ref; InputError with every finding."""
    project, target, now = _checkout(where)
    base, secrets = before_at(where, project, target, ref), References()
    pins = {at: one.remote_id for at, one in now.desired.items() if one.remote_id}
    before = records(base.declared, target, pins, secrets)
    found = _offline(where, project, target, now, base.label, before, base.diagnostics, secrets)
    made_up = frozenset(str(at) for at, one in before.items() if one.remote_id == str(at))
    now_at = {move.old: move.new for move in found.moved}
    then = {now_at.get(at, at): one for at, one in base.declared.items()}
    before, doubts = as_checked_out(found.before, then, found.desired, project.root)
    told = (*found.diagnostics, *doubts)
    found = replace(found, then=then, made_up=made_up, before=before, diagnostics=told)
    return replace(found, compared=base.compared)


def against_inventory(where: Where, rows: Mapping[Address, Row], label: str) -> Offline:
    """The checkout beside what an inventory lists; of its fields an inventory knows none."""
    project, target, now = _checkout(where)
    secrets = References()
    sights = sightings({address: row.id for address, row in rows.items()})
    before: dict[Address, Record] = {}
    for address, row in rows.items():
        kind = CATALOGUE.get(address.kind)
        if kind is None:
            raise InputError.of(
                "There is no such kind", f"{address} in {label}.", f"Kinds: {', '.join(CATALOGUE)}."
            )
        record = undeclared(address, kind, target)
        if address in now.desired:
            record = record_of(now.desired[address], target, now.desired, sights, secrets)
        before[address] = replace(record, remote_id=row.id, digest=row.digest, files={})
    told = warning(
        "Fields were not compared",
        "An inventory has no fields: only ids, versions and the digests of packages are known.",
        "Compare with a Git ref to see them: --against git:REF.",
    )
    return _offline(where, project, target, now, label, before, (told,), secrets)


def plan(offline: Offline, choices: Choices) -> Plan:
    """What the manifests would change, were all that they are compared with live as declared."""
    made = _items(offline)
    situation = Situation(
        plan_id=str(uuid.uuid4()),
        created=SystemClock().now(),
        tool_version=__version__,
        base=Base(
            target=offline.target.name,
            binding=_NOWHERE,
            lineage="",
            serial=0,
            manifests_digest=offline.loaded.manifests_digest,
            commit=offline.checkout.label,
            dirty=offline.checkout.dirty,
            against=offline.label,
            compared=offline.compared,
        ),
        catalogue=offline.catalogue,
        items=made,
        choices=replace(
            choices.under(offline.target), partial=offline.partial, resend_secrets=False
        ),
        diagnostics=offline.diagnostics,
        moved=offline.moved,
        removed=offline.removed,
    )
    planned = make_plan(situation)
    changes = tuple(_told(change, made.get(change.address), offline) for change in planned.changes)

    def origins(record: Record, _: PackageSource) -> Iterator[PackageSource]:
        before = offline.then.get(record.address)
        if before is not None and before.package is not None:
            yield before.package.source

    found = with_replacements(
        replace(planned, changes=changes),
        made,
        origins,
        offline.root,
        offline.target.allow_files,
    )
    return aimed_plan(found, offline.aim)


def _checkout(where: Where) -> tuple[Project, Target, declare.Declared]:
    """What is declared here, for a target whose holes nothing fills: no environment is looked at.

    ManifestError with every finding.
    """
    project = declare.project_of(where)
    target = _meant(project, where)
    now = declare.declared(where, project, target)
    if any(finding.is_error for finding in now.diagnostics):
        raise ManifestError(*now.diagnostics)
    return project, target, now


def _meant(project: Project, where: Where) -> Target:
    try:
        return choose_target(project, where.target, {}, on_terminal=True)
    except InputError as problem:
        if where.target or not where.environ.get("PRE_COMMIT"):
            raise
        raise InputError(*(one.with_(hint=_IN_A_HOOK) for one in problem.diagnostics)) from None


def _offline(
    where: Where,
    project: Project,
    target: Target,
    now: declare.Declared,
    label: str,
    before: Mapping[Address, Record],
    findings: Iterable[Diagnostic],
    secrets: References,
) -> Offline:
    moves = moving(before, project.moved, ())
    return Offline(
        label=label,
        target=target,
        loaded=now.loaded,
        desired=now.desired,
        diagnostics=(*now.diagnostics, *findings, *moves.diagnostics),
        before=moves.records,
        secrets=secrets,
        checkout=checkout_of(project.root, declare.files_read(project, now)),
        root=project.root,
        partial=bool(where.paths),
        aim=where.target or "",
        moved=moves.moved,
        removed=let_go(project.removed, moves.records, now.desired),
    )


def _items(offline: Offline) -> dict[Address, Item]:
    before = offline.before
    desired, _ = wrap_recorded_secrets(offline.desired, before, offline.loaded.marks)
    keys = {
        address: natural_key(offline.catalogue[address.kind], one, desired)
        for address, one in desired.items()
    }
    sights = sightings({at: record.remote_id for at, record in before.items()})
    lives: dict[Address, Fields] = {at: record.applied for at, record in before.items()}
    for address, record in _renamed(offline, keys):
        observed = Observed(record.remote_id, record.api, {})
        sights[address] = Sighting(address, observed, FoundBy.KEY, Lookup.COMPLETE)
        lives[address] = record.applied
    made: dict[Address, Item] = {}
    for address in sorted({*desired, *before}):
        kind = offline.catalogue[address.kind]
        recorded, one = before.get(address), desired.get(address)
        binding = kind.binding(offline.target.api)
        if one is None and recorded is not None:
            binding = kind.bindings.get(recorded.api, binding)
        made[address] = Item(
            address=address,
            type=kind,
            binding=binding,
            sighting=sights.get(address, Sighting(address)),
            desired=one,
            want=wanted(one, sights, "", offline.secrets) if one else {},
            live=lives.get(address, {}),
            record=recorded,
            natural_key=keys.get(address, ""),
        )
    return made


def _renamed(offline: Offline, keys: Mapping[Address, str]) -> Iterator[tuple[Address, Record]]:
    """New addresses with the natural key of an object that is no longer declared: it is found."""
    gone = {
        (at.kind, record.natural_key): record
        for at, record in offline.before.items()
        if at not in offline.desired
    }
    for address, key in keys.items():
        record = gone.get((address.kind, key)) if key else None
        if record is not None and address not in offline.before:
            yield address, record


def _told(change: Change, item: Item | None, offline: Offline) -> Change:
    """A change as a reader offline must take it: no made-up id, secrets as references, digests."""
    notes = [*change.notes, *_beside(offline.then.get(change.address), item)]
    if digest := change.extras.get("package", {}).get("digest"):
        notes.append(f"content {digest}")
    fields, refusals = change.fields, change.refusals
    if change.action is not Action.CREATE and item is not None:
        fields = tuple(_as_reference(one, item.want) for one in fields)
        other = bool(fields) and all(one.note == _OTHER_REFERENCE for one in fields)
        if other and {one.rule for one in refusals} == {refused.FIXED}:
            # Another reference may well give the same value.
            notes += [f"refused if its value differs: {one.reason}" for one in refusals]
            refusals = ()
    return replace(
        change,
        notes=tuple(notes),
        fields=fields,
        refusals=refusals,
        remote_id="" if change.remote_id in offline.made_up else change.remote_id,
    )


def _as_reference(one: FieldChange, want: Fields) -> FieldChange:
    wish = want.get(one.path)
    refers = isinstance(wish, SecretWant) and wish.ref.literal is None
    return replace(one, note=_OTHER_REFERENCE) if one.sensitive and refers else one


def _beside(then: Desired | None, item: Item | None) -> Iterator[str]:
    """What a manifest says otherwise that is no field of the object."""
    now = item.desired if item is not None else None
    if then is None or now is None:
        return
    pairs = {
        "labels": (then.labels, now.labels),
        "lifecycle": (then.lifecycle, now.lifecycle),
        "depends_on": (then.depends_on, now.depends_on),
        "metadata.id": (then.remote_id, now.remote_id),
        "source": (str(then.source), str(now.source)),
        "verify": (then.verify, now.verify),
    }
    differing = [name for name, (old, new) in pairs.items() if old != new]
    if differing:
        yield f"{', '.join(differing)} changed: no field of the object"

"""What is to be done about one declared resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from synapse_apply.kinds.descriptor import UpdateMode
from synapse_apply.kinds.sealing import seals
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Path, error, lies_in
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import FoundBy
from synapse_apply.model.plan import Action, Refusal
from synapse_apply.model.state import CREATE_VERB, Intent, Record
from synapse_apply.model.values import ABSENT, SecretWant, dig
from synapse_apply.model.verification import Elsewhere
from synapse_apply.planning import holding, package, refusals
from synapse_apply.planning.fields import Differences, creation, differences
from synapse_apply.planning.identity import Claims, differing_identity
from synapse_apply.planning.quiet import is_quiet
from synapse_apply.planning.rulings import Ruling, change_of, quiet_change
from synapse_apply.planning.sealed import was_sealed
from synapse_apply.planning.series import Series
from synapse_apply.planning.situation import CanWrite, Choices, Item, writes_all
from synapse_apply.planning.whole import is_secret, nested
from synapse_apply.planning.writable import is_writable

_TAKES = frozenset({Action.CREATE, Action.RECREATE, Action.ADOPT})
_MUST_EXIST = "the backend must have it already: the manifest alone cannot create it"


@frozen
class Survey:
    """What is known across all addresses before any is decided.

    `needs` has what each declared address depends on, `perhaps_made` the open create of another
    address that may have made its object.
    """

    needs: Mapping[Address, tuple[Address, ...]]
    claims: Claims
    series: Series
    intents: Mapping[Address, Intent]
    choices: Choices
    settles_in: Mapping[Address, float] = field(default_factory=dict)
    told: Mapping[Address, str] = field(default_factory=dict)
    perhaps_made: Mapping[Address, Intent] = field(default_factory=dict)
    elsewhere: Mapping[str, Elsewhere] = field(default_factory=dict)
    removed: frozenset[Address] = frozenset()
    offline: bool = False
    refused: Mapping[Address, Refusal] = field(default_factory=dict)
    can_write: CanWrite = writes_all
    is_changing: bool = False

    def unsettled(self, intent: Intent, *, new: bool = False) -> Refusal:
        """Why an address waits: this earlier call of it is open, or of what is `new` there."""
        at = intent.address
        if self.is_changing:
            return refusals.call_under_way(intent, new=new)
        return refusals.outcome_unknown(
            intent, self.settles_in.get(at), self.told.get(at, ""), new=new
        )


def decide(item: Item, survey: Survey) -> Ruling:
    """The ruling on a declared resource, without regard to what it depends on."""
    errors = _errors(item, survey)
    if errors:
        return Ruling(replace(change_of(item, Action.NO_OP), reason="in error"), errors)
    if survey.intents and item.address in survey.intents:
        return _unsettled(item, survey)
    if item.sighting.observed is None:
        ruling = _create(item, survey) if item.record is None else _recreate(item, survey)
    elif item.record is None or _is_another(item):
        ruling = _adopt(item, survey)
        if survey.is_changing and item.sighting.found_by is FoundBy.KEY:
            ruling = ruling.refuse(refusals.made_meanwhile(item))
    else:
        ruling = _keep(item, item.record, survey)
    ruling = _sealed(item, ruling)
    if survey.perhaps_made and ruling.change.action in _TAKES:
        open_create = survey.perhaps_made.get(item.address)
        if open_create is not None:
            ruling = ruling.refuse(survey.unsettled(open_create, new=True))
    if _is_elsewhere(item):
        ruling = ruling.refuse(refusals.other_space(item))
    rename = survey.claims.rename_of(item.address)
    return ruling.refuse(refusals.renamed(item, *rename)) if rename else ruling


def _is_elsewhere(item: Item) -> bool:
    """Whether the same address was another object on the API version that made it."""
    record = item.record
    if record is None or record.api == item.binding.api:
        return False
    (form, _, before), (now, _, after) = (
        key.partition("=") for key in (record.natural_key, item.natural_key)
    )
    return bool(before and after) and form == now and before != after


def _sealed(item: Item, ruling: Ruling) -> Ruling:
    """The row says it where a call of it is never taken back."""
    seal, change = item.binding.seal, ruling.change
    if seal is None or not any(seals(seal, field) for field in change.fields):
        return ruling
    return replace(ruling, change=replace(change, notes=(*change.notes, seal.words)))


def _errors(item: Item, survey: Survey) -> tuple[Diagnostic, ...]:
    problem = (item.sighting.problem,) if item.sighting.problem else ()
    conflicts = survey.claims.conflicts.get(item.address, ()) if survey.claims.conflicts else ()
    return (*problem, *conflicts, *_not_carried(item))


def _not_carried(item: Item) -> tuple[Diagnostic, ...]:
    """Declared fields that this API version has no place for."""
    used = {path[0] for path in item.want}
    if used <= item.binding.fields:
        return ()
    unknown = sorted(str(name) for name in used - item.binding.fields)
    return tuple(
        error(
            "Field not supported by this API version",
            f"{item.address}: API {item.binding.api} cannot carry `{name}`.",
            f"Remove it, or use an API version that has it. It has: "
            f"{', '.join(sorted(item.binding.fields))}.",
            position=item.desired.place((name,)) if item.desired else None,
            address=str(item.address),
            path=("spec", name),
        )
        for name in unknown
    )


def _unsettled(item: Item, survey: Survey) -> Ruling:
    intent = survey.intents[item.address]
    action = Action.CREATE if intent.verb == CREATE_VERB else Action.NO_OP
    return Ruling(change_of(item, action)).refuse(survey.unsettled(intent))


def _is_another(item: Item) -> bool:
    """Whether the recorded object is gone and its natural key led to a new one."""
    record, observed = item.record, item.sighting.observed
    found_by_key = item.sighting.found_by is FoundBy.KEY
    return bool(record and observed and found_by_key and record.remote_id != observed.remote_id)


def _create(item: Item, survey: Survey, action: Action = Action.CREATE) -> Ruling:
    change = change_of(item, action, creation(item).changes)
    ruling = Ruling(replace(change, extras=package.package_extras(item)))
    refused = []
    if kept := _kept(item, ()):
        refused.append(refusals.no_live_secret(item, kept))
    if wrong := _not_taken(item):
        refused.append(refusals.not_taken(item, wrong))
    if item.type.carries_package and item.desired is not None and item.desired.package is None:
        refused.append(refusals.no_package(item))
    if refused and survey.offline:  # nobody looked whether it is there
        return replace(ruling, change=replace(ruling.change, notes=(_MUST_EXIST,)))
    return ruling.refuse(*refused)


def _not_taken(item: Item) -> list[str]:
    """Fields whose declared values this API version makes nothing with."""
    spec = item.desired.spec if item.desired else {}
    return [
        name
        for name, takes in item.binding.takes.items()
        if (not takes.fits(spec[name]) if name in spec else takes.required or takes.to_create)
    ]


def _recreate(item: Item, survey: Survey) -> Ruling:
    ruling = _create(item, survey, Action.RECREATE)
    record = item.record
    notes = [f"recorded as id {record.remote_id if record else ''}, which is no longer there"]
    digest, extras = package.published_digest(item), package.package_extras(item)
    if digest and extras and extras["package"]["digest"] != digest:
        notes.append("its content is not what was published before under this version")
    ruling = replace(ruling, change=replace(ruling.change, reason="missing", notes=tuple(notes)))
    return ruling.refuse(refusals.sealed(item)) if _was_sealed(item) else ruling


def _was_sealed(item: Item) -> bool:
    """Whether what is gone was sealed: nothing with its identity is ever made again."""
    record = item.record
    if record is None or not was_sealed(item):
        return False
    return all(item.want.get((name,)) == record.seen.get((name,)) for name in item.type.identity)


def _adopt(item: Item, survey: Survey) -> Ruling:
    found = differences(item, None, survey.choices.resend_secrets)
    pinned = item.sighting.found_by is FoundBy.PIN
    notes = list(found.notes)
    extras = {}
    if _is_another(item) and item.record is not None:
        notes.insert(0, _other_id(item, item.record))
    if package.unverified(item):
        notes.append("its published bytes are unverified: nothing tells what they are")
    digest = None if package.is_replaceable(item) else package.published_digest(item)
    if item.type.carries_package and digest:
        extras["published_digest"] = digest
    change = replace(
        change_of(item, Action.ADOPT, found.changes),
        notes=tuple(notes),
        reason="pinned" if pinned else "found by natural key",
        extras=extras,
    )
    ruling = Ruling(change, foreign=tuple(found.foreign))
    if item.sighting.observed is not None and item.sighting.observed.is_foreign:
        return ruling.refuse(refusals.not_ours(item))
    return _packaged(item, ruling.refuse(*_obstacles(item, found, survey)), survey)


def _other_id(item: Item, record: Record) -> str:
    if record.api != item.binding.api:
        return f"recorded as id {record.remote_id} of API {record.api}"
    return f"recorded as id {record.remote_id}: it was made anew outside"


def _keep(item: Item, record: Record, survey: Survey) -> Ruling:
    if names := differing_identity(item):
        return Ruling(change_of(item, Action.NO_OP)).refuse(refusals.other_object(item, names))
    choices = survey.choices
    if is_quiet(item, record) and not _outdated(item, record):
        return _packaged(item, Ruling(quiet_change(item, survey.needs[item.address])), survey)
    found = differences(item, record, choices.resend_secrets, choices.holds_drift)
    action = Action.UPDATE if found.changes else Action.NO_OP
    change = replace(
        change_of(item, action, found.changes),
        notes=(*found.notes, *holding.notes(item, found.held, survey.can_write)),
        held=tuple(found.held),
        accepted=tuple(found.accepted),
        rebase=action is Action.NO_OP and (found.rebase or _outdated(item, record)),
    )
    ruling = Ruling(change, foreign=tuple(found.foreign))
    return _packaged(item, ruling.refuse(*_obstacles(item, found, survey)), survey)


def _outdated(item: Item, record: Record) -> bool:
    """Whether the record lacks what the manifest says beside fields."""
    desired = item.desired
    if desired is None:
        return False
    place = item.type.place_in_series(desired.spec)
    return (
        record.protected != desired.lifecycle.prevent_destroy
        or record.api != item.binding.api
        or (record.series, record.version) != place
        or (bool(desired.depends_on) and not set(desired.depends_on) <= set(record.depends_on))
        or (bool(item.natural_key) and record.natural_key != item.natural_key)
    )


def _packaged(item: Item, ruling: Ruling, survey: Survey) -> Ruling:
    """Changed content under a published version: a note, or a refusal by policy."""
    text = package.unreleased(item, survey.series)
    if not text:
        return ruling
    if survey.choices.policy.unreleased_source == "refuse":
        return ruling.refuse(refusals.unreleased(item, text))
    notes = (*ruling.change.notes, f"{item.address} has {text}")
    return replace(ruling, change=replace(ruling.change, notes=notes))


def _obstacles(item: Item, found: Differences, survey: Survey) -> list[Refusal]:
    """Why the differences cannot be sent."""
    stuck = [path for path in found.stuck if item.binding.update is not None]
    seal = item.binding.seal
    unsent = [
        change
        for change in found.changes
        if not (seal is not None and seals(seal, change)) and refusals.is_fixed(item, change.path)
    ]
    fixed = [change.path for change in unsent]
    if refusals.was_given(item) and (
        other := [path for path in fixed if path[0] in item.type.identity]
    ):
        return [refusals.wrong_id(item, other)]
    refused = []
    if unsent:
        writable = is_writable(item, unsent, survey.can_write)
        refused.append(refusals.fixed(item, unsent, writable=writable))
    if found.changes and not refused and (lost := _held_secrets(item, found)):
        return [refusals.held_secret(item, lost)]
    if loose := [path for path in stuck if path not in fixed]:
        refused.append(refusals.no_reset(item, loose))
    if found.changes and not refused and (lost := _cleared(item, found)):
        writable = is_writable(item, found.changes, survey.can_write)
        refused.append(
            refusals.secret_would_be_cleared(item, lost, found.changes, writable=writable)
        )
    return refused


def _cleared(item: Item, found: Differences) -> list[Path]:
    """Live secrets that an update would leave out although nobody dropped them.

    A PUT replaces every field, a PATCH those whole top-level fields in which something changed.
    """
    ignored = item.desired.lifecycle.ignore_changes if item.desired else ()
    sent = {path: value for path, value in item.want.items() if not lies_in(path, ignored)}
    want, dropped = nested(sent), {change.path for change in found.changes}
    changed = {path[0] for path in dropped}
    whole = item.binding.update_mode is UpdateMode.PUT
    lost = [
        path
        for path, value in sorted(item.live.items())
        if is_secret(value) and path not in dropped and dig(want, path) is ABSENT
    ]
    out = sorted({*lost, *_kept(item, ignored)})
    return [path for path in out if whole or path[0] in changed]


def _held_secrets(item: Item, found: Differences) -> list[Path]:
    """Secrets that were changed outside, are kept so, and would be in the body of this update."""
    touched = {change.path[0] for change in found.changes}
    whole = item.binding.update_mode is UpdateMode.PUT
    secret = [change.path for change in found.held if change.sensitive]
    return [path for path in secret if whole or path[0] in touched]


def _kept(item: Item, ignored: Sequence[Path]) -> list[Path]:
    """Declared secrets that an update never sends: the live value is to stay."""
    return [
        path
        for path, value in sorted(item.want.items())
        if isinstance(value, SecretWant) and (value.ref.source == "live" or lies_in(path, ignored))
    ]

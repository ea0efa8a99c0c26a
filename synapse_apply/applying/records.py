"""What a record stores of an object: fields as sent, as the server answered, and its last run."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from synapse_apply.kinds.compare import is_same_value
from synapse_apply.kinds.descriptor import FieldRule, ResourceType
from synapse_apply.kinds.run_body import compute_run_body_digest
from synapse_apply.model.diagnostic import FieldPath, is_at_or_below
from synapse_apply.model.frozen import replace
from synapse_apply.model.job import LastRun, RunStatus
from synapse_apply.model.ports import Secrets
from synapse_apply.model.resource import Desired, Observed
from synapse_apply.model.state import (
    CREATE_VERB,
    FOUND,
    REPLACE_VERB,
    Acceptance,
    Intent,
    Record,
)
from synapse_apply.model.values import (
    ABSENT,
    PLAIN_TYPES,
    Fields,
    Mac,
    Sensitive,
    WithheldSecret,
    flatten,
    get_at_or_absent,
    holds_secret,
    is_map,
    of_two_keys,
)

# A plan flattens live fields, and runs no step.
if TYPE_CHECKING:
    from synapse_apply.applying.run import Run
    from synapse_apply.applying.step import Step

_SECRET_TYPES = frozenset({Sensitive, WithheldSecret})


def reveal_live(value: Any) -> Any:
    """A live value with the secrets in it revealed; only for computing a MAC."""
    if isinstance(value, Sensitive):
        return value.reveal()
    if isinstance(value, Mapping):
        return {key: reveal_live(inner) for key, inner in value.items()}
    return value


def with_mac(value: Any, salt: str, path: FieldPath, secrets: Secrets) -> Any:
    """A live value with a secret replaced by its MAC, or by WithheldSecret if it has none."""
    if isinstance(value, WithheldSecret) or not holds_secret(value):
        return value
    # What the server does not show has no MAC.
    if not holds_secret(value, WithheldSecret):
        mac = secrets.compute_mac(salt, path, Sensitive(reveal_live(value)))
        if mac is not None:
            return mac
    return WithheldSecret("omitted")


def is_as_sent(rule: FieldRule, sent: Any, live_value: Any) -> bool:
    """Whether a live value equals the sent one; an empty map matches any map."""
    if sent == {} and is_map(sent) and is_map(live_value):
        return True
    return is_same_value(sent, live_value, rule.compare)


def flatten_live(observed: Observed, ours: Fields, salt: str, secrets: Secrets) -> Fields:
    """The live fields by path; a map with a secret in it is one field where ours is no map."""
    plain_fields = observed.flatten_spec()
    if _SECRET_TYPES.isdisjoint(map(type, plain_fields.values())):
        return plain_fields
    fields = flatten(observed.spec, lambda path: path in ours and not is_map(ours[path]))
    for path, value in [item for item in fields.items() if type(item[1]) not in PLAIN_TYPES]:
        is_open_map = isinstance(value, Mapping) and not holds_secret(value)
        if is_open_map and value:
            del fields[path]
            fields.update(flatten(value, prefix=path))
        else:
            fields[path] = with_mac(value, salt, path, secrets)
    return fields


def fields_before(
    step: Step, observed: Observed, sent: Fields, secrets: Secrets
) -> dict[FieldPath, Any]:
    """The live values of what an update sends or removes, secrets as MACs; {} for any map in {}."""
    before: dict[FieldPath, Any] = {}
    for path in {*sent, *(change.path for change in step.change.fields)}:
        value = get_at_or_absent(observed.spec, path)
        if value is not ABSENT:
            value = {} if sent.get(path) == {} and is_map(value) else value
            before[path] = with_mac(value, step.salt, path, secrets)
    return before


def digest_fields_beside(
    observed: Observed, names: Container[Any], ours: Fields, salt: str, secrets: Secrets
) -> Fields:
    """A keyed digest of each plain value below these top-level fields, but for ours."""
    return {
        path: mac
        for path, value in observed.flatten_spec().items()
        if path[0] in names and path not in ours and value != {}
        if not holds_secret(value)
        if (mac := secrets.compute_mac(salt, path, Sensitive(value)))
    }


def _fields_seen(step: Step, observed: Observed, ours: Fields, secrets: Secrets) -> Fields:
    """The fields of an answer that a record stores: ours, the identity fields, and owned subtrees.

    Where the server answered a map for a field of ours that is no map, all of that map is stored.
    """
    owned_pointers = step.desired.lifecycle.own if step.desired else ()
    kept_paths = {*ours, *((name,) for name in step.type.identity_fields)}
    live = flatten_live(observed, ours, step.salt, secrets)
    # Where an empty map was declared, only that there is a map is ours, not its keys.
    maps: dict[FieldPath, Any] = {
        path: {}
        for path, value in ours.items()
        if type(value) is not str
        and is_map(value)
        and is_map(get_at_or_absent(observed.spec, path))
    }

    def is_below_ours(path: FieldPath) -> bool:
        parents = (path[:end] for end in range(1, len(path)))
        return any(parent in ours and not is_map(ours[parent]) for parent in parents)

    return maps | {
        path: value
        for path, value in live.items()
        if path in kept_paths or is_at_or_below(path, owned_pointers) or is_below_ours(path)
    }


def trace_origins(
    record: Record, seen: Fields, ours: Fields, set_by: Mapping[FieldPath, str] | None = None
) -> dict[FieldPath, str]:
    """The origins of what is seen now: of `set_by`, as they were, or "" where it has changed since.

    Those of `ours` are kept where an answer does not show them.
    """
    rest = record.origins.get((), "")
    origins = {path: by for path, by in record.origins.items() if path in seen or path in ours}
    for path, value in seen.items():
        if not is_same_value(record.seen.get(path, ABSENT), value):
            origins[path] = ""
    origins |= set_by or {}
    kept = {path: by for path, by in origins.items() if by != rest}
    return {(): rest, **kept} if rest else kept


def _origins_after_update(
    step: Step, intent: Intent, record: Record, sent: Fields, answered: Fields, origin: str
) -> tuple[dict[FieldPath, str], dict[FieldPath, str]]:
    """Which fields an update has set, by their origin, and which it has put back, by the former.

    Somebody may have set a field to what is sent just before the call.
    """
    held = {change.path for change in step.change.held}
    named = {change.path for change in step.change.fields} - held
    by_a_call = {change.path for change in step.change.fields if change.origin}
    set_by: dict[FieldPath, str] = {}
    put_back: dict[FieldPath, str] = {}
    for path in named | ({*intent.before} & {*sent}) - held:
        compare = step.type.require_rule_of_field(path).compare
        was, seen = intent.before.get(path, ABSENT), record.seen.get(path, ABSENT)
        is_sent_already = path in sent and is_same_value(was, sent[path], compare)
        is_hidden = isinstance(was, WithheldSecret) or of_two_keys(was, seen)
        has_drifted = not is_hidden and not is_same_value(was, seen, compare)
        is_changed = not is_sent_already and not is_same_value(was, answered.get(path, ABSENT))
        if path in named or is_changed:
            set_by[path] = f"{FOUND}{intent.id}" if is_sent_already else origin
        was_ours = path in record.seen or path in record.applied
        if has_drifted and was_ours and not is_sent_already and path not in by_a_call:
            put_back[path] = record.origin(path)
    return set_by, put_back


def record_after_call(
    step: Step,
    intent: Intent,
    observed: Observed,
    run: Run,
    sent: Fields,
    sent_as_macs: Fields,
    *,
    is_found: bool = False,
) -> tuple[Record, Mapping[FieldPath, str]]:
    """The record after a create or an update that succeeded, by its intent and what was sent.

    With the fields that were put back, each with its origin before. `sent` has secrets as
    references, `sent_as_macs` has their MACs. `is_found`: nobody saw the answer.
    """
    previous, applied = step.record, dict(sent_as_macs)
    # Values applied to an object that is gone do not hold for the new one.
    same_object = previous if intent.verb != CREATE_VERB else None
    for path, value in same_object.applied.items() if same_object else ():
        # A dropped field stays ours until an answer shows that it is gone; in an empty map, keys
        # are not ours.
        answered = get_at_or_absent(observed.spec, path)
        holds_only_others = value == {} and isinstance(answered, Mapping) and answered != {}
        if path in applied or holds_only_others or not is_still_set(step, observed, path):
            continue
        reset_value = step.type.require_rule_of_field(path).reset_value
        was_reset = len(path) == 1 and reset_value is not ABSENT
        applied[path] = reset_value if was_reset else value
    last_seen = dict(_fields_seen(step, observed, {**sent, **applied}, run.secrets))
    # A value that was there when a call was looked up, and is no more, counts as anybody's later.
    given_up = tuple(
        replace(call, found={p: v for p, v in call.found.items() if last_seen.get(p, ABSENT) == v})
        for call in (same_object.given_up if same_object else ())
    )
    _keep_held_drift(step, previous, applied, last_seen)
    origin = f"{FOUND}{intent.id}" if is_found else intent.id
    origins: dict[FieldPath, str] = {(): origin}
    put_back: dict[FieldPath, str] = {}
    if same_object is not None:
        set_by, put_back = _origins_after_update(
            step, intent, same_object, sent_as_macs, last_seen, origin
        )
        origins = trace_origins(same_object, last_seen, applied, set_by)
    now = run.ledger.clock.utc_now()
    record = Record(
        address=step.address,
        remote_id=observed.remote_id,
        api=step.binding.api,
        natural_key=intent.natural_key,
        applied=applied,
        seen=last_seen,
        salt=step.salt,
        digest=intent.digest or (previous.digest if previous else None),
        files=intent.files if intent.digest else (previous.files if previous else {}),
        protected=intent.protected,
        verification=same_object.verification if same_object else None,
        depends_on=intent.depends_on,
        series=intent.series,
        version=intent.version,
        created_at=previous.created_at if previous and previous.created_at else now,
        updated_at=now,
        accepted=_still_accepted(same_object, applied, last_seen),
        unkept=names_lacking(step.type, {*sent, *applied}, observed),
        given_up=given_up if same_object else (previous.calls_by_name if previous else ()),
        replaced_at=same_object.replaced_at if same_object else "",
        doubted=same_object.doubted if same_object else "",
        origins=origins,
    )
    if intent.verb == REPLACE_VERB:
        record = with_package_replaced(record, intent.digest, intent.files, now)
    return record, put_back


def with_package_replaced(
    record: Record, digest: str | None, files: Mapping[str, str], moment: str
) -> Record:
    """A copy with another package; what was proven of the one before does not hold for it."""
    return replace(
        record, digest=digest, files=files, verification=None, proven={}, replaced_at=moment
    )


def adopted_record(step: Step, observed: Observed, run: Run) -> Record:
    """The record of an object that becomes ours, with no field applied by us yet.

    What was recorded of the same object on another API version is kept.
    """
    series, version = step.series
    previous, now, declared = step.record, run.ledger.clock.utc_now(), flatten(step.spec)
    record = Record(
        address=step.address,
        remote_id=observed.remote_id,
        api=step.binding.api,
        natural_key=step.natural_key,
        seen=_fields_seen(step, observed, declared, run.secrets),
        salt=step.salt,
        digest=observed.extra.get("digest"),
        protected=step.protected,
        depends_on=step.change.depends_on,
        series=series,
        version=version,
        created_at=now,
        updated_at=now,
        unkept=names_lacking(step.type, declared, observed),
        given_up=previous.calls_by_name if previous else (),
    )
    # Nobody here published its package, so a run of it is due only after a change of ours.
    if previous is None or not previous.is_same_object_elsewhere(record.api, record.natural_key):
        return with_unverified_last_run(record, step.type, step.desired, now)
    return replace(
        record,
        given_up=previous.given_up,
        digest=previous.digest or record.digest,
        files=previous.files,
        verification=previous.verification,
        created_at=previous.created_at,
        replaced_at=previous.replaced_at,
        doubted=previous.doubted,
    )


def record_of_both_sides(
    step: Step, record: Record, observed: Observed, secrets: Secrets, now: str
) -> Record:
    """A record with desired values as applied and live ones as seen, even where they differ.

    Declared fields that cannot be compared now (ignored ones, and secrets without a value) keep
    their recorded values.
    """
    series, version = step.series
    declared = set(flatten(step.spec))
    incomparable = {
        path: value
        for path, value in record.applied.items()
        if path in declared - set(step.declared_fields)
    }
    # Nobody was asked about the place of a secret that is not sent.
    unsent_secrets = {
        path: recorded if (recorded := record.applied.get(path)) == mac else replace(mac, place="")
        for path, mac in step.declared_fields.items()
        if isinstance(mac, Mac)
    }
    ours = {**step.declared_fields, **incomparable}
    return replace(
        record,
        api=step.binding.api,
        applied={**incomparable, **step.declared_fields, **unsent_secrets},
        seen=_fields_seen(step, observed, ours, secrets),
        natural_key=step.natural_key or record.natural_key,
        protected=step.protected,
        depends_on=step.change.depends_on,
        series=series,
        version=version,
        updated_at=now,
        unkept=tuple(
            name
            for name in names_lacking(step.type, declared, observed)
            # A field that we have not sent yet may appear once we do, unless it can never be sent.
            if not record.applied
            or name in record.unkept
            or step.type.is_unchangeable_field(step.binding, name)
        ),
    )


# Fields that a backend does not have, as the answer to our own write showed by not naming them.
# They are no difference while answers lack them, and are compared again once an answer names them.
# What one backend lacks is a fact about it: `Diagnostic.of_backend`, reported once.
def names_lacking(
    kind: ResourceType, paths: Iterable[FieldPath], observed: Observed
) -> tuple[str, ...]:
    """The names of these fields that an answer lacks, without identity fields."""
    names = {str(path[0]) for path in paths} & observed.missing_fields
    return tuple(sorted(names.difference(kind.identity_fields)))


def record_where_agreed(step: Step, record: Record, run: Run) -> Record:
    """A record that is updated only in fields whose desired and live values agree.

    A field that differs, or has a MAC under another state key, keeps its recorded value: updating
    it here would hide a change from the next plan.
    """
    if step.observed is None:
        return record
    # All is taken as agreed at first, and then what is not agreed is put back.
    agreed = record_of_both_sides(
        step, record, step.observed, run.secrets, run.ledger.clock.utc_now()
    )
    applied, last_seen = dict(agreed.applied), dict(agreed.seen)
    under_other_keys = {
        path
        for side in (record.applied, record.seen)
        for path, value in side.items()
        if of_two_keys(value, step.declared_fields.get(path))
    }
    for path in {change.path for change in step.change.fields} | under_other_keys:
        _put_back(record, path, applied, last_seen)
    _keep_held_drift(step, record, applied, last_seen)
    accepted = _still_accepted(record, applied, last_seen)
    return replace(
        agreed,
        applied=applied,
        seen=last_seen,
        accepted=accepted,
        origins=trace_origins(record, last_seen, applied),
    )


def is_still_set(step: Step, observed: Observed, path: FieldPath) -> bool:
    """Whether a dropped field still has a value; its reset value counts as gone."""
    answered = get_at_or_absent(observed.spec, path)
    if answered is ABSENT:
        return False
    rule = step.type.require_rule_of_field(path)
    return not (len(path) == 1 and is_same_value(rule.reset_value, answered, rule.compare))


# Otherwise the next plan would not see it. An update of the same object carries the live value;
# what both sides changed is sent, because Git has spoken last.
def _keep_held_drift(
    step: Step, record: Record | None, applied: dict[FieldPath, Any], seen: dict[FieldPath, Any]
) -> None:
    """Put back the recorded values of fields whose drift is kept, so that the next plan sees it."""
    if record is not None:
        for held_change in step.change.held:
            path = held_change.path
            _put_back(record, path, applied, seen)
            # What an import saw of it stands for what was sent.
            if not record.applied and path in step.declared_fields and path in seen:
                applied[path] = seen[path]


def _put_back(
    record: Record, path: FieldPath, applied: dict[FieldPath, Any], seen: dict[FieldPath, Any]
) -> None:
    """Set a field to its recorded values, or remove it where the record has none."""
    for fields, recorded in (applied, record.applied), (seen, record.seen):
        if path in recorded:
            fields[path] = recorded[path]
        else:
            fields.pop(path, None)


def _still_accepted(before: Record | None, applied: Fields, seen: Fields) -> Acceptance | None:
    """A record's acceptance, without fields whose applied or seen value has changed since."""
    if before is None or before.accepted is None:
        return None
    accepted = before.accepted
    paths = tuple(
        path
        for path in accepted.paths
        if _at_or_below(before.applied, path) == _at_or_below(applied, path)
        and _at_or_below(before.seen, path) == _at_or_below(seen, path)
    )
    if not paths:
        return None
    kept = accept_paths(paths, accepted.applied, accepted.seen)
    return replace(kept, until=accepted.until, reason=accepted.reason)


def accept_paths(paths: Iterable[FieldPath], applied: Fields, seen: Fields) -> Acceptance:
    """An acceptance of these paths, with their values in the record's earlier fields."""
    paths = tuple(sorted(paths, key=lambda path: [str(part) for part in path]))
    applied_before: dict[FieldPath, Any] = {}
    seen_before: dict[FieldPath, Any] = {}
    for path in paths:
        applied_before |= _at_or_below(applied, path)
        seen_before |= _at_or_below(seen, path)
    return Acceptance(paths, applied_before, seen_before)


def revert_acceptance(record: Record) -> Record:
    """The record with the values that it had before its differences were accepted."""
    if record.accepted is None:
        return record
    applied, seen = dict(record.applied), dict(record.seen)
    for path in record.accepted.paths:
        for side in (applied, seen):
            for field_path in _at_or_below(side, path):
                del side[field_path]
    applied.update(record.accepted.applied)
    seen.update(record.accepted.seen)
    origins = trace_origins(record, seen, applied)
    return replace(record, applied=applied, seen=seen, accepted=None, origins=origins)


def _at_or_below(fields: Fields, path: FieldPath) -> dict[FieldPath, Any]:
    return {at: value for at, value in fields.items() if at[: len(path)] == path}


def with_last_run(
    record: Record, verdict: RunStatus, *, job: str = "", parameters: str = "", moment: str = ""
) -> Record:
    """A copy of the record with another last run; of a replaced package none proves anything."""
    if record.replaced_at and not verdict.may_run_still:
        verdict = RunStatus.UNVERIFIED
    last_run = LastRun(verdict, job, parameters, record.digest or "", moment)
    return replace(record, verification=last_run.to_json())


def with_unverified_last_run(
    record: Record, kind: ResourceType, desired: Desired | None, moment: str
) -> Record:
    """The record of an adopted object, marked so that no run is due until it changes."""
    proof, verify = kind.verification_spec, desired.verify if desired is not None else None
    if proof is None:
        return record
    parameters = ""
    if desired is not None and verify is not None:
        parameters = compute_run_body_digest(proof.build_body(desired.spec, verify))
    return with_last_run(record, RunStatus.UNVERIFIED, parameters=parameters, moment=moment)

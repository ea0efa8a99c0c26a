"""What a record stores of an object after a call: fields as sent, and as the server answered."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from synapse_apply.applying.acceptance import narrow_acceptance_to_unchanged_fields_or_none
from synapse_apply.applying.runs import with_unverified_last_run
from synapse_apply.kinds.compare import is_same_value
from synapse_apply.kinds.descriptor import FieldRule, ResourceType
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, is_at_or_below, warning_finding
from synapse_apply.model.observed import Observed
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.ports import Secrets
from synapse_apply.model.state import CREATE_VERB, REPLACE_VERB, Intent, Record
from synapse_apply.model.values import (
    ABSENT,
    PLAIN_TYPES,
    Fields,
    Mac,
    SecretRef,
    Sensitive,
    WithheldSecret,
    flatten,
    get_at_or_absent,
    is_map,
)

# A plan flattens live fields, and runs no step.
if TYPE_CHECKING:
    from synapse_apply.applying.step import ApplyTools, Step


def reveal_secrets_for_mac(value: Any) -> Any:
    """A live value with the secrets in it revealed; only for computing a MAC."""
    if isinstance(value, Sensitive):
        return value.reveal()
    if isinstance(value, Mapping):
        return {key: reveal_secrets_for_mac(inner) for key, inner in value.items()}
    return value


def is_or_contains_live_secret(value: Any) -> bool:
    """Whether a live value is a secret, or a map that contains one."""
    if isinstance(value, Mapping):
        return any(is_or_contains_live_secret(inner) for inner in value.values())
    return isinstance(value, Sensitive | WithheldSecret)


def replace_secret_by_mac_or_withheld(
    value: Any, salt: str, path: FieldPath, secrets: Secrets
) -> Any:
    """A live value with a secret replaced by its MAC, or by WithheldSecret if it has none."""
    if isinstance(value, WithheldSecret):
        return value
    if is_or_contains_live_secret(value):
        mac = (
            None
            if _has_withheld_secret(value)
            else secrets.compute_mac(salt, path, Sensitive(reveal_secrets_for_mac(value)))
        )
        return mac if mac is not None else WithheldSecret("omitted")
    return value


def _has_withheld_secret(value: Any) -> bool:
    """Whether a value contains a secret that the server does not show, so that it has no MAC."""
    if isinstance(value, Mapping):
        return any(_has_withheld_secret(inner) for inner in value.values())
    return isinstance(value, WithheldSecret)


def equals_sent_value_or_is_map_for_sent_empty_map(
    rule: FieldRule, sent: Any, live_value: Any
) -> bool:
    """Whether a live value equals the sent one; an empty map matches any map."""
    if isinstance(sent, Mapping) and not sent and isinstance(live_value, Mapping):
        return True
    return is_same_value(sent, live_value, rule.compare)


_SECRET_TYPES = frozenset({Sensitive, WithheldSecret})


def flatten_live_fields_with_macs(
    observed: Observed, managed_fields: Fields, salt: str, secrets: Secrets
) -> Fields:
    """The live fields by path; a map with a secret in it is one field where ours is no map."""
    fields_by_path = observed.flatten_spec()
    if _SECRET_TYPES.isdisjoint(map(type, fields_by_path.values())):
        return fields_by_path
    fields = flatten(
        observed.spec,
        lambda field_path: field_path in managed_fields and not is_map(managed_fields[field_path]),
    )
    other_fields = [item for item in fields.items() if type(item[1]) not in PLAIN_TYPES]
    for path, value in other_fields:
        holds_map = isinstance(value, Mapping) and not is_or_contains_live_secret(value)
        if holds_map and value:
            del fields[path]
            fields.update(flatten(value, prefix=path))
        else:
            fields[path] = replace_secret_by_mac_or_withheld(value, salt, path, secrets)
    return fields


def list_fields_before_update(
    step: Step, observed: Observed, managed_fields: Fields, secrets: Secrets
) -> dict[FieldPath, Any]:
    """The live values of what an update sends or removes, secrets as MACs; {} for any map in {}."""
    before: dict[FieldPath, Any] = {}
    for path in {*managed_fields, *(change.path for change in step.change.fields)}:
        value = get_at_or_absent(observed.spec, path)
        if value is not ABSENT:
            value = {} if managed_fields.get(path) == {} and is_map(value) else value
            before[path] = replace_secret_by_mac_or_withheld(value, step.salt, path, secrets)
    return before


def digest_fields_beside(
    observed: Observed, names: Container[Any], ours: Fields, salt: str, secrets: Secrets
) -> Fields:
    """A keyed digest of each plain value below these top-level fields, but for ours."""
    return {
        path: mac
        for path, value in observed.flatten_spec().items()
        if path[0] in names and path not in ours and value != {}
        if not is_or_contains_live_secret(value)
        if (mac := secrets.compute_mac(salt, path, Sensitive(value)))
    }


def select_fields_to_store_as_seen(
    step: Step, observed: Observed, managed_fields: Fields, secrets: Secrets
) -> Fields:
    """The fields of an answer that a record stores: ours, the identity fields, and owned subtrees.

    Where the server answered a map for a field of ours that is no map, all of that map is stored.
    """
    owned_pointers = step.desired.lifecycle.own if step.desired else ()
    kept_paths = {*managed_fields, *((name,) for name in step.type.identity_fields)}
    live = flatten_live_fields_with_macs(observed, managed_fields, step.salt, secrets)
    # Where an empty map was declared, only that there is a map is ours, not its keys.
    maps: dict[FieldPath, Any] = {
        path: {}
        for path, value in managed_fields.items()
        if isinstance(value, Mapping) and isinstance(get_at_or_absent(observed.spec, path), Mapping)
    }
    return maps | {
        path: value
        for path, value in live.items()
        if path in kept_paths
        or is_at_or_below(path, owned_pointers)
        or _is_below_managed_field_that_is_no_map(path, managed_fields)
    }


def _is_below_managed_field_that_is_no_map(path: FieldPath, managed_fields: Fields) -> bool:
    """Whether a path is below one of our fields that is declared as no map."""
    parent_paths = (path[:end] for end in range(1, len(path)))
    return any(
        parent_path in managed_fields and not is_map(managed_fields[parent_path])
        for parent_path in parent_paths
    )


def build_record_after_create_or_update(
    step: Step, intent: Intent, observed: Observed, tools: ApplyTools, sent: Fields
) -> Record:
    """The record after a create or an update that succeeded."""
    previous = step.record
    # The intent has exactly what was sent, with secrets as MACs already.
    applied = dict(intent.fields)
    # Values applied to an object that is gone do not hold for the new one.
    same_object = previous if intent.verb != CREATE_VERB else None
    previously_applied = same_object.applied if same_object else {}
    for path, value in previously_applied.items():
        # A dropped field stays ours until an answer shows that it is gone.
        if path not in applied and _is_dropped_field_still_ours(step, observed, path, value):
            applied[path] = _choose_reset_or_applied_value(step, path, value)
    last_seen = dict(
        select_fields_to_store_as_seen(step, observed, {**sent, **applied}, tools.secrets)
    )
    _restore_recorded_values_of_held_drift(step, previous, applied, last_seen)
    now = tools.clock.utc_now()
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
        accepted=narrow_acceptance_to_unchanged_fields_or_none(same_object, applied, last_seen),
        unkept=list_sent_fields_answer_lacks(step.type, {*sent, *applied}, observed),
        given_up=same_object.given_up if same_object else (),
        replaced_at=same_object.replaced_at if same_object else "",
    )
    is_replaced = intent.verb == REPLACE_VERB
    return (
        with_package_replaced(record, intent.digest, intent.files, now) if is_replaced else record
    )


def with_package_replaced(
    record: Record, digest: str | None, files: Mapping[str, str], moment: str
) -> Record:
    """A copy with another package; what was proven of the one before does not hold for it."""
    return replace(
        record, digest=digest, files=files, verification=None, proven={}, replaced_at=moment
    )


def build_adopted_record(step: Step, observed: Observed, tools: ApplyTools) -> Record:
    """The record of an object that becomes ours, with no field applied by us yet.

    What was recorded of the same object on another API version is kept.
    """
    series, version = (
        step.type.locate_in_series_or_empty(step.desired.spec) if step.desired else ("", "")
    )
    now = tools.clock.utc_now()
    declared = flatten(step.desired.spec) if step.desired else {}
    record = Record(
        address=step.address,
        remote_id=observed.remote_id,
        api=step.binding.api,
        natural_key=step.natural_key,
        seen=select_fields_to_store_as_seen(step, observed, declared, tools.secrets),
        salt=step.salt,
        digest=observed.extra.get("digest"),
        protected=bool(step.desired and step.desired.lifecycle.prevent_destroy),
        depends_on=step.change.depends_on,
        series=series,
        version=version,
        created_at=now,
        updated_at=now,
        unkept=list_sent_fields_answer_lacks(step.type, declared, observed),
    )
    previous = step.record
    # Nobody here published its package, so a run of it is due only after a change of ours.
    if previous is None or not previous.is_same_object_in_other_api(record.api, record.natural_key):
        return with_unverified_last_run(record, step.type, step.desired, now)
    return replace(
        record,
        digest=previous.digest or record.digest,
        files=previous.files,
        verification=previous.verification,
        created_at=previous.created_at,
        replaced_at=previous.replaced_at,
    )


def build_record_of_desired_and_live(
    step: Step, record: Record, observed: Observed, secrets: Secrets, now: str
) -> Record:
    """A record with desired values as applied and live ones as seen, even where they differ.

    Declared fields that cannot be compared now (ignored ones, and secrets without a value) keep
    their recorded values.
    """
    series, version = (
        step.type.locate_in_series_or_empty(step.desired.spec) if step.desired else ("", "")
    )
    declared = set(flatten(step.desired.spec)) if step.desired else set()
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
    return replace(
        record,
        api=step.binding.api,
        applied={**incomparable, **step.declared_fields, **unsent_secrets},
        seen=select_fields_to_store_as_seen(
            step, observed, {**step.declared_fields, **incomparable}, secrets
        ),
        natural_key=step.natural_key or record.natural_key,
        protected=bool(step.desired and step.desired.lifecycle.prevent_destroy),
        depends_on=step.change.depends_on,
        series=series,
        version=version,
        updated_at=now,
        unkept=tuple(
            name
            for name in list_sent_fields_answer_lacks(step.type, declared, observed)
            # A field that we have not sent yet may appear once we do, unless it can never be sent.
            if not record.applied
            or name in record.unkept
            or step.type.is_unchangeable_field(step.binding, name)
        ),
    )


# Fields that a backend does not have, as the answer to our own write showed by not naming them.
# They are no difference while answers lack them, and are compared again once an answer names them.
# What one backend lacks is a fact about it: `Diagnostic.of_backend`, reported once.
def list_sent_fields_answer_lacks(
    kind: ResourceType, paths: Iterable[FieldPath], observed: Observed
) -> tuple[str, ...]:
    """The names of these fields that an answer lacks, without identity fields."""
    names = {str(path[0]) for path in paths} & observed.missing_fields
    return tuple(sorted(names.difference(kind.identity_fields)))


def build_record_updated_where_both_sides_agree(
    step: Step, record: Record, tools: ApplyTools
) -> Record:
    """A record that is updated only in fields whose desired and live values agree.

    A field that differs, or has a MAC under another state key, keeps its recorded value: updating
    it here would hide a change from the next plan.
    """
    if step.observed is None:
        return record
    # All is taken as agreed at first, and then what is not agreed is put back.
    agreed_record = build_record_of_desired_and_live(
        step, record, step.observed, tools.secrets, tools.clock.utc_now()
    )
    applied, last_seen = dict(agreed_record.applied), dict(agreed_record.seen)
    of_other_key = {
        path
        for path, value in record.applied.items()
        if isinstance(value, Mac)
        and isinstance(declared_mac := step.declared_fields.get(path), Mac)
        and declared_mac.key_id != value.key_id
    }
    for path in {change.path for change in step.change.fields} | of_other_key:
        _restore_recorded_value_or_remove(applied, record.applied, path)
        _restore_recorded_value_or_remove(last_seen, record.seen, path)
    _restore_recorded_values_of_held_drift(step, record, applied, last_seen)
    accepted = narrow_acceptance_to_unchanged_fields_or_none(record, applied, last_seen)
    return replace(agreed_record, applied=applied, seen=last_seen, accepted=accepted)


def build_warnings_of_fields_newly_not_taken_as_sent(
    step: Step, sent: Mapping[FieldPath, Any], observed: Observed
) -> tuple[Diagnostic, ...]:
    """Warnings for fields whose answer differs from what was sent, or that the backend lacks."""
    findings = [
        warning_finding(
            "The server kept a field that was dropped",
            f"{format_field_path(path)} of {step.address} is no longer declared, and it is still "
            f"there.",
            "It stays recorded as ours until the server shows it gone.",
            address=str(step.address),
            path=path,
        )
        for path in (change.path for change in step.fields_without_final_call)
        if path not in sent and has_dropped_field_non_reset_value(step, observed, path)
    ]
    # Reported once, when a backend is first seen not to keep the field.
    known_unkept = {*step.unkept, *(step.record.unkept if step.record is not None else ())}
    unkept = list_sent_fields_answer_lacks(step.type, sent, observed)
    findings += [
        _build_unkept_field_warning(step, name) for name in unkept if name not in known_unkept
    ]
    packaged_names: set[str] = set()
    for path, value in sent.items():
        rule = step.type.require_rule_of_field(path)
        if (
            path[0] in observed.missing_fields
            or isinstance(value, SecretRef | Mac)
            or rule.write_only
            or rule.references
        ):
            continue
        answered = get_at_or_absent(observed.spec, path)
        if not equals_sent_value_or_is_map_for_sent_empty_map(
            rule, value, answered
        ) and not _was_same_difference_recorded_before(step, path, value, answered):
            # The platform takes such fields from the package; one warning per field is enough.
            if rule.packaged:
                packaged_names.add(str(path[0]))
                continue
            sent_text, answered_text = _format_where_they_differ(value, answered)
            findings.append(
                warning_finding(
                    "The server did not take a field as it was sent",
                    f"{format_field_path(path)} of {step.address} was sent as {sent_text}, "
                    f"the server has {answered_text}.",
                    "It is recorded as the server has it and compared from there on.",
                    address=str(step.address),
                    path=path,
                )
            )
    findings += [_build_package_field_warning(step, name) for name in sorted(packaged_names)]
    return tuple(findings)


def _build_unkept_field_warning(step: Step, name: str) -> Diagnostic:
    return warning_finding(
        "The backend keeps no such field",
        f"This backend keeps no `{name}` of a {step.type.prefix}.",
        "Remove it, or leave it: it is not compared until the backend shows it.",
        address=str(step.address),
        path=(name,),
        of_backend=True,
    )


def _build_package_field_warning(step: Step, name: str) -> Diagnostic:
    return warning_finding(
        "The backend keeps no such field",
        f"This backend keeps no `{name}` of a {step.type.prefix} as it is sent: it has another in "
        "its place, which may be that of the package.",
        "Remove it, or leave it: what the backend has in its place is no difference.",
        address=str(step.address),
        path=(name,),
        of_backend=True,
    )


def _was_same_difference_recorded_before(
    step: Step, path: FieldPath, sent: Any, answered: Any
) -> bool:
    """Whether the same value got the same answer before, which was reported then."""
    record = step.record
    if record is None or record.applied.get(path, ABSENT) != sent:
        return False
    if isinstance(answered, Mapping) and answered:
        answered_fields = flatten(answered, prefix=path)
        return all(
            record.seen.get(field_path, ABSENT) == value
            for field_path, value in answered_fields.items()
        )
    return bool(record.seen.get(path, ABSENT) == answered)


def _format_where_they_differ(*values: Any, max_length: int = 60) -> Iterator[str]:
    """The values as text; of long ones what is around the first difference."""
    texts = ["nothing" if v is ABSENT else v if isinstance(v, str) else repr(v) for v in values]
    is_long = max(map(len, texts)) > max_length
    common_length = len(commonprefix(texts))  # noqa: RUF071 - no paths
    start = max(0, common_length - max_length // 3) if is_long else 0
    for value, text in zip(values, texts, strict=True):
        end = "..." if len(text) > start + max_length else ""
        short_text = f"{'...' * (start > 0)}{text[start : start + max_length]}{end}"
        yield repr(short_text) if isinstance(value, str) else short_text


def _choose_reset_or_applied_value(step: Step, path: FieldPath, before: Any) -> Any:
    """The value that we applied last to a dropped field: its reset value, if one was sent."""
    rule = step.type.require_rule_of_field(path)
    return before if len(path) > 1 or rule.reset_value is ABSENT else rule.reset_value


def _is_dropped_field_still_ours(
    step: Step, observed: Observed, path: FieldPath, applied: Any
) -> bool:
    """Whether a dropped field is still live and ours; in an empty map, keys are not ours."""
    answered = get_at_or_absent(observed.spec, path)
    only_held = applied == {} and isinstance(answered, Mapping) and answered != {}
    return not only_held and has_dropped_field_non_reset_value(step, observed, path)


def has_dropped_field_non_reset_value(step: Step, observed: Observed, path: FieldPath) -> bool:
    """Whether a dropped field still has a value; its reset value counts as gone."""
    answered = get_at_or_absent(observed.spec, path)
    if answered is ABSENT:
        return False
    rule = step.type.require_rule_of_field(path)
    return not (len(path) == 1 and is_same_value(rule.reset_value, answered, rule.compare))


# Otherwise the next plan would not see it. An update of the same object carries the live value;
# what both sides changed is sent, because Git has spoken last.
def _restore_recorded_values_of_held_drift(
    step: Step,
    record: Record | None,
    applied: dict[FieldPath, Any],
    last_seen: dict[FieldPath, Any],
) -> None:
    """Put back the recorded values of fields whose drift is kept, so that the next plan sees it."""
    if record is None:
        return
    for held_change in step.change.held:
        _restore_recorded_value_or_remove(applied, record.applied, held_change.path)
        _restore_recorded_value_or_remove(last_seen, record.seen, held_change.path)


def _restore_recorded_value_or_remove(
    fields: dict[FieldPath, Any], recorded_fields: Fields, path: FieldPath
) -> None:
    """Set a field to its recorded value, or remove it where the record has none."""
    if path in recorded_fields:
        fields[path] = recorded_fields[path]
    else:
        fields.pop(path, None)

"""How an object is looked up after a call, and whether it is as it was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.applying.records import (
    equals_sent_value_or_is_map_for_sent_empty_map,
    has_dropped_field_non_reset_value,
    reveal_secrets_for_mac,
)
from synapse_apply.applying.step import ApplyTools, LiveObjects, Step
from synapse_apply.kinds.search import (
    list_by_natural_key_or_empty_if_unsearchable,
    read_observed_requiring_same_id,
)
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.errors import NotFound, RemoteError
from synapse_apply.model.observed import Observed
from synapse_apply.model.ports import Secrets
from synapse_apply.model.values import (
    ABSENT,
    Reference,
    SecretRef,
    Sensitive,
    WithheldSecret,
    get_at_or_absent,
)


def find_only_object_by_key_or_none_on_failure(
    step: Step, tools: ApplyTools, key: str
) -> Observed | None:
    """The only object with this natural key; None for none, several, or a failed search."""
    try:
        hits = list_by_natural_key_or_empty_if_unsearchable(
            tools.api, step.binding, key, tools.capabilities, tools.marks.with_address(step.address)
        )
    except RemoteError:
        return None
    return hits[0] if len(hits) == 1 else None


def find_object_by_id(step: Step, tools: ApplyTools, remote_id: str) -> Observed | None:
    """The object with this id, None where it is gone; raises RemoteError for other failures."""
    try:
        return read_object_by_id_or_raise(step, tools, remote_id)
    except NotFound:
        return None


def read_object_by_id_or_raise(step: Step, tools: ApplyTools, remote_id: str) -> Observed:
    """The object with this id; raises RemoteError, also where another object is answered."""
    return read_observed_requiring_same_id(
        tools.api, step.binding, remote_id, tools.marks.with_address(step.address)
    )


def may_be_object_of_create(
    step: Step, sent: Mapping[FieldPath, Any], observed: Observed, secrets: Secrets
) -> bool:
    """Whether an object may be what a create sent: nothing that is shown differs."""
    package = step.desired.package if step.desired else None
    if package is not None and shows_other_package(observed, package.digest):
        return False
    # What was there before a replacement looks the same, but for its package.
    if step.change.replaces_package and get_published_digest_or_none(observed) is None:
        return False
    return all(
        _is_field_as_sent_or_none_if_hidden(step, path, value, observed, secrets) is not False
        for path, value in sent.items()
    )


def get_published_digest_or_none(observed: Observed) -> str | None:
    """The package digest in an object, if its publisher put one there."""
    digest = observed.extra.get("digest")
    return digest if isinstance(digest, str) else None


def shows_other_package(observed: Observed, digest: str | None) -> bool:
    """Whether an object shows the digest of another package."""
    return get_published_digest_or_none(observed) not in {None, digest}


def shows_update_in_all_kept_fields(
    step: Step, sent: Mapping[FieldPath, Any], observed: Observed, secrets: Secrets
) -> bool:
    """Whether an update was certainly done: every field is shown as it was sent."""
    dropped_paths = (change.path for change in step.change.fields if change.path not in sent)
    if any(has_dropped_field_non_reset_value(step, observed, path) for path in dropped_paths):
        return False
    unkept = step.record.unkept if step.record is not None else ()
    return all(
        path[0] in unkept for path in list_fields_not_shown_as_sent(step, sent, observed, secrets)
    )


def list_fields_not_shown_as_sent(
    step: Step, sent: Mapping[FieldPath, Any], observed: Observed, secrets: Secrets
) -> list[FieldPath]:
    """The fields that an object does not show as they were sent, or does not show at all."""
    return [
        path
        for path, value in sorted(sent.items())
        if not _is_field_as_sent_or_none_if_hidden(step, path, value, observed, secrets)
    ]


def _is_field_as_sent_or_none_if_hidden(
    step: Step, path: FieldPath, value: Any, observed: Observed, secrets: Secrets
) -> bool | None:
    """Whether a field is as it was sent; None where the server does not show it."""
    rule, live_value = step.type.require_rule_of_field(path), get_at_or_absent(observed.spec, path)
    if (
        rule.write_only
        or isinstance(live_value, WithheldSecret)
        or is_field_not_shown(step, path, observed)
    ):
        return None
    if not isinstance(value, SecretRef):
        return equals_sent_value_or_is_map_for_sent_empty_map(rule, value, live_value) or (
            None if rule.packaged else False
        )
    if live_value is ABSENT:
        return None
    live_plain_value = (
        live_value.reveal()
        if isinstance(live_value, Sensitive)
        else reveal_secrets_for_mac(live_value)
    )
    return equals_sent_value_or_is_map_for_sent_empty_map(
        rule, secrets.resolve_secret(value).reveal(), live_plain_value
    )


def is_field_not_shown(step: Step, path: FieldPath, observed: Observed) -> bool:
    """Whether an answer says nothing of a field, as it is missing or partly left out."""
    if path[0] in observed.partial_fields and get_at_or_absent(observed.spec, path) is ABSENT:
        return True
    return path[0] in observed.missing_fields and path[0] not in step.type.identity_fields


def is_exempt_from_comparison_at_adoption(step: Step, path: FieldPath, observed: Observed) -> bool:
    """Whether a field is never compared, so that adopting an object need not look at it."""
    if step.type.require_rule_of_field(path).packaged:
        return True
    return is_field_not_shown(step, path, observed) and step.type.is_unchangeable_field(
        step.binding, path[0]
    )


def map_reference_fields_to_live_objects(step: Step, live: LiveObjects) -> dict[str, Observed]:
    """The live objects that a step's reference fields name, by field."""
    spec = step.desired.spec if step.desired else {}
    return {
        name: live[value.address]
        for name, value in spec.items()
        if isinstance(value, Reference) and value.address in live
    }


def resolve_natural_key_or_empty(step: Step, live: LiveObjects) -> str:
    """The step's natural key; where it depends on a parent's id, only known once that exists."""
    if step.natural_key or step.desired is None:
        return step.natural_key
    return step.type.derive_natural_key_or_empty(
        step.desired.spec, map_reference_fields_to_live_objects(step, live)
    )

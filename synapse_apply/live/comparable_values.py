"""How declared, recorded and live fields are made comparable: ids for references, digests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.applying.records import digest_fields_beside, flatten_live
from synapse_apply.kinds.descriptor import ResourceType, UpdateMode
from synapse_apply.live.live_reader import LiveReader
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import FieldPath, is_at_or_below
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.phrases import format_time_after
from synapse_apply.model.ports import Secrets
from synapse_apply.model.resource import Desired, LookupResult, Observed
from synapse_apply.model.runtime.paused_collection import pause_gc
from synapse_apply.model.state import Intent, IntentState, Record
from synapse_apply.model.values import (
    PLAIN_TYPES,
    DesiredSecret,
    Fields,
    KnownAfterApply,
    Reference,
    SecretRef,
    flatten,
)
from synapse_apply.planning.diff.field_diff import NO_STATE_KEY_REASON
from synapse_apply.planning.plan_input import ActingCall, ResourceState
from synapse_apply.workspace.target_session import TargetSession


def build_declared_fields(
    desired: Desired,
    lookup_results: Mapping[Address, LookupResult],
    salt: str,
    secrets: Secrets,
    lasting_salt: str = "",
) -> dict[FieldPath, Any]:
    """Declared fields by path, with references as ids and secrets as keyed digests.

    `lasting_salt` is one that is the same in each run, "" where `salt` is.
    """
    fields = flatten(desired.spec)
    if PLAIN_TYPES.issuperset(map(type, fields.values())):
        return fields
    for path, value in fields.items():
        if type(value) in PLAIN_TYPES:
            continue
        if isinstance(value, Reference):
            lookup_result = lookup_results.get(value.address)
            observed = lookup_result.observed if lookup_result else None
            fields[path] = observed.remote_id if observed else KnownAfterApply(value.address)
        elif isinstance(value, SecretRef):
            fields[path] = _desired_secret(value, path, salt, secrets, lasting_salt)
    return fields


def _desired_secret(
    ref: SecretRef, path: FieldPath, salt: str, secrets: Secrets, lasting_salt: str
) -> DesiredSecret:
    if ref.keeps_live_value:
        return DesiredSecret(ref, missing_reason="the server's value is kept")
    place = secrets.find_place(ref)
    try:
        secret = secrets.resolve_secret(ref)
    except SecretUnavailable as failure:
        reason = failure.diagnostics[0].detail.rstrip(".")
        return DesiredSecret(ref, missing_reason=reason, place=place)
    mac = secrets.compute_mac(salt, path, secret, place)
    lasting_mac = secrets.compute_mac(lasting_salt, path, secret) if lasting_salt else mac
    return DesiredSecret(ref, mac, "" if mac else NO_STATE_KEY_REASON, lasting_mac, place)


def build_recordable_fields(
    declared_fields: Fields, ignored_paths: tuple[FieldPath, ...]
) -> dict[FieldPath, Any]:
    """Declared fields as a record has them when live agrees, without ignored ones."""
    fields: dict[FieldPath, Any] = {}
    for path, value in declared_fields.items():
        if is_at_or_below(path, ignored_paths):
            continue
        if isinstance(value, DesiredSecret):
            if value.mac is not None:
                fields[path] = value.mac
        elif not isinstance(value, KnownAfterApply):
            fields[path] = value
    return fields


@pause_gc()
def known_resource_states(
    session: TargetSession,
    live_reader: LiveReader,
    desired: Mapping[Address, Desired],
    records: Mapping[Address, Record],
    lineage: str,
) -> dict[Address, ResourceState]:
    """A ResourceState for each declared or recorded address of a kind that this version knows.

    `lineage` is that of the state.
    """
    secrets = session.secrets
    resources: dict[Address, ResourceState] = {}
    for address in sorted({*desired, *records}):
        kind = session.catalogue.get(address.kind)
        if kind is None:
            continue
        record = records.get(address)
        declared_resource = desired.get(address)
        binding = live_reader.lists.bindings[kind.prefix]
        if declared_resource is None and record is not None:
            binding = kind.bindings.get(record.api, binding)
        # One salt per record: digests of equal secrets of two resources differ.
        recorded_salt = record.salt if record else ""
        salt = recorded_salt or session.new_salt()
        lasting_salt = "" if recorded_salt else f"row1 {lineage} {address}"
        declared_fields = (
            build_declared_fields(
                declared_resource, live_reader.lookup_results, salt, secrets, lasting_salt
            )
            if declared_resource
            else {}
        )
        lookup_result = live_reader.lookup_results.get(address) or LookupResult(address)
        observed_fields: Fields = {}
        if lookup_result.observed is not None:
            managed_fields = declared_fields
            # A field that is no longer declared is still compared until its removal was applied.
            if record is not None and not record.applied.keys() <= declared_fields.keys():
                managed_fields = {**record.applied, **declared_fields}
            observed_fields = flatten_live(lookup_result.observed, managed_fields, salt, secrets)
        resources[address] = ResourceState(
            address=address,
            type=kind,
            binding=binding,
            lookup_result=lookup_result,
            desired=declared_resource,
            declared_fields=declared_fields,
            live_fields=observed_fields,
            record=record,
            salt=salt,
            natural_key=live_reader.natural_keys.get(address, ""),
            acting=_list_acting_calls(session, kind, record, lookup_result.observed)
            if record and record.given_up
            else (),
        )
    return resources


def _list_acting_calls(
    session: TargetSession, kind: ResourceType, record: Record, observed: Observed | None
) -> tuple[ActingCall, ...]:
    """The given-up calls of a record that may still act, the longest first."""
    now, uptime = session.clock.utc_now(), session.uptime()
    settle_after = session.target.settle_after
    acting = [
        ActingCall(
            call,
            format_time_after(now, seconds),
            _list_changed_beside(kind, call, observed, session.secrets) if observed else (),
        )
        for call in record.given_up
        # Whoever closed a call by hand as not done (ABSENT) has answered for it.
        if call.state is not IntentState.ABSENT
        and call.id not in session.answered_ids
        and (seconds := call.seconds_left(settle_after, now, uptime)) > 0
    ]
    return tuple(sorted(acting, key=lambda one: one.until, reverse=True))


def _list_changed_beside(
    kind: ResourceType, call: Intent, observed: Observed, secrets: Secrets
) -> tuple[FieldPath, ...] | str:
    """The undeclared fields that an update would set back, or keys that it would take away.

    Where nobody can tell, why not.
    """
    if call.makes_another:
        return ()
    if observed.api != call.api:
        binding = kind.bindings.get(call.api)
        is_whole = call.verb == "update" and binding and binding.update_mode is UpdateMode.PUT
        return f"in API {observed.api}" if is_whole else ()
    if {mac.key_id for mac in call.beside.values()} - {secrets.key_id}:
        return "without the state key of then"
    names = {path[0] for path in (*call.fields, *call.beside)} - observed.partial_fields
    ours = {**call.before, **call.fields}
    now = digest_fields_beside(observed, names, ours, call.salt, secrets)
    then = {path: mac for path, mac in call.beside.items() if path[0] in names}
    return tuple(path for path in {**then, **now} if then.get(path) != now.get(path))

"""How declared, recorded, live and supposed fields are made comparable: ids, digests."""

from __future__ import annotations

import hashlib
import hmac
import secrets as randomness
from collections.abc import Mapping
from typing import Any

from synapse_apply.applying.records import digest_fields_beside, flatten_live, with_mac
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import ResourceType, UpdateMode
from synapse_apply.kinds.run_body import compute_run_body_digest
from synapse_apply.kinds.wire import declared_natural_key
from synapse_apply.live.live_reader import LiveReader
from synapse_apply.live.named_secrets import list_secret_paths
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import FieldPath, is_at_or_below
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.frozen import replace
from synapse_apply.model.job import LastRun, RunStatus
from synapse_apply.model.paused_collection import pause_gc
from synapse_apply.model.phrases import format_time_after
from synapse_apply.model.ports import Secrets
from synapse_apply.model.project import Target
from synapse_apply.model.resource import Desired, FoundBy, Lookup, LookupResult, Observed
from synapse_apply.model.state import Intent, IntentState, Record, Uptime
from synapse_apply.model.values import (
    ABSENT,
    PLAIN_TYPES,
    DesiredSecret,
    Fields,
    KnownAfterApply,
    Mac,
    Reference,
    SecretRef,
    Sensitive,
    flatten,
    get_at_or_absent,
    unflatten,
)
from synapse_apply.planning.diff import NO_STATE_KEY_REASON
from synapse_apply.planning.plan_input import ActingCall, ResourceState
from synapse_apply.secrets.keys import StateKey
from synapse_apply.secrets.macs import compute_mac
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
        if ignored_paths and is_at_or_below(path, ignored_paths):
            continue
        if type(value) is not DesiredSecret:
            if type(value) is not KnownAfterApply:
                fields[path] = value
        elif value.mac is not None:
            fields[path] = value.mac
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
    run_key = StateKey(randomness.token_bytes(32), "this run")
    resources: dict[Address, ResourceState] = {}
    for address in sorted({*desired, *records}):
        kind = session.catalogue.get(address.kind)
        if kind is None:
            continue
        record = records.get(address)
        if record is not None and record.given_up:
            record = _doubt_overtaken_secrets(session, record)
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
            if not session.store.is_verified:
                observed_fields = {**observed_fields}
                # What is plain text but for the doubt is compared without the state key, too.
                for path in declared_fields.keys() - (list_secret_paths(record) if record else ()):
                    value = declared_fields[path]
                    text = value.ref.literal if isinstance(value, DesiredSecret) else None
                    if text is not None and value.mac is None:
                        mac = compute_mac(run_key, "", path, text)
                        declared_fields[path] = replace(value, mac=mac, missing_reason="")
                        live = get_at_or_absent(lookup_result.observed.spec, path)
                        if isinstance(live, Sensitive):
                            observed_fields[path] = compute_mac(run_key, "", path, live)
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
            sent_beside={
                call.id: _list_sent_beside(call, record, lookup_result.observed, secrets)
                for call in record.given_up
            }
            if record and lookup_result.observed
            else {},
        )
    return resources


def _doubt_overtaken_secrets(session: TargetSession, record: Record) -> Record:
    """The record, in which nobody knows what became of a hidden secret that was sent too early.

    A call that was given up could set another value when it was sent, and cannot any more.
    """
    now, uptime = session.clock.utc_now(), session.uptime()
    settle_after = session.target.settle_after
    for call in record.given_up:
        if (
            call.state is not IntentState.DONE
            and call.id not in session.answered_ids
            and call.seconds_left(settle_after, now, uptime) <= 0
            and call.seconds_left(settle_after, record.updated_at, Uptime()) > 0
        ):
            seen = record.seen
            shown = {p: v for p, v in record.applied.items() if isinstance(seen.get(p), Mac)}
            record = replace(record, applied={**record.doubt_secrets(call), **shown})
    return record


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
        if call.id not in session.answered_ids
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
    digests = _compute_digests_beside(call, observed, secrets)
    if digests is None:
        return "without the former state key"
    then, now = digests
    return tuple(path for path in {**then, **now} if then.get(path) != now.get(path))


def _list_sent_beside(
    call: Intent, record: Record, observed: Observed, secrets: Secrets
) -> frozenset[FieldPath]:
    """The fields that are live as a call sent them back undeclared, and keys that it took away.

    With them its secrets, under the call's own salt, and the keys of one that is a map.
    """
    if call.makes_another or observed.api != call.api:
        return frozenset()
    ours = frozenset(
        path
        for path, mac in call.fields.items()
        if type(mac) is Mac
        and with_mac(get_at_or_absent(observed.spec, path), call.salt, path, secrets) == mac
    )
    if ours:
        ours |= {path for path in observed.flatten_spec() if is_at_or_below(path, (*ours,))}
    then, now = _compute_digests_beside(call, observed, secrets) or ({}, {})
    if not then:
        return ours
    whole = unflatten({**then, **call.fields})
    names = whole.keys() & observed.spec.keys()
    gone = {
        path
        for path in (*record.applied, *record.seen)
        if path[0] in names
        and get_at_or_absent(whole, path) is get_at_or_absent(observed.spec, path) is ABSENT
    }
    same = {path for path in then if get_at_or_absent(whole, path) == now.get(path)}
    return ours | same | gone


def _compute_digests_beside(
    call: Intent, observed: Observed, secrets: Secrets
) -> tuple[Fields, Fields] | None:
    """What was beside a call's fields when it was sent and is now; None: nobody can tell."""
    if {mac.key_id for mac in call.beside.values()} - {secrets.key_id}:
        return None
    names = {path[0] for path in (*call.fields, *call.beside)} - observed.partial_fields
    ours = {**call.before, **call.fields}
    now = digest_fields_beside(observed, names, ours, call.salt, secrets)
    return {path: mac for path, mac in call.beside.items() if path[0] in names}, now


# How the old manifests of an offline plan become records, as if they had been applied.
#
# Nothing is sent and no secret is resolved.


class UnresolvedSecrets:
    """The `Secrets` port in which a secret's value is its reference."""

    key_id = "reference"

    def __init__(self) -> None:
        # Random for each run, so that a digest in a printed plan reveals no literal.
        self._key = randomness.token_bytes(32)

    def resolve_secret(self, ref: SecretRef) -> Sensitive:
        """The reference itself; for a literal, the manifest's value."""
        literal = ref.literal.reveal() if ref.literal is not None else None
        return Sensitive((*ref.identity, literal))

    def compute_mac(self, _salt: str, _path: FieldPath, value: Sensitive, _place: str = "") -> Mac:
        """Equal for equal references, within one run."""
        text = repr(value.reveal()).encode("utf-8", "surrogatepass")
        return Mac(self.key_id, hmac.new(self._key, text, hashlib.sha256).hexdigest())

    def find_place(self, _ref: SecretRef) -> str:
        return ""


def suppose_records(
    resources: Mapping[Address, Desired],
    target: Target,
    pinned_ids: Mapping[Address, str],
    secrets: UnresolvedSecrets,
) -> dict[Address, Record]:
    """A record for each declared resource, as if it had been applied."""
    # An id that nobody knows is told apart by its address.
    id_by_address = {
        resource_address: resource.remote_id
        or pinned_ids.get(resource_address)
        or str(resource_address)
        for resource_address, resource in resources.items()
    }
    lookup_results = suppose_lookups(id_by_address)
    return {
        address: suppose_record(resource, target, resources, lookup_results, secrets)
        for address, resource in resources.items()
    }


def suppose_record(
    resource: Desired,
    target: Target,
    resources: Mapping[Address, Desired],
    lookup_results: Mapping[Address, LookupResult],
    secrets: UnresolvedSecrets,
) -> Record:
    """The record of one resource, as if it had been applied to the object in `lookup_results`."""
    kind, observed = CATALOGUE[resource.address.kind], lookup_results[resource.address].observed
    fields = build_recordable_fields(
        build_declared_fields(resource, lookup_results, "", secrets), ()
    )
    series, version = kind.locate_in_series(resource.spec)
    return Record(
        address=resource.address,
        remote_id=observed.remote_id if observed else "",
        api=kind.select_newest_binding(target.api).api,
        natural_key=declared_natural_key(kind, resource, resources),
        applied=fields,
        seen=fields,
        digest=(resource.package.digest or None) if resource.package else None,
        files=resource.package.files if resource.package else {},
        protected=resource.lifecycle.prevent_destroy,
        verification=_assumed_run(kind, resource),
        depends_on=resource.needs,
        series=series,
        version=version,
    )


def minimal_record(address: Address, kind: ResourceType, target: Target) -> Record:
    """A record of an inventory's row that no manifest declares, with what its address says."""
    series, version = "", ""
    if kind.series_field:
        owner, _, version = address.name.rpartition("@")
        is_owner_id = owner.startswith("id=")
        series = (
            owner if is_owner_id else str(Address(kind.rules[kind.series_field].references, owner))
        )
    return Record(
        address, "", kind.select_newest_binding(target.api).api, series=series, version=version
    )


def _assumed_run(kind: ResourceType, resource: Desired) -> Mapping[str, str] | None:
    """A passed run, which a release that was declared before is assumed to have."""
    if kind.verification_spec is None or resource.verify is None:
        return None
    parameters = compute_run_body_digest(
        kind.verification_spec.build_body(resource.spec, resource.verify)
    )
    return LastRun(RunStatus.PASSED, parameters=parameters).to_json()


def suppose_lookups(id_by_address: Mapping[Address, str]) -> dict[Address, LookupResult]:
    return {
        address: LookupResult(address, Observed(remote_id, "", {}), FoundBy.RECORD, Lookup.COMPLETE)
        for address, remote_id in id_by_address.items()
    }

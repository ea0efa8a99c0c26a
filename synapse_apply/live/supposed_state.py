"""How the old manifests of an offline plan become records, as if they had been applied.

Nothing is sent and no secret is resolved.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets as randomness
from collections.abc import Mapping

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import ResourceType
from synapse_apply.kinds.natural_keys import declared_natural_key
from synapse_apply.kinds.run_body import compute_run_body_digest
from synapse_apply.live.comparable_values import build_declared_fields, build_recordable_fields
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.project import Target
from synapse_apply.model.resource import Desired, FoundBy, Lookup, LookupResult, Observed
from synapse_apply.model.state import Record
from synapse_apply.model.values import Mac, SecretRef, Sensitive
from synapse_apply.model.verification import LastRun, RunStatus


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

    def resolve_setting(self, ref: SecretRef) -> Sensitive:
        return self.resolve_secret(ref)

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

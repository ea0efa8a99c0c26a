"""What was declared, taken for what is recorded and live: nothing is asked, no secret resolved."""

from __future__ import annotations

import hashlib
import hmac
import secrets as randomness
from collections.abc import Mapping

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import ResourceType
from synapse_apply.kinds.proof import digest_of
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.observed import FoundBy, Lookup, Observed, Sighting
from synapse_apply.model.project import Target
from synapse_apply.model.state import Record
from synapse_apply.model.values import Mac, Reference, SecretRef, Sensitive, leaves
from synapse_apply.model.verification import LastRun, Verdict
from synapse_apply.session.prepare import kept, wanted


class References:
    """The `Secrets` port where a secret is no more than where it comes from."""

    key_id = "reference"

    def __init__(self) -> None:
        self._key = randomness.token_bytes(32)

    def resolve(self, ref: SecretRef) -> Sensitive:
        """The reference itself; of a literal what the manifest says."""
        literal = ref.literal.reveal() if ref.literal is not None else None
        return Sensitive((ref.source, ref.name, ref.format, literal))

    def resolve_setting(self, ref: SecretRef) -> Sensitive:
        return self.resolve(ref)

    def mac(self, _salt: str, _path: Path, value: Sensitive) -> Mac:
        """Equal for equal references, within one run."""
        text = repr(value.reveal()).encode("utf-8", "surrogatepass")
        return Mac(self.key_id, hmac.new(self._key, text, hashlib.sha256).hexdigest())

    def matches(self, mac: Mac, salt: str, path: Path, value: Sensitive) -> bool:
        return self.mac(salt, path, value) == mac


def records(
    declared: Mapping[Address, Desired],
    target: Target,
    pins: Mapping[Address, str],
    secrets: References,
) -> dict[Address, Record]:
    """A record for all that was declared, as if it had been applied."""
    # An id that nobody knows is told apart by its address.
    ids = {at: one.remote_id or pins.get(at) or str(at) for at, one in declared.items()}
    sights = sightings(ids)
    return {
        address: record_of(one, target, declared, sights, secrets)
        for address, one in declared.items()
    }


def record_of(
    one: Desired,
    target: Target,
    declared: Mapping[Address, Desired],
    sights: Mapping[Address, Sighting],
    secrets: References,
) -> Record:
    """The record of one resource, as if it had been applied to what was sighted."""
    kind, observed = CATALOGUE[one.address.kind], sights[one.address].observed
    fields = kept(wanted(one, sights, "", secrets), ())
    referred = {at.address for at in leaves(one.spec).values() if isinstance(at, Reference)}
    series, version = kind.place_in_series(one.spec)
    return Record(
        address=one.address,
        remote_id=observed.remote_id if observed else "",
        api=kind.binding(target.api).api,
        natural_key=natural_key(kind, one, declared),
        applied=fields,
        seen=fields,
        digest=(one.package.digest or None) if one.package else None,
        files=one.package.files if one.package else {},
        protected=one.lifecycle.prevent_destroy,
        verification=_passed(kind, one),
        depends_on=tuple(sorted(referred | set(one.depends_on))),
        series=series,
        version=version,
    )


def undeclared(address: Address, kind: ResourceType, target: Target) -> Record:
    """A record of what an inventory lists and no manifest declares: its address is all it has."""
    series, version = "", ""
    if kind.series:
        owner, _, version = address.name.rpartition("@")
        by_id = owner.startswith("id=")
        series = owner if by_id else str(Address(kind.rules[kind.series].references, owner))
    return Record(address, "", kind.binding(target.api).api, series=series, version=version)


def _passed(kind: ResourceType, one: Desired) -> Mapping[str, str] | None:
    """The run that a release declared before has behind it."""
    if kind.proof is None or one.verify is None:
        return None
    parameters = digest_of(kind.proof.body(one.spec, one.verify))
    return LastRun(Verdict.PASSED, parameters=parameters).to_json()


def natural_key(kind: ResourceType, one: Desired, declared: Mapping[Address, Desired]) -> str:
    parents = {}
    for name, value in one.spec.items():
        if isinstance(value, Reference) and value.address in declared:
            parents[name] = Observed("", "", declared[value.address].spec)
    return kind.natural_key(one.spec, parents)


def sightings(ids: Mapping[Address, str]) -> dict[Address, Sighting]:
    return {
        address: Sighting(address, Observed(found, "", {}), FoundBy.RECORD, Lookup.COMPLETE)
        for address, found in ids.items()
    }

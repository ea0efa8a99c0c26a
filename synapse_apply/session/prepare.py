"""Makes declared, live and recorded comparable: references to ids, secrets to keyed digests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.applying.records import live_fields
from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.model.address import Address, in_order
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Path, lies_in
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.observed import Sighting
from synapse_apply.model.ports import Secrets
from synapse_apply.model.state import Record
from synapse_apply.model.unhurried import unhurried_gc
from synapse_apply.model.values import (
    Fields,
    KnownAfterApply,
    Reference,
    SecretRef,
    SecretWant,
    leaves,
)
from synapse_apply.planning.situation import Item
from synapse_apply.session.observe import Observer

NO_KEY = "there is no state key"


def wanted(
    desired: Desired, sightings: Mapping[Address, Sighting], salt: str, secrets: Secrets
) -> dict[Path, Any]:
    """Declared fields, flat, as the planner compares them."""
    fields = leaves(desired.spec)
    for path, value in fields.items():
        if type(value) is str:
            continue
        if isinstance(value, Reference):
            sighting = sightings.get(value.address)
            observed = sighting.observed if sighting else None
            fields[path] = observed.remote_id if observed else KnownAfterApply(value.address)
        elif isinstance(value, SecretRef):
            fields[path] = _secret(value, path, salt, secrets)
    return fields


def _secret(ref: SecretRef, path: Path, salt: str, secrets: Secrets) -> SecretWant:
    if ref.source == "live":
        return SecretWant(ref, why="the server's value is kept")
    try:
        mac = secrets.mac(salt, path, secrets.resolve(ref))
    except SecretUnavailable as missing:
        return SecretWant(ref, why=missing.diagnostics[0].detail.rstrip("."))
    return SecretWant(ref, mac, "" if mac else NO_KEY)


def kept(want: Fields, ignored: tuple[Path, ...]) -> dict[Path, Any]:
    """Declared fields as a record keeps them once they agree with what is live."""
    fields: dict[Path, Any] = {}
    for path, value in want.items():
        if lies_in(path, ignored):
            continue
        if isinstance(value, SecretWant):
            if value.mac is not None:
                fields[path] = value.mac
        elif not isinstance(value, KnownAfterApply):
            fields[path] = value
    return fields


@unhurried_gc()
def items(
    catalogue: Catalogue,
    observer: Observer,
    desired: Mapping[Address, Desired],
    records: Mapping[Address, Record],
    secrets: Secrets,
    new_salt: Any,
) -> dict[Address, Item]:
    """One Item for each address that is declared or recorded, of a kind this version knows."""
    made: dict[Address, Item] = {}
    for address in in_order({*desired, *records}):
        kind = catalogue.get(address.kind)
        if kind is None:
            continue
        record = records.get(address)
        declared = desired.get(address)
        binding = observer.binding(kind)
        if declared is None and record is not None:
            binding = kind.bindings.get(record.api, binding)
        salt = (record.salt if record else "") or new_salt()
        want = wanted(declared, observer.sightings, salt, secrets) if declared else {}
        sighting = observer.sightings.get(address) or Sighting(address)
        live: Fields = {}
        if sighting.observed is not None:
            ours = {**record.applied, **want} if record else want
            live = live_fields(sighting.observed, ours, salt, secrets)
        made[address] = Item(
            address=address,
            type=kind,
            binding=binding,
            sighting=sighting,
            desired=declared,
            want=want,
            live=live,
            record=record,
            salt=salt,
            natural_key=observer.natural_keys.get(address, ""),
        )
    return made

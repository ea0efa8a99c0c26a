"""Situations written as plain data: what is declared, live and recorded of each address.

An object is {spec, live, record, ...}. Marks in values: {$secret: V} a declared secret (or
{$secret: null, why: W}, {$secret: live}; from: literal is one in plain text), {$mac: V, key: K} its
digest, {$withheld: HOW}, and {$ref: ADDRESS} a reference; both of a secret have a `place`. `verify` is the block of a manifest; a
record's `run` is what it remembers of its last one: {result, job, of: the verify block that was
run}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unit.planning.throwaway_kinds import KINDS

from synapse_apply import PlanOptions
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import ResourceType
from synapse_apply.kinds.run_body import compute_run_body_digest
from synapse_apply.manifests.project.policy import decode_rules
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Position, error_finding, parse_json_pointer
from synapse_apply.model.job import LastRun, OtherTargetRuns, RunStatus
from synapse_apply.model.plan import PlanBase
from synapse_apply.model.project import GuardSettings, Policy
from synapse_apply.model.resource import (
    Desired,
    FoundBy,
    Lifecycle,
    Lookup,
    LookupResult,
    Observed,
    Package,
    PackageSource,
)
from synapse_apply.model.state import BackendIdentity, Intent, Record
from synapse_apply.model.values import (
    DesiredSecret,
    KnownAfterApply,
    Mac,
    Reference,
    SecretRef,
    WithheldSecret,
    flatten,
)
from synapse_apply.planning.plan_input import PlanInput, ResourceState

ALL_KINDS = {**CATALOGUE, **KINDS}
_MARKS = {"$secret", "$mac", "$withheld", "$ref"}
Data = Mapping[str, Any]


def situation(objects: Mapping[str, Data], **choices: Any) -> PlanInput:
    """The situation of these objects; choices as the command line gives them."""
    intents = choices.pop("open_intents", ())
    waiting = choices.pop("waiting", {})
    elsewhere = choices.pop("elsewhere", {})
    removed = frozenset(map(Address.parse, choices.pop("removed", ())))
    published = {
        (kind, series): tuple(versions)
        for kind, of_kind in choices.pop("published", {}).items()
        for series, versions in of_kind.items()
    }
    created = choices.pop("created", "2026-01-01T00:00:00Z")
    ids = {name: str(data.get("id", n)) for n, (name, data) in enumerate(objects.items(), 1)}
    live = {name: ids[name] for name, data in objects.items() if "live" in data}
    items = [_item(Address.parse(name), data, ids[name], live) for name, data in objects.items()]
    return PlanInput(
        plan_id="plan-1",
        created=created,
        tool_version="0",
        base=PlanBase("test", BackendIdentity("http://localhost"), "lineage", 1),
        catalogue=ALL_KINDS,
        resources={item.address: item for item in items},
        open_intents=tuple(
            _intent(Address.parse(name), call) for name, call in dict(intents).items()
        ),
        open_call_by_new_address={
            Address.parse(new): Address.parse(old) for new, old in waiting.items()
        },
        options=_choices(choices),
        other_targets={target: _elsewhere(data) for target, data in elsewhere.items()},
        removed_addresses=removed,
        published_versions=published,
    )


def _intent(address: Address, call: str) -> Intent:
    """VERB, or VERB KEY with the natural key."""
    verb, _, key = call.partition(" ")
    return Intent("i", "p", address, verb, "v1", key, sent_at="2026-01-01T00:00:00Z")


def _elsewhere(data: Data) -> OtherTargetRuns:
    """By address the digest that is there and, where it was run, the result."""
    there = {Address.parse(name): about for name, about in data.get("has", {}).items()}
    digests = {address: about.get("digest", "") for address, about in there.items()}
    runs = {
        address: LastRun(RunStatus(about["result"]), "12", "", about.get("ran", digests[address]))
        for address, about in there.items()
        if "result" in about
    }
    return OtherTargetRuns(digests, runs, data.get("problem", ""), data.get("missing", False))


def _choices(data: dict[str, Any]) -> PlanOptions:
    if "selected" in data:
        data["selected"] = frozenset(map(Address.parse, data["selected"]))
    if "verify_now" in data:
        data["verify_now"] = frozenset(map(Address.parse, data["verify_now"]))
    if "policy" in data:
        data["policy"] = _policy(data["policy"])
    data["overridden"] = frozenset(data.get("overridden", ()))
    return PlanOptions(**{"adopt": True, **data, "guards": GuardSettings(**data.get("guards", {}))})


def _policy(data: str | list[Data]) -> Policy:
    """What becomes of changed sources, or the rules as a project file has them."""
    if isinstance(data, str):
        return Policy(data)
    found: list[Any] = []
    place = {("policy", "rules", 0): Position("synapse-apply.yaml", 7, 5)}
    rules = decode_rules({"policy": {"rules": data}}, (), place, lambda *what: found.append(what))
    assert not found
    return Policy(rules=rules)


def _item(address: Address, data: Data, remote_id: str, live: Mapping[str, str]) -> ResourceState:
    kind = ALL_KINDS[address.kind]
    desired = _desired(address, data) if "spec" in data else None
    key = data.get("natural_key")
    if key is None:
        key = kind.derive_natural_key(desired.spec, {}) if desired else ""
    return ResourceState(
        address=address,
        type=kind,
        binding=kind.bindings["v1"],
        lookup_result=_sighting(address, data, remote_id),
        desired=desired,
        declared_fields={
            path: _known(value, live) for path, value in _fields(data.get("spec", {})).items()
        },
        live_fields=_fields(data.get("live", {})),
        record=_record(address, data, remote_id),
        salt="salt",
        natural_key=key,
    )


def _sighting(address: Address, data: Data, remote_id: str) -> LookupResult:
    spec = data.get("live")
    default = "record" if "record" in data else "key"
    return LookupResult(
        address,
        observed=None
        if spec is None
        else Observed(remote_id, "v1", spec, {"digest": data["told"]} if "told" in data else {}),
        found_by=None if spec is None else FoundBy(data.get("found_by", default)),
        lookup=Lookup(data.get("lookup", "complete")),
        problem=error_finding(data["problem"], address=str(address)) if "problem" in data else None,
    )


def _desired(address: Address, data: Data) -> Desired:
    lifecycle = data.get("lifecycle", {})
    source = data.get("source")
    place = Position("manifests/all.yaml", data.get("line", 1), 1)
    at = PackageSource(
        source or "folder", "" if source == "published" else data.get("path", f"./{address.name}")
    )
    package = data.get("package")
    return Desired(
        address,
        labels=data.get("labels", {}),
        spec={name: value for name, value in _tree(data["spec"]).items() if value is not None},
        lifecycle=Lifecycle(
            lifecycle.get("prevent_destroy", False),
            tuple(map(parse_json_pointer, lifecycle.get("ignore_changes", ()))),
            tuple(map(parse_json_pointer, lifecycle.get("own", ()))),
        ),
        remote_id=data.get("pin"),
        depends_on=tuple(map(Address.parse, data.get("depends_on", ()))),
        source=at if source or package else None,
        package=Package(package["digest"], package.get("files", {}), 10, at) if package else None,
        verify=data.get("verify"),
        position=place,
    )


def _run(kind: ResourceType, desired: Desired | None, data: Data) -> dict[str, str] | None:
    if "run" not in data or kind.verification_spec is None:
        return None
    run = data["run"]
    verify = run.get("of", desired.verify if desired else None)
    body = kind.verification_spec.build_body({}, verify) if verify is not None else None
    parameters = compute_run_body_digest(body) if body is not None else ""
    return LastRun(RunStatus(run["result"]), run.get("job", ""), parameters).to_json()


def _record(address: Address, data: Data, remote_id: str) -> Record | None:
    if "record" not in data:
        return None
    record = dict(data["record"] or {})
    kind = ALL_KINDS[address.kind]
    desired = _desired(address, data) if "spec" in data else None
    series, version = kind.locate_in_series(desired.spec) if desired else ("", "")
    needs = (
        {at.address for at in flatten(desired.spec).values() if isinstance(at, Reference)}
        if desired
        else set()
    )
    needs |= set(desired.depends_on) if desired else set()
    # What a case does not say is taken as it would be after an apply of the present manifest.
    applied = record.get("applied", data.get("spec", data.get("live", {})))
    return Record(
        address,
        str(record.get("id", remote_id)),
        record.get("api", "v1"),
        natural_key=record.get(
            "natural_key", kind.derive_natural_key(desired.spec, {}) if desired else ""
        ),
        applied=_macs(_fields(applied)),
        seen=_macs(_fields(record.get("seen", applied))),
        digest=record.get("digest"),
        files=record.get("files", {}),
        protected=record.get("protected", False),
        verification=_run(kind, desired, record),
        depends_on=tuple(map(Address.parse, record.get("depends_on", sorted(map(str, needs))))),
        series=record.get("series", series),
        version=record.get("version", version),
    )


def _macs(fields: Mapping[Any, Any]) -> dict[Any, Any]:
    """A record holds digests and ids where a manifest holds secrets and references."""
    plain = {}
    for path, value in fields.items():
        if isinstance(value, DesiredSecret):
            if value.mac is not None:
                plain[path] = value.mac
        else:
            plain[path] = "1" if isinstance(value, Reference) else value
    return plain


def _known(value: Any, live: Mapping[str, str]) -> Any:
    if isinstance(value, Reference):
        found = live.get(str(value.address))
        return KnownAfterApply(value.address) if found is None else found
    return value


def _fields(tree: Data) -> dict[Any, Any]:
    return flatten(_tree(tree))


def _tree(value: Any) -> Any:
    if isinstance(value, Mapping):
        if _MARKS & value.keys():
            return _mark(value)
        return {key: _tree(below) for key, below in value.items()}
    return value


def _mark(data: Data) -> Any:
    if "$ref" in data:
        return Reference(Address.parse(data["$ref"]))
    if "$withheld" in data:
        return WithheldSecret(data["$withheld"])
    if "$mac" in data:
        return Mac(data.get("key", "k1"), str(data["$mac"]), data.get("place", "p1"))
    secret = data["$secret"]
    if secret == "live":
        return DesiredSecret(SecretRef("live"))
    place = data.get("place", "p1")
    mac = None if secret is None else Mac(data.get("key", "k1"), str(secret), place)
    lasting_mac = None if mac is None else Mac(mac.key_id, f"lasting-{mac.digest}")
    ref = SecretRef(data.get("from", "env"), "KEY")
    return DesiredSecret(ref, mac, data.get("why", ""), lasting_mac, place)

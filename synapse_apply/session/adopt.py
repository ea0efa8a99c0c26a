"""Use case: import what exists, so that it is ours: id and seen are recorded, nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple
from uuid import uuid4

from synapse_apply.applying.records import live_fields
from synapse_apply.applying.runs import unverified
from synapse_apply.kinds.descriptor import Binding, ResourceType
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Diagnostic, Path, error
from synapse_apply.model.errors import InputError, NotFound, RemoteError, Unauthorized, Unreachable
from synapse_apply.model.observed import Observed
from synapse_apply.model.state import IntentState, Record
from synapse_apply.model.threads import threads
from synapse_apply.model.values import Reference, leaves
from synapse_apply.model.verification import RUN
from synapse_apply.session.context import Context
from synapse_apply.session.unrecorded import check_untold


class Inventory(NamedTuple):
    """The server's ids by address, and of which API version an id is, where that is said."""

    ids: Mapping[Address, str]
    apis: Mapping[Address, str]


def import_all(
    context: Context,
    wanted: Mapping[Address, str],
    apis: Mapping[Address, str] = MappingProxyType({}),
) -> list[Record]:
    """Record live objects under addresses, all or none; InputError with every finding.

    `wanted` maps an address to the server's id, `apis` to the API version that gave it, if that is
    known. Runs under the state's lock. StateError when a file tells that an open call of one of
    them was done on another object.
    """
    with context.lock("import"):
        state = context.store.read()
        for intent in state.open_intents:
            if intent.address in wanted and intent.verb != RUN:
                to = wanted[intent.address]
                check_untold(context.project, context.target, state, intent, to)
        looking = _Looking(context, state.records, apis)
        with threads(context.parallelism) as pool:
            looks = list(pool.map(looking.guarded, wanted.items()))
        findings = [found for look in looks if isinstance(look, tuple) for found in look]
        if findings:
            raise InputError(*findings)
        records = [look for look in looks if isinstance(look, Record)]
        context.store.put(*records)
        _note(context, records)
        _settle_open(context, {record.address: record for record in records})
    return records


def _note(context: Context, records: Sequence[Record]) -> None:
    at, run, actor = context.clock.now(), str(uuid4()), context.actor
    context.store.note(
        *(
            actor.deed(one.address, "import", at=at, plan_id=run, remote_id=one.remote_id)
            for one in records
        )
    )


class _Looking:
    """Looks at many objects at once; each owner is read about once."""

    def __init__(
        self, context: Context, records: Mapping[Address, Record], apis: Mapping[Address, str]
    ) -> None:
        self._context = context
        self._apis = apis
        self._records = records
        self._addresses = {(at.kind, one.api, one.remote_id): at for at, one in records.items()}
        self._owners: dict[tuple[str, str], Observed | None] = {}

    def guarded(self, wanted: tuple[Address, str]) -> Record | tuple[Diagnostic, ...]:
        """The record of an object, or why there can be none."""
        try:
            return self._record(*wanted)
        except InputError as problem:
            return problem.diagnostics

    def _record(self, address: Address, remote_id: str) -> Record:
        context = self._context
        kind = context.catalogue.get(address.kind)
        if kind is None:
            kinds = ", ".join(context.catalogue)
            raise InputError.of("There is no such kind", f"{address}.", f"Kinds: {kinds}.")
        binding = kind.binding(context.target.api)
        _check_api(context, binding, address, self._apis.get(address, binding.api))
        self._check_free(address, remote_id, binding)
        observed = _read(context, binding, address, remote_id)
        _check_version(kind, address, observed)
        parents = self._parents(kind, observed)
        return _recorded(context, kind, binding, address, observed, self._records, parents)

    def _check_free(self, address: Address, remote_id: str, binding: Binding) -> None:
        mine = self._records.get(address)
        if mine is not None and mine.remote_id != remote_id:
            raise InputError.of(
                "The address is taken",
                f"{address} is recorded with id {mine.remote_id}, not {remote_id}.",
                f"`synapse-apply state rm {address}` first, if {remote_id} is the right one.",
                address=str(address),
            )
        other = self._addresses.get((address.kind, binding.api, remote_id), address)
        if other != address:
            raise InputError.of(
                "The object has an address already",
                f"Id {remote_id} is recorded as {other}.",
                f"Rename it: `synapse-apply state mv {other} {address}`.",
                address=str(address),
            )

    def _parents(self, kind: ResourceType, observed: Observed) -> dict[str, Observed]:
        """Live owners, as far as they can be read: they only help to recognise a rename."""
        parents = {}
        for name, rule in kind.rules.items():
            found = observed.spec.get(name)
            if rule.references and found is not None:
                owner = self._owner(rule.references, str(found))
                if owner is not None:
                    parents[name] = owner
        return parents

    def _owner(self, prefix: str, remote_id: str) -> Observed | None:
        at = (prefix, remote_id)
        if at not in self._owners:
            binding = self._context.catalogue[prefix].binding(self._context.target.api)
            try:
                raw = binding.read(self._context.api, remote_id)
                self._owners[at] = binding.decode(raw, self._context.loaded.marks)
            except RemoteError:
                self._owners[at] = None
        return self._owners[at]


def _check_version(kind: ResourceType, address: Address, observed: Observed) -> None:
    """A member of a series stands under OWNER@VERSION, and under its own version."""
    owner, _, version = address.name.rpartition("@")
    live = str(observed.spec.get(kind.version, "")) if kind.series else version
    if kind.series and not (owner and version):
        raise InputError.of(
            "An address without its version",
            f"{address}: a {kind.prefix}'s address is {kind.prefix}/NAME@VERSION.",
            f"Id {observed.remote_id} is version {live}.",
            address=str(address),
        )
    if live != version:
        raise InputError.of(
            "The object is another version",
            f"Id {observed.remote_id} is version {live}, and the address says {version}.",
            f"Check the id, or import it as {kind.prefix}/{owner}@{live}.",
            address=str(address),
        )


def _read(context: Context, binding: Binding, address: Address, remote_id: str) -> Observed:
    try:
        return binding.decode(binding.read(context.api, remote_id), context.loaded.marks)
    except NotFound as missing:
        raise InputError(
            error(
                "There is no such object",
                f"The backend has no {address.kind} with id {remote_id}, or hides it.",
                "Check the id, the tenant and the token.",
                address=str(address),
                request_id=missing.request_id,
            )
        ) from None
    except (Unauthorized, Unreachable):
        raise  # whatever is read next would meet the same
    except RemoteError as failure:
        raise InputError(
            error(
                "Reading the object failed",
                f"{address} ({remote_id}): {str(failure).removesuffix('.')}.",
                "Nothing was imported. Try again.",
                address=str(address),
                request_id=failure.request_id,
            )
        ) from None


def _recorded(
    context: Context,
    kind: ResourceType,
    binding: Binding,
    address: Address,
    observed: Observed,
    records: Mapping[Address, Record],
    parents: Mapping[str, Observed],
) -> Record:
    desired = context.desired.get(address)
    before = records.get(address)
    salt = before.salt if before and before.salt else context.new_salt()
    declared = leaves(desired.spec) if desired else {}
    series, version = _series(kind, address, observed, desired.spec if desired else {})
    now = context.clock.now()
    record = Record(
        address=address,
        remote_id=observed.remote_id,
        api=binding.api,
        natural_key=kind.natural_key(observed.spec, parents),
        seen=live_fields(observed, declared, salt, context.secrets),
        salt=salt,
        # The same object as before: what was published under it has not changed.
        digest=observed.extra.get("digest") or (before.digest if before else None),
        files=before.files if before else {},
        verification=before.verification if before else None,
        protected=bool(desired and desired.lifecycle.prevent_destroy),
        depends_on=_needs(desired, declared),
        series=series,
        version=version,
        created_at=before.created_at if before and before.created_at else now,
        updated_at=now,
    )
    return record if before else unverified(record, kind, desired, now)


def _needs(desired: Desired | None, declared: Mapping[Path, object]) -> tuple[Address, ...]:
    """What a manifest refers to or awaits: the order of deletes and renames rests on it."""
    referred = {at.address for at in declared.values() if isinstance(at, Reference)}
    return tuple(sorted(referred | set(desired.depends_on if desired else ())))


def _series(
    kind: ResourceType, address: Address, observed: Observed, spec: Mapping[str, object]
) -> tuple[str, str]:
    """The record's series: by the manifest where there is one, else by the address."""
    if spec:
        return kind.place_in_series(spec)
    if not kind.series:
        return "", ""
    owner = address.name.rpartition("@")[0]
    group = Reference(Address(kind.rules[kind.series].references, owner))
    by_id = owner.startswith("id=")
    return kind.place_in_series(
        {
            kind.series: owner.removeprefix("id=") if by_id else group,
            kind.version: observed.spec.get(kind.version, ""),
        }
    )


def _settle_open(context: Context, records: Mapping[Address, Record]) -> None:
    """An import answers the question an open create left: it was made, and this is it."""
    for intent in context.store.read().open_intents:
        record = records.get(intent.address)
        if record is None or intent.verb == RUN:  # of a run only a job would tell
            continue
        closed = replace(intent, state=IntentState.DONE, remote_id=record.remote_id)
        entry = context.actor.audit(closed, "settled by hand: imported", at=context.clock.now())
        ours = replace(
            record,
            digest=intent.digest or record.digest,
            files=intent.files or record.files,
            # What we made ourselves is not taken over: its run is still to be made.
            verification=None if intent.verb == "create" else record.verification,
        )
        context.store.settle(closed, ours, entry)


def _check_api(context: Context, binding: Binding, address: Address, api: str) -> None:
    """An id of another API version may be another object's here."""
    if api != binding.api:
        raise InputError.of(
            "The id is of another API version",
            f"{address}: its id is one of API {api}, and target {context.target.name} uses "
            f"{binding.api} for it. Ids of two versions are not one space.",
            "Leave the row out: `synapse-apply apply --adopt` finds what is declared by its key.",
            address=str(address),
        )


def read_inventory(rows: Sequence[Mapping[str, object]], where: str) -> Inventory:
    """The rows of an inventory; InputError with every finding."""
    wanted: dict[Address, str] = {}
    apis: dict[Address, str] = {}
    findings: list[Diagnostic] = []
    for number, row in enumerate(rows, start=1):
        try:
            address = Address.parse(str(row["address"]))
            wanted[address] = str(row["id"])
            if api := row.get("api"):
                apis[address] = str(api)
        except (KeyError, TypeError, ValueError) as problem:
            reason = f"row {number} of {where}: {problem}"
            findings.append(
                error("A row of the inventory cannot be used", reason, "Rows need address and id.")
            )
    if findings:
        raise InputError(*findings)
    return Inventory(wanted, apis)

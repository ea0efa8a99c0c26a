"""Use case: import what exists, so that it is ours: id and seen are recorded, nothing is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from uuid import uuid4

from synapse_apply.applying.records import live_fields
from synapse_apply.applying.runs import unverified
from synapse_apply.kinds.descriptor import Binding, Raw, ResourceType
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Diagnostic, Path, error, warning
from synapse_apply.model.errors import InputError, NotFound, RemoteError, Unauthorized, Unreachable
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Capabilities, Lookup, Observed
from synapse_apply.model.remote_ids import WORDS, is_remote_id
from synapse_apply.model.state import IntentState, Record
from synapse_apply.model.threads import threads
from synapse_apply.model.values import Reference, leaves
from synapse_apply.model.verification import RUN
from synapse_apply.session.context import Context
from synapse_apply.session.intents import build_marks
from synapse_apply.session.inventory import Inventory, InventoryRow
from synapse_apply.session.published_bytes import PublishedBytes, read_published_bytes
from synapse_apply.session.unrecorded import check_untold


def import_all(
    context: Context,
    wanted: Inventory,
    warn: Callable[[Diagnostic], None] = lambda _told: None,
    *,
    reads_bytes: bool = True,
) -> list[Record]:
    """Record live objects under addresses, all or none; InputError with every finding.

    Published bytes are read where the server gives them, unless `reads_bytes` is false; what keeps
    them from being read is a warning. A row's digest is recorded where nothing tells one.
    Runs under the state's lock.
    StateError when a file tells that an open call of one of them was done on another object.
    """
    with context.lock("import"):
        state = context.store.read()
        for intent in state.open_intents:
            if intent.address in wanted and intent.verb != RUN:
                to = wanted[intent.address].remote_id
                keys = context.signer.keys
                check_untold(context.project, context.target, state, intent, to, keys=keys)
        looking = _Looking(context, state.records, warn, reads_bytes=reads_bytes)
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


_WEAKEST_FIRST = (Lookup.NONE, Lookup.POSITIVE, Lookup.COMPLETE)


class _Looking:
    """Looks at many objects at once; each owner is read about once."""

    def __init__(
        self,
        context: Context,
        records: Mapping[Address, Record],
        warn: Callable[[Diagnostic], None],
        *,
        reads_bytes: bool,
    ) -> None:
        self._context = context
        self._reads_bytes = reads_bytes
        self._warn = warn
        self._records = records
        self._marks = build_marks(context, records)
        self._addresses = {(at.kind, one.api, one.remote_id): at for at, one in records.items()}
        self._owners: dict[tuple[str, str], Observed | None] = {}

    def guarded(self, wanted: tuple[Address, InventoryRow]) -> Record | tuple[Diagnostic, ...]:
        """The record of an object, or why there can be none."""
        address, row = wanted
        try:
            return self._record(address, row)
        except InputError as problem:
            at = row.position
            return tuple(
                found.with_(position=found.position or at) for found in problem.diagnostics
            )

    def _record(self, address: Address, row: InventoryRow) -> Record:
        context = self._context
        kind = context.catalogue.get(address.kind)
        if kind is None:
            kinds = ", ".join(context.catalogue)
            raise InputError.of("There is no such kind", f"{address}.", f"Kinds: {kinds}.")
        binding = kind.binding(context.target.api)
        if row.api and row.api != binding.api:
            raise self._of_another_api(kind, binding, address, row.api)
        if not is_remote_id(row.remote_id):
            raise InputError.of(
                "This is no id of an object",
                f"{address}: an id has {WORDS}.",
                "`synapse-apply export` and the product show the ids that there are.",
                address=str(address),
            )
        self._check_free(address, row.remote_id, binding)
        raw, observed = _read(
            context, binding, address, row.remote_id, self._marks.for_address(address)
        )
        _check_version(kind, address, observed)
        before = self._records.get(address)
        digest = _digest(kind, address, row, observed, before)
        published = self._bytes(binding, address, raw, before)
        if published is not None and digest not in (None, published.digest):
            raise _other_bytes(address, row.remote_id, str(digest), published.digest)
        parents = self._parents(kind, observed)
        made = _recorded(context, kind, binding, address, observed, before, digest, parents)
        return made if published is None else _with_proof(made, published)

    def _bytes(
        self, binding: Binding, address: Address, raw: Raw, before: Record | None
    ) -> PublishedBytes | None:
        """What is published, unless it was read before, or cannot be, which is a warning."""
        if not self._reads_bytes or (before is not None and before.proven):
            return None
        most = self._context.project.max_package_size
        try:
            return read_published_bytes(self._context.api, binding, raw, str(address), most)
        except (RemoteError, InputError) as failure:
            why = str(failure)
            if isinstance(failure, InputError):
                why = " ".join(one.detail for one in failure.diagnostics)
            told = warning(
                "The published bytes were not read",
                f"{address}: {why.removesuffix('.')}.",
                f"`synapse-apply verify {address} --bytes` reads them later.",
                address=str(address),
            )
            self._warn(told)
            return None

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

    def _of_another_api(
        self, kind: ResourceType, binding: Binding, address: Address, api: str
    ) -> InputError:
        """An id of another API version may be another object's here."""
        way = "Leave the row out: `synapse-apply apply --adopt` finds what is declared by its key."
        if self._proof(kind, binding, address) is not Lookup.COMPLETE:
            way = (
                f"API {binding.api} may not find a {kind.prefix} by its key: the row needs its id "
                f"there. `synapse-apply export --ids {kind.prefix}=1-400` writes an inventory of "
                "those that have such an id."
            )
        return InputError(
            error(
                "The id is of another API version",
                f"{address}: its id is one of API {api}, and target {self._context.target.name} "
                f"uses {binding.api} for it. Ids of two versions are not one space.",
                way,
                address=str(address),
            )
        )

    def _proof(self, kind: ResourceType, binding: Binding, address: Address) -> Lookup:
        """What a search for it proves here; where its key is not known, for the weakest form."""
        context = self._context
        needs, has_list = binding.list_needs, binding.has_list
        has = has_list(context.api) if needs and has_list is not None else False
        capabilities = Capabilities({needs: True} if has else {})
        desired = context.desired.get(address)
        key = kind.natural_key(desired.spec, {}) if desired else ""
        keys = [key] if key else [f"{form}=" for form in binding.lookup]
        proofs = {binding.proves(key, capabilities) for key in keys}
        return next((one for one in _WEAKEST_FIRST if one in proofs), Lookup.NONE)

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


def _digest(
    kind: ResourceType,
    address: Address,
    row: InventoryRow,
    observed: Observed,
    before: Record | None,
) -> str | None:
    """What is known of the published bytes: by the server, else by the record, else by the row.

    InputError where a row says otherwise: what was published never changes.
    """
    live = observed.extra.get("digest")
    # The same object as before: what was published under it has not changed.
    known = live or (before.digest if before else None)
    if row.digest and not kind.carries_package:
        raise InputError.of(
            "A digest of what has no package",
            f"{address}: the inventory has the digest {row.digest}, and a {kind.prefix} has none.",
            "Remove it from the row.",
            address=str(address),
        )
    if row.digest and known and known != row.digest:
        whose = "the server" if live else "the state"
        raise InputError.of(
            "The digest is another one",
            f"{address} (id {row.remote_id}): the inventory has the digest {row.digest}, and "
            f"{whose} has {known}.",
            "Check the id: it may be that of another object. If it is right, remove the digest "
            "from the row.",
            address=str(address),
        )
    return known or row.digest or None


def _other_bytes(address: Address, remote_id: str, known: str, published: str) -> InputError:
    return InputError(
        error(
            "The published bytes are others",
            f"{address} (id {remote_id}): the backend gives {published}, and what is known of it "
            f"is {known}.",
            "Check the id, and whether somebody replaced what is published. If it is right, remove "
            "the digest from the row.",
            address=str(address),
        )
    )


def _with_proof(record: Record, published: PublishedBytes) -> Record:
    """The record with the bytes that were read."""
    return replace(
        record,
        digest=published.digest,
        files=record.files or published.files,
        proven={"digest": published.digest, "at": record.updated_at},
    )


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


def _read(
    context: Context, binding: Binding, address: Address, remote_id: str, marks: SecretMarks
) -> tuple[Raw, Observed]:
    try:
        raw = binding.read(context.api, remote_id)
        return raw, binding.decode(raw, marks)
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
    before: Record | None,
    digest: str | None,
    parents: Mapping[str, Observed],
) -> Record:
    desired = context.desired.get(address)
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
        digest=digest,
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

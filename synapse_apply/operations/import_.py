"""Which live objects `import` records under which addresses, and why it refuses one.

Ids and live values are recorded as seen; nothing is sent to the objects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from uuid import uuid4

from synapse_apply.applying.lookup import equals_up_to_rewriting, published_digest
from synapse_apply.applying.records import (
    flatten_live,
    with_package_replaced,
    with_unverified_last_run,
)
from synapse_apply.kinds.descriptor import ApiBinding, ResourceType
from synapse_apply.live.open_intents import (
    acting_call_warning,
    build_known_marks,
    list_acting_calls,
    map_calls_to_records,
    require_no_journal,
)
from synapse_apply.live.packages import PublishedBytes, read_published
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import FINAL_READ_ERRORS, InputError, NotFound, RemoteError
from synapse_apply.model.job import RUN_VERB
from synapse_apply.model.json_types import ServerObject
from synapse_apply.model.parallel_reads import open_thread_pool
from synapse_apply.model.remote import REMOTE_ID_RULE, has_remote_id_form
from synapse_apply.model.resource import Capabilities, Lookup, Observed
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import CREATE_VERB, REPLACE_VERB, IntentState, Record
from synapse_apply.model.values import Reference, flatten
from synapse_apply.planning.identity import known_keys
from synapse_apply.workspace.inventory_rows import InventoryRow, InventoryRowsByAddress
from synapse_apply.workspace.selection import choose_address
from synapse_apply.workspace.target_session import TargetSession


def resolve_rows(
    session: TargetSession, ids: Mapping[str, str] | InventoryRowsByAddress
) -> InventoryRowsByAddress:
    """Rows by address, from names and ids, or from rows that already have addresses.

    InputError where a name matches no address, or several.
    """
    rows: dict[Address, InventoryRow] = {}
    for name, row in ids.items():
        if isinstance(name, Address) and isinstance(row, InventoryRow):
            rows[name] = row
        else:
            rows[choose_address(session, str(name))] = InventoryRow(str(row))
    return rows


def record_all_live_objects_or_none(
    session: TargetSession,
    inventory: InventoryRowsByAddress,
    warn: Callable[[Diagnostic], None] = lambda _told: None,
    *,
    reads_bytes: bool = True,
) -> list[Record]:
    """Record live objects under addresses, all or none; InputError with every finding.

    Reads published packages where the server has them, unless `reads_bytes` is false; a package
    that cannot be read is a warning. A row's digest is recorded where neither server nor state has
    one. Takes the state's lock. StateError where a recovery journal says that an open call for one
    of the addresses was done on another object.
    """
    with session.lock_state_of_own_project("import"):
        state = session.store.read_state()
        for intent in state.open_intents:
            # A run changes no object, so that its open call says nothing of which one this is.
            if intent.address in inventory and intent.verb != RUN_VERB:
                remote_id = inventory[intent.address].remote_id
                require_no_journal(session, state, intent, remote_id)
        lookup = _RowRecordBuilder(session, state.records, warn, reads_bytes=reads_bytes)
        with open_thread_pool(session.parallelism) as pool:
            results = list(pool.map(lookup.build_record_or_findings, inventory.items()))
        findings = [
            finding for result in results if isinstance(result, tuple) for finding in result
        ]
        if findings:
            raise InputError(*findings)
        records = [result for result in results if isinstance(result, Record)]
        # All in one transaction: half an inventory would look as if the rest were not there.
        session.store.write_records(*records)
        _record_import_audit(session, records)
        # Last: a create may only be closed when what it made is recorded.
        _close_open_calls(session, {record.address: record for record in records}, lookup.shown)
        for seconds, call in list_acting_calls(session, session.store.read_state()):
            if call.address in inventory:
                warn(acting_call_warning(seconds, call))
    return records


def _record_import_audit(session: TargetSession, records: Sequence[Record]) -> None:
    moment, run_id, actor = session.clock.utc_now(), str(uuid4()), session.actor
    session.store.append_audit_entries(
        *(
            actor.build_state_audit_entry(
                record.address, "import", moment=moment, plan_id=run_id, remote_id=record.remote_id
            )
            for record in records
        )
    )


_WEAKEST_FIRST = (Lookup.NONE, Lookup.POSITIVE, Lookup.COMPLETE)


class _RowRecordBuilder:
    """Reads the objects of many rows and builds their records; reads each owner about once."""

    def __init__(
        self,
        session: TargetSession,
        records: Mapping[Address, Record],
        warn: Callable[[Diagnostic], None],
        *,
        reads_bytes: bool,
    ) -> None:
        self._session = session
        self._reads_bytes = reads_bytes
        self._warn = warn
        self._records = records
        self._marks = build_known_marks(session, records)
        self._address_by_object = {
            (address.kind, record.api, record.remote_id): address
            for address, record in records.items()
        }
        self._records_by_key: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for address, record in records.items():
            self._records_by_key[address.kind, record.natural_key].append(record)
        self._owner_cache: dict[tuple[str, str], Observed | None] = {}
        # The digest of the package by address, where the object or the bytes show it.
        self.shown: dict[Address, str] = {}

    def build_record_or_findings(
        self, inventory_entry: tuple[Address, InventoryRow]
    ) -> Record | tuple[Diagnostic, ...]:
        """The record of a row's object, not written yet; or the findings that prevent it."""
        address, row = inventory_entry
        try:
            return self._build_record_of_row(address, row)
        except InputError as problem:
            row_position = row.position
            return tuple(
                finding.with_changes(position=finding.position or row_position)
                for finding in problem.diagnostics
            )

    def _build_record_of_row(self, address: Address, row: InventoryRow) -> Record:
        session = self._session
        kind = session.catalogue.get(address.kind)
        if kind is None:
            kind_names = ", ".join(session.catalogue)
            raise InputError.from_summary(
                "There is no such kind", f"{address}.", f"Kinds: {kind_names}."
            )
        binding = session.select_binding(address.kind)
        if row.api and row.api != binding.api:
            raise self._build_other_api_error(kind, binding, address, row.api)
        if not has_remote_id_form(row.remote_id):
            raise InputError.from_summary(
                "This is not the id of an object",
                f"{address}: an id has {REMOTE_ID_RULE}.",
                Text(Command("export"), " and Synapse show the ids."),
                address=str(address),
            )
        # Before the object is read: what is recorded elsewhere needs no request to be refused.
        self._require_unrecorded(address, row.remote_id, binding)
        raw, observed = _require_object(
            session, binding, address, row.remote_id, self._marks.with_address(address)
        )
        owner, _, version = address.name.rpartition("@")
        live_version = (
            str(observed.spec.get(kind.version_field, "")) if kind.series_field else version
        )
        if kind.series_field and not (owner and version):
            raise InputError.from_summary(
                "An address without its version",
                f"{address}: a {kind.prefix}'s address is {kind.prefix}/NAME@VERSION.",
                f"Id {observed.remote_id} is version {live_version}.",
                address=str(address),
            )
        if live_version != version:
            raise InputError.from_summary(
                "The object is another version",
                f"Id {observed.remote_id} is version {live_version}, and the address says "
                f"{version}.",
                f"Check the id, or import it as {kind.prefix}/{owner}@{live_version}.",
                address=str(address),
            )
        old_record = self._records.get(address)
        digest = _choose_digest(kind, address, row, observed, old_record)
        published_bytes = self._fetch_package(binding, address, raw, old_record, digest)
        shown = published_bytes.digest if published_bytes else published_digest(observed)
        self.shown |= {address: shown} if shown else {}
        if published_bytes is not None and digest not in (None, published_bytes.digest):
            raise InputError.from_summary(
                "The published bytes are others",
                f"{address} (id {row.remote_id}): the backend gives {published_bytes.digest}, and "
                f"what is known of it is {digest!s}.",
                "Check the id, and whether somebody replaced what is published. If it is right, "
                "remove the digest from the row.",
                address=str(address),
            )
        parents = self._read_owners(kind, observed)
        record = _build_imported_record(
            session, kind, binding, address, observed, old_record, digest, parents
        )
        # Ids of two API versions cannot be compared.
        for key in known_keys(record, binding):
            for other in self._records_by_key.get((address.kind, key), ()):
                if other.address != address and other.is_same_object_elsewhere(binding.api, key):
                    raise _build_recorded_error(
                        address,
                        f"Id {row.remote_id} is {key}, which is recorded as {other.address}, by "
                        f"id {other.remote_id} of API {other.api}",
                        other.address,
                    )
        return (
            record
            if published_bytes is None
            else replace(
                record,
                digest=published_bytes.digest,
                files=record.files or published_bytes.files,
                proven={"digest": published_bytes.digest, "at": record.updated_at},
            )
        )

    def _fetch_package(
        self,
        binding: ApiBinding,
        address: Address,
        raw: ServerObject,
        old_record: Record | None,
        digest: str | None,
    ) -> PublishedBytes | None:
        """Read the published package; None where it was read before, or cannot be read."""
        # A published package never changes, so that bytes which were read once are not read again.
        if not self._reads_bytes or (old_record is not None and old_record.proven):
            return None
        try:
            published = read_published(self._session, binding, raw, address)
        except (RemoteError, InputError) as failure:
            reason = str(failure)
            if isinstance(failure, InputError):
                reason = " ".join(diagnostic.detail for diagnostic in failure.diagnostics)
            finding = warning_finding(
                "The published bytes were not read",
                f"{address}: {reason.removesuffix('.')}.",
                Text(Command("verify", address, "--bytes"), " reads them later."),
                address=str(address),
            )
            self._warn(finding)
            return None
        kind = self._session.catalogue[address.kind]
        if kind.carries_package and not (published or digest):
            finding = warning_finding(
                "What is published was not compared",
                f"This backend shows neither a digest nor a URL of the package of a {kind.prefix}, "
                "so no plan tells whether it is the declared one.",
                "Where it may be another one, publish a new version.",
                address=str(address),
                of_backend=True,
            )
            self._warn(finding)
        return published

    def _require_unrecorded(self, address: Address, remote_id: str, binding: ApiBinding) -> None:
        own_record = self._records.get(address)
        if own_record is not None and own_record.remote_id != remote_id:
            raise InputError.from_summary(
                "The address is taken",
                f"{address} is recorded with id {own_record.remote_id}, not {remote_id}.",
                Text(Command("state rm", address), f" first, if {remote_id} is the right one."),
                address=str(address),
            )
        # Two addresses of one object would each undo what the other declares.
        other_address = self._address_by_object.get((address.kind, binding.api, remote_id), address)
        if other_address != address:
            raise _build_recorded_error(
                address, f"Id {remote_id} is recorded as {other_address}", other_address
            )

    def _build_other_api_error(
        self, kind: ResourceType, binding: ApiBinding, address: Address, api: str
    ) -> InputError:
        """The error for an id of another API version, which may be another object's here."""
        hint = Text(
            "Leave the row out: ", Command("apply --adopt"), " finds what is declared by its key."
        )
        if self._weakest_proof(kind, binding, address) is not Lookup.COMPLETE:
            hint = Text(
                f"API {binding.api} may not find a {kind.prefix} by its key: the row needs its id "
                "there. ",
                Command("export --ids", f"{kind.prefix}=1-400"),
                " writes an inventory of those that have such an id.",
            )
        return InputError.from_summary(
            "The id is of another API version",
            f"{address}: its id is one of API {api}, and target {self._session.target.name} "
            f"uses {binding.api} for it. Ids of two versions are not one space.",
            hint,
            address=str(address),
        )

    def _weakest_proof(self, kind: ResourceType, binding: ApiBinding, address: Address) -> Lookup:
        """How much a search by natural key proves here; for an unknown key, of the weakest form."""
        session = self._session
        list_capability, has_list = binding.list_capability, binding.probe_list
        # One small request, and only for a row that is refused anyway.
        is_listable = has_list(session.api) if list_capability and has_list is not None else False
        capabilities = Capabilities({list_capability: True} if is_listable else {})
        desired = session.desired.get(address)
        key = kind.derive_natural_key(desired.spec, {}) if desired else ""
        keys = [key] if key else [f"{form}=" for form in binding.lookup]
        lookups = {binding.determine_search_proof(key, capabilities) for key in keys}
        return next((lookup for lookup in _WEAKEST_FIRST if lookup in lookups), Lookup.NONE)

    def _read_owners(self, kind: ResourceType, observed: Observed) -> dict[str, Observed]:
        """Live owners by field, if they can be read: they help to recognise a rename later."""
        parents = {}
        for name, rule in kind.rules.items():
            parent_id = observed.spec.get(name)
            if rule.references and parent_id is not None:
                remote_id = str(parent_id)
                object_key = (rule.references, remote_id)
                if object_key not in self._owner_cache:
                    binding = self._session.select_binding(rule.references)
                    try:
                        raw = binding.read_object(self._session.api, remote_id)
                        self._owner_cache[object_key] = binding.decode(
                            raw, self._session.declared_target.manifests.marks
                        )
                    except RemoteError:
                        # A failure is kept too: without its owner a record lacks a natural key, and
                        # no
                        # more.
                        self._owner_cache[object_key] = None
                owner = self._owner_cache[object_key]
                if owner is not None:
                    parents[name] = owner
        return parents


def _build_recorded_error(address: Address, what: str, other_address: Address) -> InputError:
    return InputError.from_summary(
        "The object has an address already",
        f"{what}.",
        Text("Rename it: ", Command("state mv", other_address, address), "."),
        address=str(address),
    )


def _choose_digest(
    kind: ResourceType,
    address: Address,
    row: InventoryRow,
    observed: Observed,
    old_record: Record | None,
) -> str | None:
    """The digest of the published package: the server's, else the record's, else the row's.

    InputError where the row's differs: a published package never changes.
    """
    live_digest = observed.extra.get("digest")
    # The same object as before: what was published under it has not changed.
    known_digest = live_digest or (old_record.digest if old_record else None)
    if row.digest and not kind.carries_package:
        raise InputError.from_summary(
            "A digest of what has no package",
            f"{address}: the inventory has the digest {row.digest}, and a {kind.prefix} has none.",
            "Remove it from the row.",
            address=str(address),
        )
    if row.digest and known_digest and known_digest != row.digest:
        digest_source = "the server" if live_digest else "the state"
        raise InputError.from_summary(
            "The digest is another one",
            f"{address} (id {row.remote_id}): the inventory has the digest {row.digest}, and "
            f"{digest_source} has {known_digest}.",
            "Check the id: it may be that of another object. If it is right, remove the digest "
            "from the row.",
            address=str(address),
        )
    return known_digest or row.digest or None


def _require_object(
    session: TargetSession,
    binding: ApiBinding,
    address: Address,
    remote_id: str,
    marks: SecretMarks,
) -> tuple[ServerObject, Observed]:
    try:
        raw = binding.read_object(session.api, remote_id)
        return raw, binding.decode(raw, marks)
    except NotFound as missing:
        raise InputError.from_summary(
            "There is no such object",
            f"The backend has no {address.kind} with id {remote_id}, or hides it.",
            "Check the id, the tenant and the token.",
            address=str(address),
            request_id=missing.request_id,
        ) from None
    except FINAL_READ_ERRORS:
        raise
    except RemoteError as failure:
        raise InputError.from_summary(
            "Reading the object failed",
            f"{address} ({remote_id}): {str(failure).removesuffix('.')}.",
            "Nothing was imported. Try again.",
            address=str(address),
            request_id=failure.request_id,
        ) from None


def _build_imported_record(
    session: TargetSession,
    kind: ResourceType,
    binding: ApiBinding,
    address: Address,
    observed: Observed,
    old_record: Record | None,
    digest: str | None,
    parents: Mapping[str, Observed],
) -> Record:
    desired = session.desired.get(address)
    salt = old_record.salt if old_record and old_record.salt else session.new_salt()
    declared_fields = flatten(desired.spec) if desired else {}
    series, version = _get_series_and_version(
        kind, address, observed, desired.spec if desired else {}
    )
    now = session.clock.utc_now()
    record = Record(
        address=address,
        remote_id=observed.remote_id,
        api=binding.api,
        natural_key=kind.derive_natural_key(observed.spec, parents),
        seen=flatten_live(observed, declared_fields, salt, session.secrets),
        salt=salt,
        digest=digest,
        files=old_record.files if old_record else {},
        verification=old_record.verification if old_record else None,
        given_up=old_record.given_up if old_record else (),
        replaced_at=old_record.replaced_at if old_record else "",
        doubted=old_record.doubted if old_record else "",
        protected=bool(desired and desired.lifecycle.prevent_destroy),
        depends_on=desired.needs if desired else (),
        series=series,
        version=version,
        created_at=old_record.created_at if old_record and old_record.created_at else now,
        updated_at=now,
    )
    return record if old_record else with_unverified_last_run(record, kind, desired, now)


def _get_series_and_version(
    kind: ResourceType, address: Address, observed: Observed, spec: Mapping[str, object]
) -> tuple[str, str]:
    """(series, version) of the record: from the manifest if there is one, else the address."""
    if spec:
        return kind.locate_in_series(spec)
    if not kind.series_field:
        return "", ""
    owner = address.name.rpartition("@")[0]
    owner_reference = Reference(Address(kind.rules[kind.series_field].references, owner))
    is_owner_id = owner.startswith("id=")
    return kind.locate_in_series(
        {
            kind.series_field: owner.removeprefix("id=") if is_owner_id else owner_reference,
            kind.version_field: observed.spec.get(kind.version_field, ""),
        }
    )


def _close_open_calls(
    session: TargetSession, records: Mapping[Address, Record], shown: Mapping[Address, str]
) -> None:
    """Close open calls of imported addresses and objects, but runs: the object is what they left.

    What an update or a delete did, or may still do to it, is not known: it is kept as given up.
    A package that is not `shown` is the one that a replacement sent: so says who imports it. Of a
    create nobody can tell. A create of another natural key made another object, and stays open.
    """
    own_records, intents = dict(records), session.store.read_state().open_intents
    address_of = map_calls_to_records(intents, records)
    for intent in intents:
        record = own_records.get(address_of[intent.id])
        if record is None or intent.verb == RUN_VERB:  # of a run only a job would tell
            continue
        is_create = intent.verb == CREATE_VERB
        if is_create:
            keys = known_keys(record, session.select_binding(record.address.kind))
            is_of_object = not (keys and intent.natural_key) or any(
                equals_up_to_rewriting(intent.natural_key, key) for key in keys
            )
        else:
            is_of_object = record.is_object_of(intent)
        if not is_of_object:
            continue  # nothing else would keep it
        closed_intent = replace(intent, state=IntentState.DONE, remote_id=record.remote_id)
        entry = session.actor.build_audit_entry(
            closed_intent, "settled by hand: imported", moment=session.clock.utc_now()
        )
        is_ours = shown.get(record.address, intent.digest) == intent.digest
        is_untold = is_create and record.address not in shown
        own_record = replace(
            record,
            digest=(is_ours and intent.digest) or record.digest,
            files=(is_ours and intent.files) or record.files,
            doubted=intent.digest if is_untold and intent.digest else record.doubted,
            # What we made ourselves is not taken over: its run is still to be made.
            verification=None if is_create else record.verification,
        )
        if not is_create or session.catalogue[record.address.kind].acts_again(intent):
            closed_intent = replace(closed_intent, state=IntentState.UNKNOWN)
            own_record = own_record.with_given_up(closed_intent, session.target.settle_after)
        if intent.verb == REPLACE_VERB and is_ours:
            own_record = with_package_replaced(own_record, intent.digest, intent.files, entry.at)
        own_records[record.address] = own_record
        session.store.close_ended_intent(closed_intent, own_record, entry)

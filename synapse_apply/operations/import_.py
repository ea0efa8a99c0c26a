"""Which live objects `import` records under which addresses, and why it refuses one.

Ids and live values are recorded as seen; nothing is sent to the objects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from dataclasses import replace

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
from synapse_apply.model.state import CREATE_VERB, REPLACE_VERB, IntentState, Record, State
from synapse_apply.model.values import Reference, flatten
from synapse_apply.planning.identity import known_keys
from synapse_apply.workspace.inventory_rows import InventoryRow, InventoryRowsByAddress
from synapse_apply.workspace.target_session import TargetSession


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
        lookup = _RowRecordBuilder(session, state, warn, reads_bytes=reads_bytes)
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
        session.note_in_audit((record.address, "import", record.remote_id) for record in records)
        # Last: a create may only be closed when what it made is recorded.
        _close_open_calls(
            session, {record.address: record for record in records}, lookup.shown, state.records
        )
        for seconds, call in list_acting_calls(session, session.store.read_state()):
            if call.address in inventory:
                warn(acting_call_warning(seconds, call))
    return records


class _RowRecordBuilder:
    """Reads the objects of many rows and builds their records; reads each owner about once."""

    def __init__(
        self,
        session: TargetSession,
        state: State,
        warn: Callable[[Diagnostic], None],
        *,
        reads_bytes: bool,
    ) -> None:
        records = state.records
        self._session = session
        # What a call sent is known by its salt. The last one of an object is the newest.
        self._salt_by_object = {
            (call.address.kind, call.api, call.remote_id): call.salt
            for call in state.calls
            if call.salt and call.verb != RUN_VERB
        }
        self._reads_bytes = reads_bytes
        self._warn = warn
        self._records = records
        self._marks = build_known_marks(session, records, state.calls)
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
        session, remote_id = self._session, row.remote_id
        kind = session.catalogue.get(address.kind)
        if kind is None:
            kind_names = ", ".join(session.catalogue)
            raise InputError.from_summary(
                "There is no such kind", f"{address}.", f"Kinds: {kind_names}."
            )
        binding = session.select_binding(address.kind)
        if row.api and row.api != binding.api:
            raise self._build_other_api_error(kind, binding, address, row.api)
        if not has_remote_id_form(remote_id):
            raise _refusal(
                address,
                "This is not the id of an object",
                f"{address}: an id has {REMOTE_ID_RULE}.",
                Text(Command("export"), " and Synapse show the ids."),
            )
        declared = session.desired.get(address)
        if declared is not None and declared.is_external:
            raise _refusal(
                address,
                "External objects are not recorded",
                f"{address} is declared with lifecycle.external: somebody else manages it.",
                "To manage it here, remove lifecycle.external from the manifest.",
            )
        # Before the object is read: what is recorded elsewhere needs no request to be refused.
        old_record = self._records.get(address)
        if old_record is not None and old_record.remote_id != remote_id:
            raise _refusal(
                address,
                "The address has another record",
                f"{address} is recorded with id {old_record.remote_id}, not {remote_id}.",
                Text(Command("state rm", address), f" first, if {remote_id} is the right one."),
            )
        # Two addresses of one object would each undo what the other declares.
        other_address = self._address_by_object.get((address.kind, binding.api, remote_id), address)
        if other_address != address:
            raise _recorded_elsewhere(
                address, f"Id {remote_id} is recorded as {other_address}", other_address
            )
        try:
            raw = binding.read_object(session.api, remote_id)
            observed = binding.decode(raw, self._marks.with_address(address))
        except NotFound as missing:
            raise _refusal(
                address,
                "There is no such object",
                f"The backend has no {address.kind} with id {remote_id}, or hides it.",
                "Check the id, the tenant and the token.",
                request_id=missing.request_id,
            ) from None
        except FINAL_READ_ERRORS:
            raise
        except RemoteError as failure:
            raise _refusal(
                address,
                "Reading the object failed",
                f"{address} ({remote_id}): {str(failure).removesuffix('.')}.",
                "Nothing was imported. Try again.",
                request_id=failure.request_id,
            ) from None
        owner, _, version = address.name.rpartition("@")
        live_version = version
        if kind.series_field:
            live_version = str(observed.spec.get(kind.version_field, ""))
            if not (owner and version):
                raise _refusal(
                    address,
                    "The address has no version",
                    f"{address}: a {kind.prefix}'s address is {kind.prefix}/NAME@VERSION.",
                    f"Id {observed.remote_id} is version {live_version}.",
                )
        if live_version != version:
            raise _refusal(
                address,
                "The object has another version",
                f"Id {observed.remote_id} is version {live_version}, but the address says "
                f"{version}.",
                f"Check the id, or import it as {kind.prefix}/{owner}@{live_version}.",
            )
        live_digest = observed.extra.get("digest")
        # The same object as before: what was published under it has not changed.
        digest = live_digest or (old_record.digest if old_record else None)
        if row.digest and not kind.carries_package:
            raise _refusal(
                address,
                "The row has a digest, but its object has no package",
                f"{address}: the inventory has the digest {row.digest}, but a {kind.prefix} "
                "has none.",
                "Remove the digest from the row.",
            )
        if row.digest and digest and digest != row.digest:
            digest_source = "the server" if live_digest else "the state"
            raise _refusal(
                address,
                "The digest does not match",
                f"{address} (id {remote_id}): the inventory has the digest {row.digest}, "
                f"but {digest_source} has {digest}.",
                "Check the id: it may belong to another object. If it is right, remove the "
                "digest from the row.",
            )
        digest = digest or row.digest or None
        published_bytes = self._fetch_package(binding, address, raw, old_record, digest)
        shown = published_bytes.digest if published_bytes else published_digest(observed)
        self.shown |= {address: shown} if shown else {}
        if published_bytes is not None and digest not in (None, published_bytes.digest):
            raise _refusal(
                address,
                "The published bytes do not match",
                f"{address} (id {remote_id}): the backend returned "
                f"{published_bytes.digest}, but the known digest is {digest!s}.",
                "Check the id, and whether somebody replaced the published package. If the "
                "id is right, remove the digest from the row.",
            )
        record = self._build_record(kind, binding, address, observed, digest)
        # Ids of two API versions cannot be compared.
        for key in known_keys(record, binding):
            for other in self._records_by_key.get((address.kind, key), ()):
                if other.address != address and other.is_same_object_elsewhere(binding.api, key):
                    raise _recorded_elsewhere(
                        address,
                        f"Id {remote_id} is {key}, which is recorded as {other.address}, by id "
                        f"{other.remote_id} of API {other.api}",
                        other.address,
                    )
        if published_bytes is None:
            return record
        return replace(
            record,
            digest=published_bytes.digest,
            files=record.files or published_bytes.files,
            proven={"digest": published_bytes.digest, "at": record.updated_at},
        )

    def _build_record(
        self,
        kind: ResourceType,
        binding: ApiBinding,
        address: Address,
        observed: Observed,
        digest: str | None,
    ) -> Record:
        """The record of an object, with what is kept of that of the address."""
        session, old = self._session, self._records.get(address)
        desired = session.desired.get(address)
        spec = desired.spec if desired else {}
        series_spec = spec
        if not spec and kind.series_field:
            owner = address.name.rpartition("@")[0]
            owner_kind = kind.rules[kind.series_field].references
            series_spec = {
                kind.series_field: owner.removeprefix("id=")
                if owner.startswith("id=")
                else Reference(Address(owner_kind, owner)),
                kind.version_field: observed.spec.get(kind.version_field, ""),
            }
        series, version = kind.locate_in_series(series_spec) if series_spec else ("", "")
        now = session.clock.utc_now()
        # With that of an open call, so that what the call set is not taken for a change outside.
        salt = (old.salt if old else "") or self._salt_by_object.get(
            (address.kind, binding.api, observed.remote_id), ""
        )
        salt = salt or session.new_salt()
        record = Record(
            address=address,
            remote_id=observed.remote_id,
            api=binding.api,
            natural_key=kind.derive_natural_key(observed.spec, self._read_owners(kind, observed)),
            seen=flatten_live(observed, flatten(spec), salt, session.secrets),
            salt=salt,
            digest=digest,
            files=old.files if old else {},
            verification=old.verification if old else None,
            given_up=old.given_up if old else (),
            replaced_at=old.replaced_at if old else "",
            doubted=old.doubted if old else "",
            protected=bool(desired and desired.lifecycle.prevent_destroy),
            depends_on=desired.needs if desired else (),
            series=series,
            version=version,
            created_at=(old.created_at if old else "") or now,
            updated_at=now,
        )
        return record if old else with_unverified_last_run(record, kind, desired, now)

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
                "The published package was not compared",
                "This backend shows neither a digest nor a URL of the package of a "
                f"{kind.prefix}, so no plan can tell whether it is the declared one.",
                "If the package may differ, publish a new version.",
                address=str(address),
                of_backend=True,
            )
            self._warn(finding)
        return published

    def _build_other_api_error(
        self, kind: ResourceType, binding: ApiBinding, address: Address, api: str
    ) -> InputError:
        """The error for an id of another API version, which may be another object's here."""
        hint = Text(
            "Leave the row out: ",
            Command("apply --adopt"),
            " finds declared objects by their keys.",
        )
        # How much a search by natural key proves here; for an unknown key, of the weakest form.
        session, capability, has_list = self._session, binding.list_capability, binding.probe_list
        # One small request, and only for a row that is refused anyway.
        is_listable = capability and has_list is not None and has_list(session.api)
        capabilities = Capabilities({capability: True} if is_listable else {})
        desired = session.desired.get(address)
        key = kind.derive_natural_key(desired.spec, {}) if desired else ""
        keys = [key] if key else [f"{form}=" for form in binding.lookup]
        proofs = {binding.determine_search_proof(key, capabilities) for key in keys}
        if proofs != {Lookup.COMPLETE}:
            hint = Text(
                f"API {binding.api} may not find a {kind.prefix} by its key: the row needs its id "
                "there. ",
                Command("export --ids", f"{kind.prefix}=1-400"),
                " writes an inventory of the objects that have such an id.",
            )
        return _refusal(
            address,
            "The id belongs to another API version",
            f"{address}: its id belongs to API {api}, but target "
            f"{self._session.target.name} uses {binding.api} for it. The ids of the two "
            "versions are unrelated.",
            hint,
        )

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
                    marks = self._session.declared_target.manifests.marks
                    # A failure is kept too: without its owner a record lacks a natural key alone.
                    self._owner_cache[object_key] = None
                    with suppress(RemoteError):
                        raw = binding.read_object(self._session.api, remote_id)
                        self._owner_cache[object_key] = binding.decode(raw, marks)
                owner = self._owner_cache[object_key]
                if owner is not None:
                    parents[name] = owner
        return parents


def _refusal(
    address: Address, summary: str, detail: str, hint: str, request_id: str | None = None
) -> InputError:
    return InputError.from_summary(
        summary, detail, hint, address=str(address), request_id=request_id
    )


def _recorded_elsewhere(address: Address, what: str, other_address: Address) -> InputError:
    return _refusal(
        address,
        "The object already has an address",
        f"{what}.",
        Text("Rename it: ", Command("state mv", other_address, address), "."),
    )


def _close_open_calls(
    session: TargetSession,
    records: Mapping[Address, Record],
    shown: Mapping[Address, str],
    recorded: Container[Address],
) -> None:
    """Close open calls of imported addresses and objects, but runs: the object is what they left.

    What an update or a delete did, or may still do to it, is not known: it is kept as given up.
    A package that is not `shown` is the one that a replacement sent: so says who imports what is
    `recorded`. Of a forgotten object, and of a create, nobody can tell. A create of another natural
    key made another object, and stays open.
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
        is_known = intent.verb == REPLACE_VERB and record.address in recorded
        is_untold = not (is_known or record.address in shown)
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

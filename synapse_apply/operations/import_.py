"""Which live objects `import` records under which addresses, and why it refuses one.

Ids and live values are recorded as seen; nothing is sent to the objects.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress

from synapse_apply.applying.lookup import equals_up_to_rewriting, published_digest
from synapse_apply.applying.records import (
    flatten_live,
    with_package_replaced,
    with_unverified_last_run,
)
from synapse_apply.kinds.descriptor import ResourceType
from synapse_apply.live import open_intents
from synapse_apply.live.packages import PublishedBytes, read_published
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import FINAL_READ_ERRORS, InputError, NotFound, RemoteError
from synapse_apply.model.frozen import replace
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
    is_handed_over: bool = False,
) -> list[Record]:
    """Record live objects under addresses, all or none; InputError with every finding.

    Reads published packages where the server has them, unless `reads_bytes` is false; a package
    that cannot be read is a warning. A row's digest is recorded where neither server nor state has
    one. `is_handed_over`: their owner gives them to this state. Takes the state's lock. StateError
    where a recovery journal says that an open call for one of the addresses was done on another
    object.
    """
    with session.lock_state_of_own_project("import"):
        state = session.store.read_state()
        for intent in state.open_intents:
            # A run changes no object, so that its open call says nothing of which one this is.
            if intent.address in inventory and intent.verb != RUN_VERB:
                remote_id = inventory[intent.address].remote_id
                open_intents.require_no_journal(session, state, intent, remote_id)
        importing = _Import(
            session, state, warn, reads_bytes=reads_bytes, is_handed_over=is_handed_over
        )
        with open_thread_pool(session.parallelism) as pool:
            results = list(pool.map(importing.read, inventory.items()))
        if findings := [each for result in results if isinstance(result, tuple) for each in result]:
            raise InputError(*findings)
        records = [result for result in results if isinstance(result, Record)]
        # All in one transaction: half an inventory would look as if the rest were not there.
        session.store.write_records(*records)
        session.note_in_audit((record.address, "import", record.remote_id) for record in records)
        # Last: a create may only be closed when what it made is recorded.
        importing.close_open_calls(records)
        for seconds, call in open_intents.list_acting_calls(session, session.store.read_state()):
            if call.address in inventory:
                warn(open_intents.acting_call_warning(seconds, call))
    return records


class _Import:
    """What the rows of one import need of the state, and what was read for several of them."""

    def __init__(
        self,
        session: TargetSession,
        state: State,
        warn: Callable[[Diagnostic], None],
        *,
        reads_bytes: bool,
        is_handed_over: bool,
    ) -> None:
        self.session, self.state = session, state
        self.warn, self.reads_bytes, self.is_handed_over = warn, reads_bytes, is_handed_over
        self.marks = open_intents.build_known_marks(session, state.records, state.calls)
        # What a call sent is known by its salt. The last one of an object is the newest.
        self.salts = {
            (call.address.kind, call.api, call.remote_id): call.salt
            for call in state.calls
            if call.salt and call.verb != RUN_VERB
        }
        self.addresses = {
            (address.kind, record.api, record.remote_id): address
            for address, record in state.records.items()
        }
        self.by_key: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for address, record in state.records.items():
            self.by_key[address.kind, record.natural_key].append(record)
        self._owners: dict[tuple[str, str], Observed | None] = {}
        # The digest of the package by address, where the object or the bytes show it.
        self.shown: dict[Address, str] = {}

    def read(self, entry: tuple[Address, InventoryRow]) -> Record | tuple[Diagnostic, ...]:
        """The record of a row's object, not written yet; or the findings that prevent it."""
        try:
            return _Row(self, *entry).build_record()
        except InputError as problem:
            return tuple(
                finding.with_changes(position=finding.position or entry[1].position)
                for finding in problem.diagnostics
            )

    def read_owners(self, kind: ResourceType, observed: Observed) -> dict[str, Observed]:
        """Live owners by field, if they can be read: they help to recognise a rename later."""
        session, parents = self.session, dict[str, Observed]()
        for name, rule in kind.rules.items():
            parent_id = observed.spec.get(name)
            if not rule.references or parent_id is None:
                continue
            owner = rule.references, str(parent_id)
            # Rows that are read at once may each read it.
            if owner not in self._owners:
                binding, read = session.select_binding(rule.references), None
                # A failure is kept too: without its owner a record lacks a natural key alone.
                with suppress(RemoteError):
                    raw = binding.read_object(session.api, owner[1])
                    read = binding.decode(raw, session.declared_target.manifests.marks)
                self._owners[owner] = read
            if (found := self._owners[owner]) is not None:
                parents[name] = found
        return parents

    def close_open_calls(self, records: Sequence[Record]) -> None:
        """Close open calls of imported addresses and objects, but runs: the object is what is left.

        What an update or a delete did, or may still do to it, is not known: it is kept as given up.
        A package that is not `shown` is the one that a replacement sent: so says who imports what
        was recorded. Of a forgotten object, and of a create, nobody can tell. A create of another
        natural key made another object, and stays open.
        """
        session, shown = self.session, self.shown
        own_records = {record.address: record for record in records}
        intents = session.store.read_state().open_intents
        address_of = open_intents.map_calls_to_records(intents, own_records)
        for intent in intents:
            record = own_records.get(address_of[intent.id])
            if record is None or intent.verb == RUN_VERB:  # of a run only a job would tell
                continue
            address, is_create = record.address, intent.verb == CREATE_VERB
            if is_create:
                keys = known_keys(record, session.select_binding(address.kind))
                is_of_object = not (keys and intent.natural_key) or any(
                    equals_up_to_rewriting(intent.natural_key, key) for key in keys
                )
            else:
                is_of_object = record.is_object_of(intent)
            if not is_of_object:
                continue  # nothing else would keep it
            closed = replace(intent, state=IntentState.DONE, remote_id=record.remote_id)
            entry = session.actor.build_audit_entry(
                closed, "settled by hand: imported", moment=session.clock.utc_now()
            )
            is_replace = intent.verb == REPLACE_VERB
            is_ours = shown.get(address, intent.digest) == intent.digest
            is_known = is_replace and address in self.state.records
            is_untold = not (is_known or address in shown)
            record = replace(
                record,
                digest=(is_ours and intent.digest) or record.digest,
                files=(is_ours and intent.files) or record.files,
                doubted=intent.digest if is_untold and intent.digest else record.doubted,
                # What we made ourselves is not taken over: its run is still to be made.
                verification=None if is_create else record.verification,
            )
            if not is_create or session.catalogue[address.kind].acts_again(intent):
                closed = replace(closed, state=IntentState.UNKNOWN)
                record = record.with_given_up(closed, session.target.settle_after)
            if is_replace and is_ours:
                record = with_package_replaced(record, intent.digest, intent.files, entry.at)
            own_records[address] = record
            session.store.close_ended_intent(closed, record, entry)


class _Row:
    """One row: its object is read and compared with all that is known of it."""

    def __init__(self, importing: _Import, address: Address, row: InventoryRow) -> None:
        """InputError for a kind that there is not."""
        session = self._session = importing.session
        if (kind := session.catalogue.get(address.kind)) is None:
            raise InputError.from_summary(
                "There is no such kind", f"{address}.", f"Kinds: {', '.join(session.catalogue)}."
            )
        self._import, self._address, self._row = importing, address, row
        self._kind, self._binding = kind, session.select_binding(address.kind)
        self._desired = session.desired.get(address)
        self._old = importing.state.records.get(address)

    def _refusal(
        self, summary: str, detail: str, hint: str, request_id: str | None = None
    ) -> InputError:
        return InputError.from_summary(
            summary, detail, hint, address=str(self._address), request_id=request_id
        )

    def _recorded_elsewhere(self, what: str, other: Address) -> InputError:
        return self._refusal(
            "The object already has an address",
            f"{what}.",
            Text("Rename it: ", Command("state mv", other, self._address), "."),
        )

    def build_record(self) -> Record:
        """The record of the row's object; InputError where it is not, or may not be, that."""
        importing, address, row = self._import, self._address, self._row
        kind, binding, old, remote_id = self._kind, self._binding, self._old, row.remote_id
        if row.api and row.api != binding.api:
            raise self._of_other_api()
        if not has_remote_id_form(remote_id):
            raise self._refusal(
                "This is not the id of an object",
                f"{address}: an id has {REMOTE_ID_RULE}.",
                Text(Command("export"), " and Synapse show the ids."),
            )
        if self._desired is not None and self._desired.is_external:
            raise self._refusal(
                "External objects are not recorded",
                f"{address} is declared with lifecycle.external: somebody else manages it.",
                "To manage it here, remove lifecycle.external from the manifest.",
            )
        # Before the object is read: what is recorded elsewhere needs no request to be refused.
        if old is not None and old.remote_id != remote_id:
            raise self._refusal(
                "The address is recorded with a different id",
                f"{address} is recorded with id {old.remote_id}, not {remote_id}.",
                Text(Command("state rm", address), f" first, if {remote_id} is the right one."),
            )
        # Two addresses of one object would each undo what the other declares.
        other_address = importing.addresses.get((address.kind, binding.api, remote_id), address)
        if other_address != address:
            raise self._recorded_elsewhere(
                f"Id {remote_id} is recorded as {other_address}", other_address
            )
        raw, observed = self._read_object()
        if kind.series_field:
            owner, _, version = address.name.rpartition("@")
            live_version = str(observed.spec.get(kind.version_field, ""))
            if not (owner and version):
                raise self._refusal(
                    "The address has no version",
                    f"{address}: a {kind.prefix}'s address is {kind.prefix}/NAME@VERSION.",
                    f"Id {observed.remote_id} is version {live_version}.",
                )
            if live_version != version:
                raise self._refusal(
                    "The object has a different version",
                    f"Id {observed.remote_id} is version {live_version}, but the address says "
                    f"{version}.",
                    f"Check the id, or import it as {kind.prefix}/{owner}@{live_version}.",
                )
        live_digest = observed.extra.get("digest")
        # The same object as before: what was published under it has not changed.
        digest = live_digest or (old.digest if old else None)
        if row.digest and not kind.carries_package:
            raise self._refusal(
                "The row has a digest, but its object has no package",
                f"{address}: the inventory has the digest {row.digest}, but a {kind.prefix} "
                "has none.",
                "Remove the digest from the row.",
            )
        if row.digest and digest and digest != row.digest:
            digest_source = "the server" if live_digest else "the state"
            raise self._refusal(
                "The digest does not match",
                f"{address} (id {remote_id}): the inventory has the digest {row.digest}, "
                f"but {digest_source} has {digest}.",
                "Check the id: it may belong to a different object. If the id is right, remove the "
                "digest from the row.",
            )
        digest = digest or row.digest or None
        published = self._read_package(raw, digest)
        if shown := published.digest if published else published_digest(observed):
            importing.shown[address] = shown
        if published is not None and digest not in (None, published.digest):
            raise self._refusal(
                "The published bytes do not match",
                f"{address} (id {remote_id}): the backend returned "
                f"{published.digest}, but the known digest is {digest!s}.",
                "Check the id, and whether somebody replaced the published package. If the "
                "id is right, remove the digest from the row.",
            )
        record = self._record_of(observed, digest)
        # Ids of two API versions cannot be compared.
        for key in known_keys(record, binding):
            for other in importing.by_key.get((address.kind, key), ()):
                if other.address != address and other.is_same_object_elsewhere(binding.api, key):
                    raise self._recorded_elsewhere(
                        f"Id {remote_id} is {key}, which is recorded as {other.address}, by id "
                        f"{other.remote_id} of API {other.api}",
                        other.address,
                    )
        if published is None:
            return record
        return replace(
            record,
            digest=published.digest,
            files=record.files or published.files,
            proven={"digest": published.digest, "at": record.updated_at},
        )

    def _read_object(self) -> tuple[ServerObject, Observed]:
        """The row's object as it is answered, and decoded; InputError if it is another owner's."""
        importing, address, remote_id = self._import, self._address, self._row.remote_id
        try:
            raw = self._binding.read_object(self._session.api, remote_id)
            observed = self._binding.decode(raw, importing.marks.with_address(address))
        except NotFound as missing:
            raise self._refusal(
                "There is no such object",
                f"The backend has no {address.kind} with id {remote_id}, or hides it.",
                "Check the id, the tenant and the token.",
                missing.request_id,
            ) from None
        except FINAL_READ_ERRORS:
            raise
        except RemoteError as failure:
            raise self._refusal(
                "Reading the object failed",
                f"{address} ({remote_id}): {str(failure).removesuffix('.')}.",
                "Nothing was imported. Try again.",
                failure.request_id,
            ) from None
        marked = observed.describe_other_owner(self._session.target.owners)
        if marked and self._old is None and not importing.is_handed_over:
            raise self._refusal(
                "The object belongs to another owner",
                f"{address}: id {remote_id} {marked}.",
                f"Let {observed.owner} hand it over (`state mv {address} --to TARGET` in its "
                "project), or declare it with lifecycle.external. If it was a name of this "
                "project, add it to `owners` in the project file.",
            )
        return raw, observed

    def _record_of(self, observed: Observed, digest: str | None) -> Record:
        """The record of an object, with what is kept of that of the address."""
        session, kind, old = self._session, self._kind, self._old
        address, desired, api = self._address, self._desired, self._binding.api
        spec = desired.spec if desired else {}
        series_spec = spec
        if not spec and kind.series_field:
            owner = address.name.rpartition("@")[0]
            series_spec = {
                kind.series_field: owner.removeprefix("id=")
                if owner.startswith("id=")
                else Reference(Address(kind.rules[kind.series_field].references, owner)),
                kind.version_field: observed.spec.get(kind.version_field, ""),
            }
        series, version = kind.locate_in_series(series_spec) if series_spec else ("", "")
        now, kept = session.clock.utc_now(), old or Record(address, "", "")
        # With that of an open call, so that what the call set is not taken for a change outside.
        sent_salt = self._import.salts.get((address.kind, api, observed.remote_id), "")
        salt = kept.salt or sent_salt or session.new_salt()
        owners = self._import.read_owners(kind, observed)
        record = Record(
            address=address,
            remote_id=observed.remote_id,
            api=api,
            natural_key=kind.derive_natural_key(observed.spec, owners),
            seen=flatten_live(observed, flatten(spec), salt, session.secrets),
            salt=salt,
            digest=digest,
            files=kept.files,
            verification=kept.verification,
            given_up=kept.given_up,
            replaced_at=kept.replaced_at,
            doubted=kept.doubted,
            protected=bool(desired and desired.lifecycle.prevent_destroy),
            depends_on=desired.needs if desired else (),
            series=series,
            version=version,
            created_at=kept.created_at or now,
            updated_at=now,
        )
        return record if old else with_unverified_last_run(record, kind, desired, now)

    def _read_package(self, raw: ServerObject, digest: str | None) -> PublishedBytes | None:
        """Read the published package; None where it was read before, or cannot be read."""
        address, kind, importing = self._address, self._kind, self._import
        # A published package never changes, so that bytes which were read once are not read again.
        if not importing.reads_bytes or (self._old is not None and self._old.proven):
            return None
        try:
            published = read_published(self._session, self._binding, raw, address)
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
            importing.warn(finding)
            return None
        if kind.carries_package and not (published or digest):
            finding = warning_finding(
                "The published package was not compared",
                "This backend shows neither a digest nor a URL of the package of a "
                f"{kind.prefix}, so no plan can check whether the live package is the declared "
                "package.",
                "If the package may differ, publish a new version.",
                address=str(address),
                of_backend=True,
            )
            importing.warn(finding)
        return published

    def _of_other_api(self) -> InputError:
        """The error for an id of another API version, which may be another object's here."""
        session, kind, binding, desired = self._session, self._kind, self._binding, self._desired
        hint = Text(
            "Leave the row out: ",
            Command("apply --adopt"),
            " finds declared objects by their keys.",
        )
        # How much a search by natural key proves here; for an unknown key, of the weakest form.
        capability, has_list = binding.list_capability, binding.probe_list
        # One small request, and only for a row that is refused anyway.
        is_listable = capability and has_list is not None and has_list(session.api)
        capabilities = Capabilities({capability: True} if is_listable else {})
        key = kind.derive_natural_key(desired.spec, {}) if desired else ""
        keys = [key] if key else [f"{form}=" for form in binding.lookup]
        proofs = {binding.determine_search_proof(key, capabilities) for key in keys}
        if proofs != {Lookup.COMPLETE}:
            hint = Text(
                f"API {binding.api} may not find a {kind.prefix} by its key: the row must contain "
                "its id. ",
                Command("export --ids", f"{kind.prefix}=1-400"),
                " writes an inventory of the objects that have such an id.",
            )
        return self._refusal(
            "The id belongs to a different API version",
            f"{self._address}: its id belongs to API {self._row.api}, but target "
            f"{session.target.name} uses {binding.api} for it. The ids of the two "
            "versions are unrelated.",
            hint,
        )

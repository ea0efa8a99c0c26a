"""How the secrets and signatures of a state are renewed under another state key."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding, warning_finding
from synapse_apply.model.errors import InputError, SecretUnavailable, StateError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.phrases import format_count_and_noun, format_field_path
from synapse_apply.model.secrets.secret_rules import KEY_VARIABLE
from synapse_apply.model.state import Intent, ProjectAndKeyIds, Record
from synapse_apply.model.values import Fields, Mac, SecretRef, flatten, of_two_keys
from synapse_apply.planning.refusals import settle_secrets
from synapse_apply.secrets.keys import StateKeys, build_previous_key_path, key_variable_of
from synapse_apply.secrets.resolve import SecretStore
from synapse_apply.secrets.signatures import RunSigner, SignatureStatus
from synapse_apply.stores.sql import SqlStore
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store
from synapse_apply.stores.state_messages import FORGED, NOT_VERIFIED
from synapse_apply.workspace.state_key import (
    key_path_beside_state,
    new_key_lines_of,
)
from synapse_apply.workspace.target_session import TargetSession

_VERB = "rekey to "
_WHOLE_HISTORY = 2**31


@frozen
class RekeyResult:
    """How many secrets are under the new key, and which kept the old key and why.

    `signed_count` are the runs that were signed again. `key_file` is where a new key was made, None
    where it was there. `shuts_out_others`: a shared state needs it now in place of another one.
    `is_continued`: a rekey that was interrupted had made it.
    """

    key_id: str
    rekeyed_count: int
    kept_reasons: tuple[str, ...]
    signed_count: int = 0
    warnings: tuple[Diagnostic, ...] = ()
    key_file: Path | None = None
    shuts_out_others: bool = False
    new_key_lines: tuple[str, ...] = ()
    is_continued: bool = False


class Rekey:
    """One rekey of the state of a session."""

    def __init__(self, session: TargetSession) -> None:
        self._session = session
        self._untold: dict[Address, set[FieldPath]] = {}

    @property
    def will_shut_out_others(self) -> bool:
        """Whether a shared state gets another key, which all who use it then need."""
        session = self._session
        if (shared_ids := session.read_shared_ids()) is None:
            return False
        keys = session.reload_state_keys()
        if keys.current_key is None or session.key_sources.find_renewable_file(keys) is not None:
            return True
        return keys.current_key.key_id != shared_ids.key_id

    def find_unverified(self) -> Diagnostic | None:
        """What would be made genuine though no key at hand can verify it, None for nothing.

        StateError for an entry that the key at hand did not sign: no rekey signs that.
        """
        store, variable = self._session.store, key_variable_of(self._session.target.name)
        count = format_count_and_noun(len(store.read_state().records), "record")
        for finding in store.list_warnings() if store.is_signed else ():
            if finding.summary == FORGED:
                raise StateError(error_finding(finding.summary, finding.detail, finding.hint))
            if finding.summary == NOT_VERIFIED:
                return warning_finding(
                    "The state cannot be verified",
                    f"{finding.detail} A rekey would accept the state as genuine, with its "
                    f"{count}.",
                    f"Set the former key as well as the new one: {variable} and {KEY_VARIABLE} "
                    "each take one key. If the former key is lost, first compare the records and "
                    "the history with a copy that you trust.",
                )
        return None

    def run(self, unverified: Diagnostic | None = None) -> RekeyResult:
        """Digest every recorded secret under the new key; what does not resolve keeps its old key.

        Runs are signed again where a key that is available signed them. The new key is the one in
        use if it is of a variable, which somebody has changed then; else a new one is written into
        the file of the one in use, and the old one kept beside it as `.previous`, so that an
        interrupted run can be repeated. InputError where there is no key, and no place for one.
        `unverified` is what `find_unverified` found, and somebody has agreed to.
        """
        session = self._session
        shared_ids = session.read_shared_ids()
        # Before the key file is renewed: the old key must still check what it digested.
        old_keys = session.reload_state_keys()
        # Without the key that signed a state its lock cannot be taken either.
        lock = nullcontext() if unverified else session.lock_state_of_own_project("state rekey")
        with lock:
            # The key in use that is of a variable is new: then no file gets one.
            if old_keys.current_key is None and shared_ids is None:
                key_file: Path | None = key_path_beside_state(session.project, session.target)
            else:
                key_file = session.key_sources.find_renewable_file(old_keys)
            if key_file is None and old_keys.current_key is None:
                raise InputError.from_summary(
                    "There is no place for a state key",
                    f"None is in {session.key_sources.describe_key_places()}, and the command "
                    "cannot create one for this user, because the project has no id.",
                    Text(
                        "Put a key into one of them (openssl rand -base64 32), or first: ",
                        Command("state rebind"),
                        ".",
                    ),
                )
            is_continued = key_file is not None and self._continues(old_keys, key_file)
            if key_file is not None and not is_continued:
                session.key_sources.renew_key_in_file_keeping_old(key_file)
            new_keys = session.reload_state_keys()
            all_keys = StateKeys(tuple(dict.fromkeys((*new_keys.all_keys, *old_keys.all_keys))))
            if not session.store.is_signed:
                result = self._renew(session.store, all_keys, shared_ids)
            else:
                # A copy takes the place of all that another key has signed.
                with TemporaryDirectory(prefix="synapse-apply-") as folder:
                    copy_path = Path(folder) / "state.db"
                    session.store.write_backup(str(copy_path))
                    # It has the newest entry: nothing that came since somebody agreed is signed.
                    if self.find_unverified() != unverified:
                        raise _new_entries()
                    with (
                        closing(make_unopened_sqlite_store(copy_path)) as copy,
                        copy.lock("state rekey"),
                    ):
                        serial = copy.read_serial()
                        result = self._renew(copy, all_keys, shared_ids)

                    def require_copied(*_: object) -> None:
                        # Without a lock, others may have written since.
                        if session.store.read_serial() != serial:
                            raise _new_entries()

                    session.store_signer.is_renewed = True
                    session.store.restore_backup_and_return_kept_path_or_empty(
                        str(copy_path), require_copied
                    )
        shuts_out_others = shared_ids is not None and shared_ids.key_id != result.key_id
        return replace(
            result,
            warnings=old_keys.warnings,
            key_file=None if is_continued else key_file,
            is_continued=is_continued,
            shuts_out_others=shuts_out_others,
            new_key_lines=tuple(new_key_lines_of(result.key_id, key_file, session.target.name))
            if shuts_out_others and key_file is not None
            else (),
        )

    def _continues(self, keys: StateKeys, key_file: Path) -> bool:
        """Whether the key in use is that of a rekey that was interrupted before the state had it.

        The key before it is what the state needs: one more new key would take its place.
        """
        previous = str(build_previous_key_path(key_file))
        if keys.current_key is None or previous not in {key.origin for key in keys.all_keys[1:]}:
            return False
        ended = self._session.store.list_audit_entries_newest_first(_WHOLE_HISTORY)
        return _VERB + keys.current_key.key_id not in {entry.verb for entry in ended}

    def _renew(
        self, store: SqlStore, keys: StateKeys, shared_ids: ProjectAndKeyIds | None
    ) -> RekeyResult:
        """Digest and sign what a locked store has under the first of the keys."""
        session = self._session
        self._secrets = SecretStore(session.resolver, keys)
        key_id = self._secrets.key_id
        if shared_ids is not None:
            # First: who has the former key must not digest anything with it meanwhile.
            target = shared_ids.target or session.target.name
            store.replace_project_and_key_ids(replace(shared_ids, key_id=key_id, target=target))
        signer = RunSigner(keys, store.read_lineage())
        state = store.read_state()
        for address in {*state.records, *(call.address for call in state.calls)}:
            calls = [call for call in state.calls if call.address == address]
            self._untold[address] = _untold_paths(state.records.get(address), calls)
        records, rekeyed_count, kept_reasons, signed_count = [], 0, list[str](), 0
        for record in state.records.values():
            new_record, secret_count = self._record(record, kept_reasons)
            rekeyed_count += secret_count
            status = signer.verify_last_run(record)
            if status is SignatureStatus.EARLIER:
                new_record = signer.sign_last_run_if_any(new_record)
                signed_count += 1
            elif status in {SignatureStatus.FORGED, SignatureStatus.STRANGE}:
                reason = (
                    "does not match"
                    if status is SignatureStatus.FORGED
                    else "was made with a key that is not here"
                )
                kept_reasons.append(
                    Text(
                        f"{record.address}: the signature of its run {reason}; ",
                        Command("verify", record.address),
                        " runs it again",
                    )
                )
            if new_record != record:
                records.append(new_record)
        if records:
            store.write_records(*records)
        for intent in state.calls:
            reasons = [] if intent.address in state.records else kept_reasons
            if (rekeyed := self._call(intent, intent.address, reasons)) != intent:
                store.rewrite_intent(rekeyed)
        # Last: a rekey that is interrupted before it is continued with the same key.
        store.append_audit_entries(
            session.actor.build_state_audit_entry(
                Address("state", session.target.name),
                _VERB + key_id,
                moment=session.clock.utc_now(),
                plan_id=str(uuid4()),
            )
        )
        return RekeyResult(key_id, rekeyed_count, tuple(dict.fromkeys(kept_reasons)), signed_count)

    def _record(self, record: Record, kept_reasons: list[str]) -> tuple[Record, int]:
        """The record under the new key, and how many of its secrets are."""
        applied = self._fields(record, record.applied, kept_reasons)
        seen = self._fields(record, record.seen, kept_reasons)
        calls = tuple(self._call(call, record.address, []) for call in record.given_up)
        for call in calls:
            for path, value in call.fields.items():
                own, new_key = applied.get(path), self._secrets.key_id
                is_kept = of_two_keys(value, Mac(new_key, ""))
                is_shown = isinstance(seen.get(path), Mac)  # else it is sent again in any case
                if is_kept and is_shown and isinstance(own, Mac) and own.key_id == new_key:
                    kept_reasons.append(
                        f"{record.address} {format_field_path(path)}: call {call.id} of apply "
                        f"{call.plan_id} sent a value that the manifest no longer has"
                    )
        # A secret counts once, though it is both in what was applied and in what was seen.
        rekeyed, kept = set[FieldPath](), set[FieldPath]()
        for old, new in ((record.applied, applied), (record.seen, seen)):
            for path, value in old.items():
                if of_two_keys(value, Mac(self._secrets.key_id, "")):
                    (kept if new[path] is value else rekeyed).add(path)
        return replace(record, applied=applied, seen=seen, given_up=calls), len(rekeyed - kept)

    def _call(self, call: Intent, address: Address, kept_reasons: list[str]) -> Intent:
        """The call of an address, with what it sent under the new key where that is at hand."""
        sent = Record(address, call.remote_id, call.api, salt=call.salt)
        return replace(call, fields=self._fields(sent, call.fields, kept_reasons))

    def _fields(self, record: Record, fields: Fields, kept_reasons: list[str]) -> Fields:
        """Fields of a record under the new key; adds why a secret keeps its old digest."""
        desired, secrets = self._session.desired.get(record.address), self._secrets
        refs = flatten(desired.spec) if desired else {}
        rekeyed = dict(fields)
        for path, value in fields.items():
            if not isinstance(value, Mac) or value.key_id == secrets.key_id:
                continue
            if value.digest == Mac.UNSEEN:
                rekeyed[path] = replace(value, key_id=secrets.key_id)
                continue
            label, ref = f"{record.address} {format_field_path(path)}", refs.get(path)
            if not isinstance(ref, SecretRef) or ref.keeps_live_value:
                kept_reasons.append(f"{label}: no manifest says where its value comes from")
                continue
            try:
                secret = secrets.resolve_secret(ref)
            except SecretUnavailable as failure:
                kept_reasons.append(f"{label}: {failure.diagnostics[0].detail}")
                continue
            is_same = secrets.matches_mac(value, record.salt, path, secret)
            send_by = [(record.address, self._session.select_binding(record.address.kind))]
            if is_same is False:
                hint = settle_secrets(send_by)
                kept_reasons.append(Text(f"{label}: its value has changed since; ", hint))
                continue
            if is_same is None and path in self._untold[record.address]:
                why = "without the former key, it is unknown whether this is the manifest's value"
                way = (
                    settle_secrets(send_by, "apply --wait --resend-secrets --only")
                    if record.remote_id
                    else Text(Command("state settle", record.address, "--wait"), " looks it up")
                )
                kept_reasons.append(Text(f"{label}: {why}; ", way))
                continue
            rekeyed[path] = secrets.compute_mac(record.salt, path, secret, value.place) or value
        return rekeyed


def _new_entries() -> StateError:
    return StateError.from_summary(
        "The state has new entries that nobody has checked",
        "They were written after this command read the state. It has signed nothing.",
        "Run the command again, and check what it reports about the state.",
    )


def _untold_paths(record: Record | None, open_calls: Iterable[Intent]) -> set[FieldPath]:
    """The secrets of which a record and its calls have several values, or that it never sent.

    The manifest's is one of them at most: without the former key nobody can tell which.
    """
    sides = [(record.salt, side) for side in (record.applied, record.seen)] if record else []
    for call in (*(record.given_up if record else ()), *open_calls):
        sides += [(call.salt, side) for side in (call.fields, call.before, call.found)]
    known: dict[FieldPath, set[tuple[str, Mac]]] = {}
    for salt, side in sides:
        for path, value in side.items():
            if isinstance(value, Mac):
                known.setdefault(path, set()).add((salt, value))
    sent = record.applied if record else {}
    return {path for path, macs in known.items() if path not in sent or len(macs) > 1}

"""How `state rekey` digests recorded secrets and signs recorded runs under another state key."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import uuid4

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath
from synapse_apply.model.errors import InputError, NotApproved, SecretUnavailable
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.state import ProjectAndKeyIds, Record
from synapse_apply.model.values import Mac, SecretRef, Sensitive, flatten
from synapse_apply.planning.refusals import settle_secrets
from synapse_apply.secrets.keys import StateKeys
from synapse_apply.secrets.signatures import RunSigner, SignatureStatus
from synapse_apply.secrets.store import SecretStore
from synapse_apply.stores.sql import SqlStore
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store
from synapse_apply.workspace.sharing.key_sources import build_state_key_path
from synapse_apply.workspace.sharing.new_shared_key import build_lines_about_new_key
from synapse_apply.workspace.target_session import TargetSession


@frozen
class RekeyResult:
    """How many secrets are under the new key, and which kept the old key and why.

    `signed_count` are the runs that were signed again. `key_file` is where a new key was made, None
    where it was there. `shuts_out_others`: a shared state needs it now in place of another one.
    """

    key_id: str
    rekeyed_count: int
    kept_reasons: tuple[str, ...]
    signed_count: int = 0
    warnings: tuple[Diagnostic, ...] = ()
    key_file: Path | None = None
    shuts_out_others: bool = False
    new_key_lines: tuple[str, ...] = ()


class _RekeyedRecord(NamedTuple):
    record: Record
    rekeyed_secret_count: int
    kept_reasons: list[str]


def will_shut_out_others(session: TargetSession) -> bool:
    """Whether a rekey gives a shared state another key, which all who use it then need."""
    shared_ids = session.read_project_and_key_ids_or_none_if_unshared()
    if shared_ids is None:
        return False
    keys = session.reload_state_keys()
    if (
        keys.current_key is None
        or session.key_sources.find_renewable_key_file_or_none(keys) is not None
    ):
        return True
    return keys.current_key.key_id != shared_ids.key_id


def renew_key_and_rekey_secrets_and_signatures(session: TargetSession) -> RekeyResult:
    """Digest every recorded secret under the new key; what does not resolve keeps its old key id.

    Runs are signed again where a key that is available signed them. The new key is the one in use
    if it is of a variable, which somebody has changed then; else a new one is written into the file
    of the one in use, and the old one kept beside it as `.previous`, so that an interrupted run can
    be repeated. InputError where there is no key, and no place for one.
    """
    shared_ids = session.read_project_and_key_ids_or_none_if_unshared()
    is_signed = session.store.is_signed
    # Before the key file is renewed: the old key must still check what it digested.
    old_keys = session.reload_state_keys()
    # Without the key that signed a state its lock cannot be taken either.
    can_lock = not is_signed or _is_state_signed_with_available_key(session, old_keys, shared_ids)
    with session.lock_state_of_own_project("state rekey") if can_lock else nullcontext():
        key_file = _find_file_for_new_key_or_none_if_key_is_new(
            session, old_keys, is_shared=shared_ids is not None
        )
        if key_file is not None:
            session.key_sources.renew_key_in_file_keeping_old(key_file)
        new_keys = session.reload_state_keys()
        all_keys = StateKeys(tuple(dict.fromkeys((*new_keys.all_keys, *old_keys.all_keys))))
        if is_signed:
            result = _rekey_copy_and_replace_signed_state(session, all_keys, shared_ids)
        else:
            result = _bind_key_and_rekey_locked_store(session, session.store, all_keys, shared_ids)
    shuts_out_others = shared_ids is not None and shared_ids.key_id != result.key_id
    return replace(
        result,
        warnings=old_keys.warnings,
        key_file=key_file,
        shuts_out_others=shuts_out_others,
        new_key_lines=tuple(build_lines_about_new_key(result.key_id, key_file, session.target.name))
        if shuts_out_others and key_file is not None
        else (),
    )


def rekey_or_raise_not_approved(
    session: TargetSession, confirm: Callable[[], bool] | None = None
) -> RekeyResult:
    """Rekey; NotApproved where others would be shut out and `confirm` says no."""
    if confirm is not None and will_shut_out_others(session) and not confirm():
        raise NotApproved.from_summary("The state has the key that it had", "confirm said no.")
    return renew_key_and_rekey_secrets_and_signatures(session)


def _is_state_signed_with_available_key(
    session: TargetSession, keys: StateKeys, shared_ids: ProjectAndKeyIds | None
) -> bool:
    """Whether what is stored is signed with a key that is at hand."""
    # The state of the embedded backend names no key; its store warns of what it cannot verify.
    if shared_ids is None:
        return not session.store.list_warnings()
    return shared_ids.key_id in {key.key_id for key in keys.all_keys}


def _rekey_copy_and_replace_signed_state(
    session: TargetSession, keys: StateKeys, shared_ids: ProjectAndKeyIds | None
) -> RekeyResult:
    """Rekey a copy of the state, and put it in the place of all that another key has signed."""
    with TemporaryDirectory(prefix="synapse-apply-") as folder:
        copy_path = Path(folder) / "state.db"
        session.store.write_backup(str(copy_path))
        with closing(make_unopened_sqlite_store(copy_path)) as copy, copy.lock("state rekey"):
            result = _bind_key_and_rekey_locked_store(session, copy, keys, shared_ids)
        session.store_signer.is_renewed = True
        session.store.restore_backup_and_return_kept_path_or_empty(str(copy_path))
    return result


def _bind_key_and_rekey_locked_store(
    session: TargetSession, store: SqlStore, keys: StateKeys, shared_ids: ProjectAndKeyIds | None
) -> RekeyResult:
    """Digest and sign what a locked store has under the first of the keys."""
    secrets = SecretStore(session.resolver, keys)
    if shared_ids is not None:
        # First: who has the former key must not digest anything with it meanwhile.
        target = shared_ids.target or session.target.name
        new_ids = replace(shared_ids, key_id=secrets.key_id, target=target)
        store.replace_project_and_key_ids(new_ids)
    store.append_audit_entries(
        session.actor.build_state_audit_entry(
            Address("state", session.target.name),
            f"rekey to {secrets.key_id}",
            moment=session.clock.utc_now(),
            plan_id=str(uuid4()),
        )
    )
    return _rekey_and_write_changed_records(session, store, keys, secrets)


def _find_file_for_new_key_or_none_if_key_is_new(
    session: TargetSession, keys: StateKeys, *, is_shared: bool
) -> Path | None:
    """The file that gets a new key; None where the key in use is of a variable, and so is new."""
    if keys.current_key is None and not is_shared:
        return build_state_key_path(session.project, session.target)
    path = session.key_sources.find_renewable_key_file_or_none(keys)
    if path is None and keys.current_key is None:
        raise InputError.from_summary(
            "There is no place for a state key",
            f"None is in {session.key_sources.describe_key_places()}, and the project has no id, "
            "under which one could be made for this user.",
            Text(
                "Put a key into one of them (openssl rand -base64 32), or first: ",
                Command("state rebind"),
                ".",
            ),
        )
    return path


def _rekey_and_write_changed_records(
    session: TargetSession, store: SqlStore, keys: StateKeys, secrets: SecretStore
) -> RekeyResult:
    signer = RunSigner(keys, store.read_lineage())
    records, rekeyed_count, kept_reasons, signed_count = [], 0, [], 0
    for record in store.read_state().records.values():
        rekeyed_record, secret_count, record_reasons = _rekey_record(session, secrets, record)
        status = signer.verify_last_run_signature(record)
        if status is SignatureStatus.EARLIER:
            rekeyed_record = signer.sign_last_run_if_any(rekeyed_record)
            signed_count += 1
        elif status in {SignatureStatus.FORGED, SignatureStatus.STRANGE}:
            record_reasons.append(_explain_not_signed(record, status))
        rekeyed_count += secret_count
        kept_reasons += record_reasons
        if rekeyed_record != record:
            records.append(rekeyed_record)
    if records:
        store.write_records(*records)
    return RekeyResult(
        secrets.key_id, rekeyed_count, tuple(dict.fromkeys(kept_reasons)), signed_count
    )


def _explain_not_signed(record: Record, status: SignatureStatus) -> str:
    """Why a run is not signed again: a signature must not vouch for what nobody can check."""
    reason = (
        "is of something else"
        if status is SignatureStatus.FORGED
        else "is of a key that is not here"
    )
    return Text(
        f"{record.address}: the signature of its run {reason}; ",
        Command("verify", record.address),
        " runs it again",
    )


def _rekey_record(session: TargetSession, secrets: SecretStore, record: Record) -> _RekeyedRecord:
    desired = session.desired.get(record.address)
    refs = flatten(desired.spec) if desired else {}
    reasons: list[str] = []
    rekeyed_paths: set[FieldPath] = set()
    kept_paths: set[FieldPath] = set()

    def rekey_value_or_note_kept(path: FieldPath, value: Any) -> Any:
        if not isinstance(value, Mac) or value.key_id == secrets.key_id:
            return value
        new_mac = _rekey_mac_or_report_kept(
            session, secrets, record, path, value, refs.get(path), reasons.append
        )
        (kept_paths if new_mac is value else rekeyed_paths).add(path)
        return new_mac

    applied_fields = {
        path: rekey_value_or_note_kept(path, value) for path, value in record.applied.items()
    }
    observed_fields = {
        path: rekey_value_or_note_kept(path, value) for path, value in record.seen.items()
    }
    # A secret counts once, though it is both in what was applied and in what was seen.
    return _RekeyedRecord(
        replace(record, applied=applied_fields, seen=observed_fields),
        len(rekeyed_paths - kept_paths),
        reasons,
    )


def _rekey_mac_or_report_kept(
    session: TargetSession,
    secrets: SecretStore,
    record: Record,
    path: FieldPath,
    value: Mac,
    ref: Any,
    report_kept: Callable[[str], None],
) -> Mac:
    field_label = f"{record.address} {format_field_path(path)}"
    if not isinstance(ref, SecretRef) or ref.keeps_live_value:
        report_kept(f"{field_label}: no manifest says where its value comes from")
        return value
    try:
        secret: Sensitive = secrets.resolve_secret(ref)
    except SecretUnavailable as failure:
        report_kept(f"{field_label}: {failure.diagnostics[0].detail}")
        return value
    if (
        value.digest == Mac.UNSEEN
        or secrets.matches_mac_or_none_without_key(value, record.salt, path, secret) is False
    ):
        binding = session.select_binding(record.address.kind)
        hint = settle_secrets([(record.address, binding)])
        report_kept(Text(f"{field_label}: its value has changed since; ", hint))
        return value
    return secrets.compute_mac(record.salt, path, secret, value.place) or value

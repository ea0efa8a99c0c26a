"""When a state is made, replaced by a backup, bound to a backend and project, or rekeyed.

Each of them is about the state as a whole, and about whom it shuts out.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import uuid4

from synapse_apply.live.open_intents import keep_acting_calls, list_acting_calls
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding, warning_finding
from synapse_apply.model.errors import InputError, NotApproved, SecretUnavailable, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.project import Target
from synapse_apply.model.state import (
    NO_SHARED_IDS,
    BackendIdentity,
    Intent,
    ProjectAndKeyIds,
    Record,
)
from synapse_apply.model.values import Mac, SecretRef, Sensitive, flatten
from synapse_apply.operations.state import current_identity_of
from synapse_apply.planning.refusals import settle_secrets
from synapse_apply.secrets.keys import StateKey, StateKeys
from synapse_apply.secrets.signatures import RunSigner, SignatureStatus
from synapse_apply.secrets.store import SecretStore
from synapse_apply.stores.bucket.bucket_url import is_bucket_url
from synapse_apply.stores.git.git_url import is_git_url
from synapse_apply.stores.snapshot import KEPT_FILE_SUFFIX, StateOrigin
from synapse_apply.stores.sql import SqlStore
from synapse_apply.stores.sqlite.sqlite_database import (
    make_unopened_sqlite_store,
    require_origin_of_intact_backup,
)
from synapse_apply.stores.state_messages import build_existing_state_error
from synapse_apply.workspace.state_access import (
    EMBEDDED_URL,
    describe_identity,
    require_no_error,
    require_usable_bucket,
)
from synapse_apply.workspace.state_key import (
    SharedKey,
    find_or_make_shared_key,
    key_ids_of_digests,
    key_path_beside_state,
    new_key_lines_of,
    state_folder,
)
from synapse_apply.workspace.state_project import (
    NO_PROJECT_ID,
    ProjectId,
    project_findings,
    project_id_of,
    write_project_id,
)
from synapse_apply.workspace.target_session import TargetSession


@frozen
class CreatedState:
    """A new state. `key` is that of a shared one, None for any other.

    `target` is the name of its target. `project_id` is the project that a shared one is bound to.
    `key_file` is the file in which its key was made, None where there was a key. `is_pinned`: the
    project file names its lineage. `steps` are sentences on what is to be done so that others can
    use it, and on who can read and write it; none for a state of this machine alone.
    """

    target: str
    lineage: str
    is_pinned: bool
    project_id: ProjectId = NO_PROJECT_ID
    key: StateKey | None = None
    key_file: Path | None = None
    steps: tuple[str, ...] = ()


def create_empty_state_and_missing_key(
    session: TargetSession,
    state_identity: BackendIdentity,
    lineage: str = "",
    key_file: Path | None = None,
) -> CreatedState:
    """Create an empty state and its key; a shared one is bound to that key and to the project.

    Where there is no key for a shared state, one is made in `key_file`, or at a terminal in the
    user's folder. At a terminal the project gets an id, if its file has none: what a pipeline
    wrote there would be gone with its checkout. StateError when a state exists, or when a pinned
    lineage forbids an empty one; InputError without a key.
    """
    pinned_lineage = session.target.state.lineage
    if pinned_lineage and lineage != pinned_lineage:
        raise StateError.from_summary(
            "The project file pins the lineage of this state",
            f"Target {session.target.name} is pinned to lineage {pinned_lineage}: an empty state "
            "would forget every object it remembers.",
            Text(
                "Restore it: ",
                Command("state restore FILE"),
                "; or import what exists after ",
                Command("state init --lineage", pinned_lineage),
                ", which makes an empty one anyway.",
            ),
        )
    new_lineage = lineage or str(uuid.uuid4())
    if not session.is_state_shared:
        if key_file is not None:
            raise InputError.from_summary(
                "--key-file is for a state that several machines share",
                f"The state of target {session.target.name} is a file of this machine, and its "
                "key is made beside it.",
                "Leave it out.",
            )
        _create_state(session, state_identity, new_lineage)
        session.reload_state_keys(create=True)
        return CreatedState(session.target.name, new_lineage, bool(session.target.state.lineage))
    _require_no_state(session)
    _require_unseen_place(session, lineage)
    require_usable_bucket(
        session.target.state.url, session.project, session.target, session.invocation.environ
    )
    hint = Text(
        "Get it from whoever has it. To make one: ",
        Command("state init --key-file PATH", target=session.target.name),
        ", and keep that file where all of them get it.",
    )
    # Last the state, so that what is cut short can be repeated.
    shared_key = find_or_make_shared_key(session, hint, key_file)
    project_id, key = shared_key.project_id, shared_key.key
    key_id = key.key_id if key is not None else ""
    shared_ids = ProjectAndKeyIds(project_id.text, key_id, session.target.name)
    _create_state(session, state_identity, new_lineage, shared_ids)
    return CreatedState(
        session.target.name,
        new_lineage,
        bool(session.target.state.lineage),
        project_id,
        key,
        shared_key.key_file,
        (*_iter_sharing_steps(shared_key, session.target.name), *access_notes(session.store.where)),
    )


def _iter_sharing_steps(shared_key: SharedKey, target_name: str) -> Iterator[str]:
    """What is to be done so that other machines can use a new shared state."""
    project_id, key = shared_key.project_id, shared_key.key
    if key is None:
        return
    if project_id.is_new:
        yield (
            f"Wrote project.id {project_id.text} into the project file: commit it. A project file "
            "without it cannot use this state."
        )
    elif not project_id.text:
        rebind_command = Command("state rebind", target=target_name)
        yield (
            f"It is bound to no project, since the project file has no id: {rebind_command}, where "
            "you can commit it."
        )
    if shared_key.key_file is None:
        yield f"It is bound to state key {key.key_id}, from {key.origin}."
        return
    yield from new_key_lines_of(
        key.key_id,
        shared_key.key_file,
        target_name,
        is_found_by_commands=shared_key.is_found_by_commands,
    )


_GIT_READERS = (
    "Whoever can read that repository can read the state: addresses, ids and configuration, and no "
    "secret."
)
_GIT_WRITERS = (
    "No rule protects such a ref: whoever may push to the repository may write it. What is not "
    "signed with the state key is not believed, so keep that key from who may only push."
)
_BUCKET_RULES = (
    "No lifecycle rule may expire current objects there: that would destroy the state. A rule that "
    "expires old versions is right."
)


def access_notes(location: str) -> tuple[str, ...]:
    """Sentences on who reads and writes a store, or may not, by its location; () for most."""
    if is_bucket_url(location):
        return (f"The state is at {location}.", _BUCKET_RULES)
    if not is_git_url(location):
        return ()
    return (f"The state is at {location}.", _GIT_READERS, _GIT_WRITERS)


def _create_state(
    session: TargetSession,
    state_identity: BackendIdentity,
    lineage: str,
    shared_ids: ProjectAndKeyIds = NO_SHARED_IDS,
) -> None:
    session.store.create_state(
        state_identity, lineage, session.last_seen_files.read_farthest(lineage).progress, shared_ids
    )


def _require_no_state(session: TargetSession) -> None:
    """StateError for a state that exists; it says where that is another project's or target's."""
    if not session.store.exists():
        return
    shared_ids = session.store.read_project_and_key_ids()
    require_no_error(project_findings(shared_ids, session.project, session.target))
    raise build_existing_state_error(session.store.where)


def _require_unseen_place(session: TargetSession, lineage: str) -> None:
    """StateError where a state was seen that is gone now, unless its lineage is to go on."""
    seen_place = session.seen_place
    if seen_place is None or seen_place.lineage == lineage:
        return
    name, where = session.target.name, session.store.where
    raise StateError.from_summary(
        "There was a state in this place",
        f"{where} has no state now, and had one of lineage {seen_place.lineage} when it was last "
        f"read here, on {seen_place.seen_at}. An empty state would forget every object that it "
        "remembers.",
        Text(
            "Bring back what was deleted, from old versions of the objects or from a clone that "
            "has the commit, or restore the newest backup: ",
            Command("state restore FILE", target=name),
            ". If it is gone for good, or was deleted on purpose: ",
            Command("state init", "--lineage", seen_place.lineage, target=name),
            " makes an empty one that follows it.",
        ),
    )


@frozen
class StateExchange:
    """A backup and the state that it would replace; None where no state can be read."""

    backup: StateOrigin
    current_state: StateOrigin | None

    @property
    def lineage_difference(self) -> str:
        """A sentence where backup and current state are of different lineages, else ""."""
        current_state, backup = self.current_state, self.backup
        if current_state is None or current_state.lineage == backup.lineage:
            return ""
        return (
            "The state that is here is not the one of the backup: it has lineage "
            f"{current_state.lineage} and {_format_object_count(current_state)}, the backup has "
            f"lineage {backup.lineage} and {_format_object_count(backup)}."
        )


@frozen
class RestoredState:
    """What took the place of what, and where the replaced state is kept; "" without one."""

    exchange: StateExchange
    kept_location: str
    warnings: tuple[Diagnostic, ...]


def restore_backup(
    session: TargetSession, path: Path, confirm: Callable[[StateExchange], bool] | None
) -> RestoredState:
    """Replace the state by a backup, where `confirm`, if given, agrees; else NotApproved.

    It is asked only where there is a state to replace. StateError, with nothing replaced, for a
    backup of another backend and for one of another lineage than the project file pins. The
    restored state gets a serial above every one that was seen here, so that it is not refused as
    an older copy. Calls that may still act stay open in it.
    """
    target, identity = session.target, current_identity_of(session, is_read_only=True)
    backup = require_origin_of_intact_backup(str(path))
    check_backup = partial(_require_restorable, path, target, identity)
    check_backup(backup.binding, backup.lineage)
    replaced, current_state = None, None
    with suppress(StateError):
        replaced = session.store.read_state()
        current_state = StateOrigin(replaced.binding, replaced.lineage, len(replaced.records))
    exchange = StateExchange(backup, current_state)
    if confirm is not None and session.store.exists() and not confirm(exchange):
        raise NotApproved.from_summary("The state was not replaced", "confirm said no.")
    kept_location = session.store.restore_backup_and_return_kept_path_or_empty(
        str(path),
        check_backup,
        str(state_folder(session.project) / f"{target.name}.{KEPT_FILE_SUFFIX}"),
        lambda lineage: session.last_seen_files.read_farthest(lineage).progress,
    )
    acting: list[Diagnostic] = []
    if replaced is not None and replaced.binding == identity:
        addresses = {intent.address for intent in replaced.open_intents}
        kept = list_acting_calls(session, replaced, with_answered=True)
        addresses.update(call.address for _, call in kept)
        if addresses:
            with session.store.lock("state restore"):
                restored = session.store.read_state().records
                acting = keep_acting_calls(session, replaced, addresses, restored)
    warnings = (
        *acting,
        *replaced_lineage_warnings(exchange, kept_location, target),
        *_other_key_warnings(session),
    )
    return RestoredState(exchange, kept_location, warnings)


def replaced_lineage_warnings(
    state_exchange: StateExchange, kept_path: str, target: Target
) -> tuple[Diagnostic, ...]:
    """A warning where the replaced state was of another lineage than the backup."""
    if not state_exchange.lineage_difference:
        return ()
    undo_command = Command("state restore", kept_path, target=target.name)
    return (
        warning_finding(
            "Another state was replaced",
            state_exchange.lineage_difference.replace("that is here", "that was here"),
            Text("If that was wrong: ", undo_command, ".") if kept_path else "",
            target=target.name,
        ),
    )


def _other_key_warnings(session: TargetSession) -> tuple[Diagnostic, ...]:
    """A warning where the restored state is bound to another key than the one in use."""
    shared_ids, current_key = (session.read_shared_ids(), session.reload_state_keys().current_key)
    if shared_ids is None or current_key is None:
        return ()
    if shared_ids.key_id in ("", current_key.key_id):
        return ()
    return (
        warning_finding(
            "The backup is from before another state key",
            f"It was made under key {shared_ids.key_id}; at hand is {current_key.key_id} from "
            f"{current_key.origin}.",
            Text(
                "Before anything else: ",
                Command("state rekey", target=session.target.name),
                " takes the key at hand for all of it.",
            ),
            target=session.target.name,
        ),
    )


def _require_restorable(
    path: Path,
    target: Target,
    state_identity: BackendIdentity,
    backup_identity: BackendIdentity,
    lineage: str,
) -> None:
    findings = (
        *_identity_findings(path, target, state_identity, backup_identity),
        *_lineage_findings(path, target, lineage),
    )
    if findings:
        raise StateError(*findings)


def _identity_findings(
    path: Path, target: Target, state_identity: BackendIdentity, backup_identity: BackendIdentity
) -> tuple[Diagnostic, ...]:
    if backup_identity == state_identity:
        return ()
    hint = Text(
        "If the backend moved and is the same one: restore while the target still has its "
        "former url and tenant, then change them and run ",
        Command("state rebind", target=target.name),
        ".",
    )
    if state_identity.url == EMBEDDED_URL:
        hint = Text(
            "What another data set held is not in this one: ", Command("apply"), " makes it anew."
        )
    finding = error_finding(
        "This backup belongs to another backend",
        f"{path} was made for {describe_identity(backup_identity)}; target {target.name} is "
        f"{describe_identity(state_identity)}. Nothing was replaced.",
        Text(f"Name a backup of target {target.name}. ", hint),
        position=target.position,
    )
    return (finding,)


# A backup of another backend is refused, and so is another lineage than the pinned one. Without a
# pin the right backup must be able to replace a state that was made by mistake, so a changed
# lineage is only a warning that names both and the way back. What is replaced is kept, and a kept
# state never takes the place of another.
def _lineage_findings(path: Path, target: Target, lineage: str) -> tuple[Diagnostic, ...]:
    pinned_lineage = target.state.lineage
    if not pinned_lineage or lineage == pinned_lineage:
        return ()
    finding = error_finding(
        "This backup is not of the state that the project file pins",
        f"The project file pins lineage {pinned_lineage}, {path} has {lineage}. Nothing was "
        f"replaced.",
        "Name a backup of that state. If this is the right one: correct the pin, "
        f"targets.{target.name}.state.lineage.",
        position=target.position,
    )
    return (finding,)


def _format_object_count(state: StateOrigin) -> str:
    return "1 object" if state.record_count == 1 else f"{state.record_count} objects"


@frozen
class Rebinding:
    """What a state is bound to now and is to be bound to.

    `project_id` is the project's, None for a state that is not shared; `shared_ids` are those of
    the state, `target` is the name of the target.
    """

    bound_identity: BackendIdentity
    identity: BackendIdentity
    project_id: ProjectId | None = None
    shared_ids: ProjectAndKeyIds = NO_SHARED_IDS
    target: str = ""

    @property
    def changes_identity(self) -> bool:
        return self.bound_identity != self.identity

    @property
    def changes_project(self) -> bool:
        return self.project_id is not None and self.shared_ids.project_id != self.project_id.text

    @property
    def changes_target(self) -> bool:
        return self.shared_ids.target != self.target

    @property
    def changes_anything(self) -> bool:
        return self.changes_identity or self.changes_project or self.changes_target

    @property
    def bound_text(self) -> str:
        """What it is bound to now, for a sentence."""
        return self._describe_binding(
            self.bound_identity, self.shared_ids.target, self.shared_ids.project_id or "none"
        )

    @property
    def new_text(self) -> str:
        """What it is to be bound to, for a sentence."""
        return self._describe_binding(
            self.identity, self.target, self.project_id.text if self.project_id else ""
        )

    def _describe_binding(self, identity: BackendIdentity, target: str, project: str) -> str:
        target_part = f", target {target}" if self.changes_target and target else ""
        project_part = f" and project {project}" if self.project_id is not None else ""
        return f"{describe_identity(identity)}{target_part}{project_part}"

    @property
    def warning_text(self) -> str:
        """What to consider before it is done."""
        sentences = []
        if self.changes_identity:
            sentences.append("It must be the same backend.")
        if self.changes_target and self.shared_ids.target:
            sentences.append(
                f"Runs of a target named {self.shared_ids.target} are refused from then on."
            )
        if self.changes_project and self.shared_ids.project_id:
            sentences.append("Runs of the project that it belongs to now are refused from then on.")
        elif self.changes_project:
            sentences.append(
                "Runs of a project file without this id are refused from then on: merge it soon."
            )
        return " ".join(sentences)


def build_rebinding(session: TargetSession, identity: BackendIdentity) -> Rebinding:
    """What a rebind to `identity`, and to this project, would change; writes nothing.

    StateError where the state belongs to a project and the project file names none: it may be
    that very project.
    """
    bound_identity, shared_ids = (session.store.read_backend_identity(), session.read_shared_ids())
    if shared_ids is None:
        return Rebinding(bound_identity, identity)
    if shared_ids.project_id and not session.project.id:
        require_no_error(project_findings(shared_ids, session.project, session.target))
    return Rebinding(
        bound_identity, identity, project_id_of(session.project), shared_ids, session.target.name
    )


def rebind_state(session: TargetSession, rebinding: Rebinding) -> None:
    """Bind the state; a new id is written into the project file first.

    A shared state that names no key gets that of the one in use, unless it has digests of others.
    """
    # Not `lock_state_of_own_project`: the state may be another project's.
    with session.store.lock("state rebind", session.lock_wait_seconds):
        if rebinding.project_id is not None:
            if rebinding.project_id.is_new:
                write_project_id(session.project, rebinding.project_id.text)
                session.project = replace(session.project, id=rebinding.project_id.text)
            key_id = rebinding.shared_ids.key_id or _undisputed_key_id(session)
            session.store.replace_project_and_key_ids(
                ProjectAndKeyIds(rebinding.project_id.text, key_id, rebinding.target)
            )
        session.store.replace_backend_identity(rebinding.identity)


def _undisputed_key_id(session: TargetSession) -> str:
    """The id of the key in use, where all digests of the state are of that key; else ""."""
    current_key = session.reload_state_keys().current_key
    if current_key is None:
        return ""
    used_ids = key_ids_of_digests(session.store.read_state())
    return current_key.key_id if used_ids <= {current_key.key_id} else ""


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
    shared_ids = session.read_shared_ids()
    if shared_ids is None:
        return False
    keys = session.reload_state_keys()
    if keys.current_key is None or session.key_sources.find_renewable_file(keys) is not None:
        return True
    return keys.current_key.key_id != shared_ids.key_id


def renew_key(session: TargetSession) -> RekeyResult:
    """Digest every recorded secret under the new key; what does not resolve keeps its old key id.

    Runs are signed again where a key that is available signed them. The new key is the one in use
    if it is of a variable, which somebody has changed then; else a new one is written into the file
    of the one in use, and the old one kept beside it as `.previous`, so that an interrupted run can
    be repeated. InputError where there is no key, and no place for one.
    """
    shared_ids = session.read_shared_ids()
    is_signed = session.store.is_signed
    # Before the key file is renewed: the old key must still check what it digested.
    old_keys = session.reload_state_keys()
    # Without the key that signed a state its lock cannot be taken either.
    can_lock = not is_signed or _can_check_signature(session, old_keys, shared_ids)
    with session.lock_state_of_own_project("state rekey") if can_lock else nullcontext():
        key_file = _file_for_new_key(session, old_keys, is_shared=shared_ids is not None)
        if key_file is not None:
            session.key_sources.renew_key_in_file_keeping_old(key_file)
        new_keys = session.reload_state_keys()
        all_keys = StateKeys(tuple(dict.fromkeys((*new_keys.all_keys, *old_keys.all_keys))))
        if is_signed:
            result = _rekey_signed_state(session, all_keys, shared_ids)
        else:
            result = _rekey_store(session, session.store, all_keys, shared_ids)
    shuts_out_others = shared_ids is not None and shared_ids.key_id != result.key_id
    return replace(
        result,
        warnings=old_keys.warnings,
        key_file=key_file,
        shuts_out_others=shuts_out_others,
        new_key_lines=tuple(new_key_lines_of(result.key_id, key_file, session.target.name))
        if shuts_out_others and key_file is not None
        else (),
    )


def _can_check_signature(
    session: TargetSession, keys: StateKeys, shared_ids: ProjectAndKeyIds | None
) -> bool:
    """Whether what is stored is signed with a key that is at hand."""
    # The state of the embedded backend names no key; its store warns of what it cannot verify.
    if shared_ids is None:
        return not session.store.list_warnings()
    return shared_ids.key_id in {key.key_id for key in keys.all_keys}


def _rekey_signed_state(
    session: TargetSession, keys: StateKeys, shared_ids: ProjectAndKeyIds | None
) -> RekeyResult:
    """Rekey a copy of the state, and put it in the place of all that another key has signed."""
    with TemporaryDirectory(prefix="synapse-apply-") as folder:
        copy_path = Path(folder) / "state.db"
        session.store.write_backup(str(copy_path))
        with closing(make_unopened_sqlite_store(copy_path)) as copy, copy.lock("state rekey"):
            result = _rekey_store(session, copy, keys, shared_ids)
        session.store_signer.is_renewed = True
        session.store.restore_backup_and_return_kept_path_or_empty(str(copy_path))
    return result


def _rekey_store(
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
    return _rekey_records(session, store, keys, secrets)


def _file_for_new_key(session: TargetSession, keys: StateKeys, *, is_shared: bool) -> Path | None:
    """The file that gets a new key; None where the key in use is of a variable, and so is new."""
    if keys.current_key is None and not is_shared:
        return key_path_beside_state(session.project, session.target)
    path = session.key_sources.find_renewable_file(keys)
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


def _rekey_records(
    session: TargetSession, store: SqlStore, keys: StateKeys, secrets: SecretStore
) -> RekeyResult:
    signer = RunSigner(keys, store.read_lineage())
    records, rekeyed_count, kept_reasons, signed_count = [], 0, [], 0
    for record in store.read_state().records.values():
        rekeyed_record, secret_count, record_reasons = _rekey_record(session, secrets, record)
        status = signer.verify_last_run(record)
        if status is SignatureStatus.EARLIER:
            rekeyed_record = signer.sign_last_run_if_any(rekeyed_record)
            signed_count += 1
        elif status in {SignatureStatus.FORGED, SignatureStatus.STRANGE}:
            reason = (
                "is of something else"
                if status is SignatureStatus.FORGED
                else "is of a key that is not here"
            )
            record_reasons.append(
                Text(
                    f"{record.address}: the signature of its run {reason}; ",
                    Command("verify", record.address),
                    " runs it again",
                )
            )
        rekeyed_count += secret_count
        kept_reasons += record_reasons
        if rekeyed_record != record:
            records.append(rekeyed_record)
    if records:
        store.write_records(*records)
    for intent in store.read_state().open_intents:
        if (rekeyed := _rekey_call(session, secrets, intent, intent.address)) != intent:
            store.rewrite_intent(rekeyed)
    return RekeyResult(
        secrets.key_id, rekeyed_count, tuple(dict.fromkeys(kept_reasons)), signed_count
    )


def _rekey_record(session: TargetSession, secrets: SecretStore, record: Record) -> _RekeyedRecord:
    desired = session.desired.get(record.address)
    refs = flatten(desired.spec) if desired else {}
    reasons: list[str] = []
    rekeyed_paths: set[FieldPath] = set()
    kept_paths: set[FieldPath] = set()

    def rekey_value(path: FieldPath, value: Any) -> Any:
        if not isinstance(value, Mac) or value.key_id == secrets.key_id:
            return value
        new_mac = _rekey_mac(session, secrets, record, path, value, refs.get(path), reasons.append)
        (kept_paths if new_mac is value else rekeyed_paths).add(path)
        return new_mac

    applied_fields = {path: rekey_value(path, value) for path, value in record.applied.items()}
    observed_fields = {path: rekey_value(path, value) for path, value in record.seen.items()}
    # A secret counts once, though it is both in what was applied and in what was seen.
    return _RekeyedRecord(
        replace(
            record,
            applied=applied_fields,
            seen=observed_fields,
            given_up=tuple(
                _rekey_call(session, secrets, call, record.address) for call in record.given_up
            ),
        ),
        len(rekeyed_paths - kept_paths),
        reasons,
    )


def _rekey_call(
    session: TargetSession, secrets: SecretStore, call: Intent, address: Address
) -> Intent:
    """The call of an address, with what it sent under the new key where that is at hand."""
    sent = Record(address, call.remote_id, call.api, applied=call.fields, salt=call.salt)
    return replace(call, fields=_rekey_record(session, secrets, sent).record.applied)


def _rekey_mac(
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
    if value.digest == Mac.UNSEEN or secrets.matches_mac(value, record.salt, path, secret) is False:
        binding = session.select_binding(record.address.kind)
        hint = settle_secrets([(record.address, binding)])
        report_kept(Text(f"{field_label}: its value has changed since; ", hint))
        return value
    return secrets.compute_mac(record.salt, path, secret, value.place) or value

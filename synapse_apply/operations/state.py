"""What the `state` commands read and change in a state. None of it changes the backend.

`TargetState` is what a script and the commands call; below it stands what makes up the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from synapse_apply.applying.settle import explain_other_job, jobs_of_last_runs, with_job
from synapse_apply.files.checkout import require_no_link_out
from synapse_apply.live import open_intents
from synapse_apply.manifests.export import explain_invalid_address
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.dated_exception import DAY_HINT, is_day
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.errors import InputError, NotApproved, StateError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.job import RUN_VERB
from synapse_apply.model.phrases import format_count_and_noun, format_short_list, suggest_name
from synapse_apply.model.project import Target, with_member_renames
from synapse_apply.model.state import (
    CREATE_VERB,
    NO_SHARED_IDS,
    REPLACE_VERB,
    BackendIdentity,
    Intent,
    IntentState,
    ProjectAndKeyIds,
    Record,
    State,
)
from synapse_apply.model.values import SecretRef
from synapse_apply.operations.connection import (
    PartOfTarget,
    require_address,
    require_names,
    require_text,
)
from synapse_apply.operations.rekey import Rekey, RekeyResult
from synapse_apply.operations.settle import (
    OpenCalls,
    RecoveredCalls,
    SettledCalls,
    Settling,
    read_open_calls,
    record_journal,
)
from synapse_apply.secrets.keys import StateKey, key_variable_of
from synapse_apply.stores.bucket.bucket_url import is_bucket_url
from synapse_apply.stores.git.git_url import is_git_url
from synapse_apply.stores.snapshot import (
    KEPT_FILE_SUFFIX,
    StateOrigin,
    build_inventory_sorted_by_address,
    copy_and_verify_state_under_source_lock,
)
from synapse_apply.stores.sqlite.sqlite_database import (
    require_origin_of_intact_backup,
)
from synapse_apply.stores.state_messages import fault, open_call
from synapse_apply.stores.state_urls import is_local_or_empty_url
from synapse_apply.workspace import state_access, state_project
from synapse_apply.workspace.embedded import run_embedded_backend
from synapse_apply.workspace.environment import normalize_base_url
from synapse_apply.workspace.recovery_journal import read_valid_journal
from synapse_apply.workspace.selection import Names
from synapse_apply.workspace.state_key import (
    KeyInUse,
    SharedKey,
    find_or_make_shared_key,
    key_ids_of_digests,
    list_ci_key_commands,
    state_folder,
)
from synapse_apply.workspace.target_session import TargetSession

if TYPE_CHECKING:
    from synapse_apply.model.state import Acceptance
    from synapse_apply.operations.accept_difference import AcceptableResource
    from synapse_apply.workspace.recovery_journal import JournalContent


class TargetState(PartOfTarget):
    """The state of a target, as `OpenTarget.state` returns it.

    Only `accept`, `settle` and `rekey` need manifests, and only the first two call the backend, to
    look. What writes locks the state; all but these three do not wait for a lock that another run
    holds. Where a method has `confirm`, it is called before anything is written, while nothing is
    locked; where it returns False, NotApproved is raised.
    """

    def read(self) -> State:
        """Read the state: records by address, open calls, lineage, serial."""
        with self._connection.state_alone() as session:
            return session.store.read_state()

    def read_with_open_calls(self) -> tuple[State, OpenCalls]:
        """Read the state, and how to settle each call of unknown outcome."""
        with self._connection.state_alone() as session:
            return read_open_calls(session)

    def find_record(self, name: str) -> Record:
        """Find the record of one resource. Raises StateError for none, InputError for several."""
        with self._recorded(name) as (session, address):
            if (record := session.store.find_record(address)) is None:
                raise unknown_address(session, address)
            return record

    def list_inventory(self) -> list[dict[str, object]]:
        """List address, id, version and digest of every record."""
        with self._connection.state_alone() as session:
            state = session.store.read_state()
        return [dict(row) for row in build_inventory_sorted_by_address(state)]

    def format_inventory(self) -> str:
        """Format the inventory as YAML, for `import_objects`."""
        from synapse_apply.manifests.decode.loading import format_inventory

        return format_inventory(self.list_inventory())

    def write_backup(self, file: Path | str) -> None:
        """Copy the whole state to a file, consistent even while an apply runs."""
        path = self._path("file", file)
        require_no_link_out(path)
        with self._connection.state_alone() as session:
            session.store.write_backup(str(path))

    def forget(self, names: Sequence[str]) -> list[Address]:
        """Remove records, and return their addresses. The live objects stay.

        Their calls that may still act stay open.
        """
        names = require_names("names", names)
        with self._connection.state_alone() as session:
            addresses = Names.of_state(session.store.read_state()).choose_all(names)
            remove_records_keeping_objects(session, addresses)
        return addresses

    def rename(self, name: str, new_address: Address | str) -> Mapping[Address, Address]:
        """Rename a record and its releases' records, and return the new addresses.

        `new_address` is an Address or a text KIND/NAME; InputError for anything else.
        """
        new = require_address("new_address", new_address)
        with self._recorded(name) as (session, old):
            _require_possible_move(old, new)
            with session.lock_state_of_own_project("state mv"):
                state = session.store.read_state()
                renames = with_member_renames(state.records.values(), {old: new})
                for intent in state.open_intents:
                    # What has no record yet would be recorded under the old name, or over the new.
                    is_made = intent.verb == CREATE_VERB and intent.address in renames.values()
                    if intent.address not in state.records and (
                        is_made or str(old) in {str(intent.address), intent.series}
                    ):
                        raise open_call(intent.address, intent.verb)
                session.store.rename_addresses(renames, session.signer.sign_moved_run)
                session.note_in_audit((was, f"move to {now}", "") for was, now in renames.items())
            return renames

    def hand_over(
        self,
        name: str,
        to: TargetState,
        new_address: Address | str = "",
        *,
        warn: Callable[[Diagnostic], None] | None = None,
    ) -> Mapping[Address, Address]:
        """Record an object in the state of another target, then forget it here, with its releases.

        Returns the new address of each. The live objects do not change. If it ends halfway, both
        states record them, and the same call completes it. `warn` is that of `import_objects`.
        InputError where a manifest of this target still manages one of them, or `to` is of another
        backend or tenant; StateError where the outcome of a call is unknown, or one may still act.
        """
        from synapse_apply.operations.import_ import record_all_live_objects_or_none
        from synapse_apply.workspace.inventory_rows import InventoryRow

        name = require_text("name", name)
        with self._connection.ready() as session, session.lock_state_of_own_project("state mv"):
            state = session.store.read_state()
            if (old := Names.of_state(state).choose(name)) not in state.records:
                raise unknown_address(session, old)
            new = require_address("new_address", new_address or old)
            _require_possible_move(old, new)
            renames = with_member_renames(state.records.values(), {old: new})
            findings = [
                error_finding(
                    "The manifests still manage the object",
                    f"Target {session.target.name} would create or adopt {address} again.",
                    "Add `lifecycle: {external: true}` to its manifest here.",
                    address=str(address),
                    position=desired.position,
                )
                for address in renames
                if (desired := session.desired.get(address)) and not desired.is_external
            ]
            if findings:
                raise InputError(*findings)
            acting = open_intents.list_acting_calls(session, state, with_answered=True)
            for call in (*state.open_intents, *(call for _, call in acting)):
                if call.address in renames or call.series in {str(was) for was in renames}:
                    raise open_intents.with_acting_calls(
                        session, state, call.address, open_call(call.address, call.verb)
                    )
            with to._connection.ready() as other:
                if other.store.read_lineage() == state.lineage:
                    raise InputError.from_summary(
                        "Both targets have the same state",
                        f"{session.target.name} and {other.target.name}.",
                        "To rename an address in it, omit --to.",
                    )
                binding = other.store.read_state().binding
                if binding != state.binding:
                    raise InputError.from_summary(
                        "The targets have different backends or tenants",
                        f"{session.target.name}: {state_access.describe_identity(state.binding)}. "
                        f"{other.target.name}: {state_access.describe_identity(binding)}.",
                        "An object can only move between two states of one backend and tenant.",
                    )
                rows = {
                    now: InventoryRow(record.remote_id, record.api, record.digest or "")
                    for was, now in renames.items()
                    for record in [state.records[was]]
                }
                told = warn or (lambda _told: None)
                record_all_live_objects_or_none(other, rows, told, is_handed_over=True)
            session.store.remove_records(*renames)
            session.note_in_audit((was, f"move to {other.target.name}", "") for was in renames)
        return renames

    def accept(
        self,
        name: str,
        *,
        confirm: Callable[[AcceptableResource], bool] | None = None,
        until: str = "",
        reason: str = "",
    ) -> AcceptableResource:
        """Accept the live object unchanged, without a call. Raises NotApproved if not confirmed.

        What is declared counts as applied, until the end of the day `until` (UTC, YYYY-MM-DD).
        Reads manifests and backend for it. `confirm` gets the fields that differ; it is called also
        where none does, and that is recorded, too. InputError where it is not declared, StateError
        where it is not recorded, not live, or was written meanwhile.
        """
        from synapse_apply.operations.accept_difference import record_acceptance, require_acceptable
        from synapse_apply.operations.plan import plan
        from synapse_apply.planning.plan_input import PlanOptions

        name = require_text("name", name)
        with self._connection.ready() as session:
            if until and not (is_day(until) and until >= session.today):
                raise InputError.from_summary(
                    "The end of the exception is not in the future",
                    f"`{until}` is not a date, or is before today ({session.today}, UTC).",
                    f"{DAY_HINT[0].upper()}{DAY_HINT[1:]}.",
                )
            plan_result = plan(session, PlanOptions().with_target_rules(session.target))
            acceptable = require_acceptable(plan_result, session.names.choose(name))
            if confirm is not None and not confirm(acceptable):
                raise NotApproved.from_summary(
                    f"{acceptable.resource.address} was not accepted", "confirm returned False."
                )
            record_acceptance(session, plan_result, acceptable, until=until, reason=reason)
        return acceptable

    def undo_accept(self, name: str) -> tuple[Address, Acceptance]:
        """Show the differences of an accepted resource in plans again, and return them.

        StateError where nothing of it is accepted.
        """
        from synapse_apply.applying.records import revert_acceptance

        with self._recorded(name) as (session, address):
            with session.lock_state_of_own_project("state accept"):
                record = session.store.find_record(address)
                if record is None or record.accepted is None:
                    reason = "is not recorded" if record is None else "has no accepted difference"
                    raise StateError.from_summary(
                        "There is nothing to undo",
                        f"{address} {reason}.",
                        Text(Command("plan"), " shows the accepted differences of a target."),
                    )
                session.store.write_records(
                    replace(revert_acceptance(record), updated_at=session.clock.utc_now())
                )
                session.note_in_audit([(address, "undo accept", record.remote_id)])
            return address, record.accepted

    def settle(
        self,
        names: Sequence[str] = (),
        *,
        wait: Callable[[float, Sequence[Intent], float], None] | None = None,
    ) -> SettledCalls:
        """Find the outcome of open calls on the backend, and record it.

        All, or those of `names`. That a call was not done is certain only when it can no longer
        arrive. `wait(seconds, calls, longest)` lets so many seconds pass until they are looked up
        once more; after `longest` seconds all is certain. Without it such a call stays open.
        InputError where a name has no call open.
        """
        names = require_names("names", names)
        with self._connection.ready() as session:
            return Settling(session, wait).settle(names)

    def settle_as_not_done(
        self, name: str, *, warn: Callable[[Diagnostic], None] | None = None
    ) -> Intent:
        """Close open calls of an address as not done, after you checked the backend.

        Returns the first. `warn` gets a warning of each other, and of each that may still act.
        """
        with self._recorded(name) as (session, address):
            return close_as_not_done(session, address, moment=session.clock.utc_now(), warn=warn)

    def settle_with_job(self, name: str, job_id: str) -> Intent:
        """Close an open run with the job that it started, which the next apply follows.

        Reads the job. StateError where no run of it is open, or the job cannot be that of the run.
        """
        name, job_id = require_text("name", name), require_text("job_id", job_id)
        with self._connection.ready() as session:
            address = Names.of_state(session.store.read_state()).choose(name)
            return close_with_job(session, address, job_id, moment=session.clock.utc_now())

    def record_calls(
        self, file: Path | str, *, confirm: Callable[[JournalContent], bool] | None = None
    ) -> RecoveredCalls:
        """Record the calls that a run could not write to the state, then remove its file.

        A file that the state key did not sign is recorded only where `confirm`, which gets what it
        says, returns True. InputError for a file that was changed or is of another state,
        StateError where it contradicts the state; the file stays then.
        """
        path = self._path("file", file)
        with self._connection.state_alone() as session:
            journal = read_valid_journal(path, session.target.name, session.state_keys)
            if not journal.is_genuine and (confirm is None or not confirm(journal)):
                raise NotApproved.from_summary(
                    "The calls were not recorded", f"{path} cannot be verified: {journal.reason}."
                )
            return record_journal(session, path, journal)

    def restore(
        self, file: Path | str, *, confirm: Callable[[StateExchange], bool] | None = None
    ) -> RestoredState:
        """Replace the state with a backup of this target, and keep the former state.

        `confirm` gets the two states, where there is one to replace. StateError, with nothing
        replaced, for no backup, one of another backend, or another lineage than the pinned one.
        """
        path = self._path("file", file)
        with self._connection.state_alone() as session:
            target, identity = session.target, current_identity_of(session, is_read_only=True)
            backup = require_origin_of_intact_backup(str(path))
            require_restorable = partial(_require_restorable, target, identity, path)
            require_restorable(backup.binding, backup.lineage)
            replaced, current_state = None, None
            with suppress(StateError):
                replaced = session.store.read_state()
                current_state = StateOrigin(
                    replaced.binding, replaced.lineage, len(replaced.records)
                )
            exchange = StateExchange(backup, current_state)
            if confirm is not None and session.store.exists() and not confirm(exchange):
                raise NotApproved.from_summary(
                    "The state was not replaced", "confirm returned False."
                )
            with session.store.lock("state restore", repair=True):
                locked: State | None = None
                # What could be read before is read now, or nothing is replaced.
                try:
                    locked = session.store.read_state()
                except StateError:
                    if replaced is not None:
                        raise
                if confirm is not None and locked != replaced:
                    raise StateError.from_summary(
                        "The state changed after it was shown",
                        "Another run has written to the state in the meantime. Nothing was "
                        "replaced.",
                        "Run the command again.",
                    )
                kept_location = session.store.restore_backup_and_return_kept_path_or_empty(
                    str(path),
                    require_restorable,
                    str(state_folder(session.project) / f"{target.name}.{KEPT_FILE_SUFFIX}"),
                    lambda lineage: session.last_seen_files.read_farthest(lineage).progress,
                )
                warnings = list[Diagnostic]()
                if locked is not None and locked.binding == identity:
                    warnings += _keep_calls_of_replaced(session, locked)
            if difference := exchange.lineage_difference:
                undo_command = Command("state restore", kept_location, target=target.name)
                warning = warning_finding(
                    "A different state was replaced",
                    difference.replace("that is here", "that was here"),
                    Text("To undo this: ", undo_command, ".") if kept_location else "",
                    target=target.name,
                )
                warnings.append(warning)
            shared_ids = session.read_shared_ids()
            current_key = session.reload_state_keys().current_key
            if shared_ids and current_key and shared_ids.key_id not in ("", current_key.key_id):
                warning = warning_finding(
                    "The backup was made with a different state key",
                    f"The backup was made with key {shared_ids.key_id}; the available key is "
                    f"{current_key.key_id} from {current_key.origin}.",
                    Text(
                        "First run ",
                        Command("state rekey", target=target.name),
                        ", which uses the available key for the whole state.",
                    ),
                    target=target.name,
                )
                warnings.append(warning)
            return RestoredState(exchange, kept_location, tuple(warnings))

    def exists(self) -> bool:
        """Check whether the target has a state."""
        with self._connection.state_alone() as session:
            return session.store.exists()

    def create(
        self, *, lineage: str = "", key_file: Path | str | None = None, pin: bool = False
    ) -> CreatedState:
        """Create an empty state without records. It sends nothing to the backend.

        One that several machines share is bound to a state key and to the project. Without a key
        one is made in `key_file`. `lineage` is needed where the project file pins one, or where a
        state was here before. StateError where there is a state, InputError without a key.
        With `pin` the lineage is written into the project file, as `targets.NAME.state.lineage`.
        """
        path = self._path("key_file", key_file) if key_file is not None else None
        lineage = require_text("lineage", lineage)
        # A session that is open already knows of no state and no key.
        self._connection.disconnect()
        with self._connection.state_alone() as session:
            file = session.project.file if pin else None
            setting = ("targets", session.target.name, "state", "lineage")
            if file is not None and session.target.row is not None:
                raise InputError.from_summary(
                    "A target from a list cannot be pinned",
                    f"Target {session.target.name} is made from a row and a template, which all "
                    "targets of the list share. No state was created.",
                    "Leave out --pin.",
                    position=session.target.position,
                )
            if file is not None:  # nothing is made where it could not be pinned
                state_project.write_setting(file, setting, str(uuid4()), only_check=True)
            created = create_empty_state_and_missing_key(
                session, current_identity_of(session), lineage, path
            )
            if file is not None:
                state_project.write_setting(file, setting, created.lineage)
                step = f"Pinned the lineage in {file.name}: commit it."
                created = replace(created, is_pinned=True, steps=(step, *created.steps))
            return created

    def read_key(self) -> KeyInUse:
        """Return the key of the state's digests and signatures. Raises InputError without a key."""
        with self._connection.state_alone(read_only=True) as session:
            return KeyInUse.of_session(session)

    def copy_key(self, source: Path | str | None = None) -> tuple[KeyInUse, Path]:
        """Write the key in use, or the key of a file, to the place that commands read.

        InputError for a key that the state was not made with, and where another one is there.
        """
        path = self._path("source", source) if source is not None else None
        with self._connection.state_alone(read_only=True) as session:
            key = KeyInUse.of_session(session, path)
            if key.is_of_another_state:
                raise InputError.from_summary(
                    "The state has a different key",
                    f"The state of target {key.target} has key {', '.join(key.state_key_ids)}, and "
                    f"{key.key.key_id} is from {key.key.origin}. Nothing was written.",
                )
            return key, session.key_sources.place_key(key.key)

    def rekey(
        self,
        *,
        confirm: Callable[[], bool] | None = None,
        confirm_unverified: Callable[[Diagnostic], bool] = lambda _: False,
    ) -> RekeyResult:
        """Compute the state's digests and signatures with a new key, without a backend.

        The new key is that of the variable, else one that is made where the old one is. Secrets are
        resolved for it; what cannot be keeps its old digest. `confirm` is asked where whoever has
        the former key is shut out of a shared state, `confirm_unverified` where no key at hand can
        verify what would be signed. InputError without a key, StateError for a forged entry.
        """
        with self._connection.session_with_other_key() as session:
            rekey = Rekey(session)
            unverified = rekey.find_unverified()
            if unverified is not None and not confirm_unverified(unverified):
                raise NotApproved(
                    error_finding(unverified.summary, unverified.detail, unverified.hint)
                )
            if confirm is not None and rekey.will_shut_out_others and not confirm():
                raise NotApproved.from_summary("The state keeps its key", "confirm returned False.")
            return rekey.run(unverified)

    def rebind(self, *, confirm: Callable[[Rebinding], bool] | None = None) -> Rebinding:
        """Bind the state to the target's current url and tenant, and to this project.

        Only right for the same backend under another name. `confirm` gets what would change; where
        nothing would it is not asked. A new project id is written into the project file.
        """
        self._connection.disconnect()
        with self._connection.state_alone() as session:
            rebinding = Rebinding.of_session(session)
            if not rebinding.changes_anything:
                return rebinding
            if confirm is not None and not confirm(rebinding):
                raise NotApproved.from_summary(
                    "The state keeps its binding", "confirm returned False."
                )
            # Not `lock_state_of_own_project`: the state may be another project's.
            with session.store.lock("state rebind", session.lock_wait_seconds):
                if rebinding.project_id is not None:
                    if rebinding.project_id.is_new:
                        state_project.write_project_id(session.project, rebinding.project_id.text)
                        session.project = replace(session.project, id=rebinding.project_id.text)
                    key_id = rebinding.shared_ids.key_id
                    key = session.reload_state_keys().current_key if not key_id else None
                    # A state without a digest of another key is one of the key in use.
                    if key and key_ids_of_digests(session.store.read_state()) <= {key.key_id}:
                        key_id = key.key_id
                    session.store.replace_project_and_key_ids(
                        ProjectAndKeyIds(rebinding.project_id.text, key_id, rebinding.target)
                    )
                session.store.replace_backend_identity(rebinding.identity)
            return rebinding

    def copy_to(self, url: str | SecretRef) -> State:
        """Copy the whole state to a different store, compare both, and return the copy.

        The state that it came from stays. StateError where there is a state already.
        """
        with self._connection.state_alone() as session:
            environ = session.invocation.environ
            state_access.require_usable_bucket(session, url)
            # In such a store nothing unsigned is believed.
            location = state_access.resolve_state_url(url, session.project, environ)
            if is_bucket_url(location) or is_git_url(location):
                if session.target.is_embedded:
                    session.reload_state_keys(create=True)
                else:
                    hint = Text(
                        "Get the key from its owner. To create one, run `openssl rand "
                        "-base64 32`, put the result into "
                        f"{key_variable_of(session.target.name)}, and store it where every "
                        "machine can get it. On a terminal, this command creates one."
                    )
                    find_or_make_shared_key(session, hint)
            with closing(
                state_access.open_store_at_url(
                    url, session.project, session.target, environ, session.store_signer
                )
            ) as new_store:
                return copy_and_verify_state_under_source_lock(
                    session.store, new_store, session.lock_wait_seconds
                )

    def list_steps_after_copy(self, url: str | SecretRef) -> list[str]:
        """List the next steps for the key and the project of a copy.

        [] for a store of this machine alone. InputError for a variable that is not set.
        """
        with self._connection.state_alone() as session:
            environ, target = session.invocation.environ, session.target
            if target.is_embedded or is_local_or_empty_url(
                state_access.resolve_state_url(url, session.project, environ)
            ):
                return []
            variable = key_variable_of(target.name)
            current_key = session.reload_state_keys().current_key
            key_sentence = (
                f"The state key is in {current_key.origin}. Every machine and job that "
                f"uses this state needs it, in {variable} or in the user's key file."
                if current_key is not None
                else "There is no state key here, so nothing in the copy is signed: put one into "
                f"{variable}, then {Command('state rekey', target=target.name)}."
            )
            rebind_command = Command("state rebind", target=target.name)
            user_key_path = session.key_sources.user_key_path
            transport_lines = (
                [f"  {line}" for line in list_ci_key_commands(user_key_path, target.name)]
                if user_key_path is not None
                and current_key is not None
                and current_key.origin == str(user_key_path)
                else []
            )
            steps = [
                key_sentence,
                *transport_lines,
                f"Then bind the state to this project: {rebind_command}.",
            ]
            used_key_ids = key_ids_of_digests(session.store.read_state())
            if current_key is not None and not used_key_ids <= {current_key.key_id}:
                steps.append(
                    "Some secrets were digested with another key, and are not compared until "
                    f"{Command('state rekey', target=target.name)}."
                )
            return steps

    def unlock(self, lock_id: str) -> None:
        """Remove the lock with this id. If its run continues, its writes fail.

        StateError where it is not the id of the lock.
        """
        lock_id = require_text("lock_id", lock_id)
        with self._connection.state_alone() as session:
            session.store.remove_lock_even_if_in_use(lock_id)

    @contextmanager
    def _recorded(self, name: str) -> Iterator[tuple[TargetSession, Address]]:
        """A session of the state, and the address of what it records under a name; InputError."""
        name = require_text("name", name)
        with self._connection.state_alone() as session:
            yield session, Names.of_state(session.store.read_state()).choose(name)


def current_identity_of(session: TargetSession, *, is_read_only: bool = False) -> BackendIdentity:
    """The identity that a state of this target has now; sends nothing. InputError without a url.

    `is_read_only`: where the embedded backend has no data yet, none is made.
    """
    target = session.target
    if target.is_embedded:
        with run_embedded_backend(session.project.root, read_only=is_read_only) as embedded:
            return state_access.build_state_identity(embedded.url, target, embedded)
    if not target.url:
        raise InputError.from_summary(
            "The target has no url",
            f"A state belongs to one backend, and target {target.name} has no url: "
            f"{target.describe_setting_sources('url')}.",
            "Set targets.NAME.url in the project file, or SYNAPSE_HOST.",
            position=target.position,
        )
    return state_access.build_state_identity(normalize_base_url(target.url), target, None)


def remove_records_keeping_objects(session: TargetSession, addresses: list[Address]) -> None:
    """Remove records; the live objects stay. StateError for an address without a record."""
    with session.lock_state_of_own_project("state rm"):
        state = session.store.read_state()
        for address in addresses:
            if address not in state.records:
                raise unknown_address(session, address)
        open_intents.keep_acting_calls(session, state, addresses, {})
        session.store.remove_records(*addresses)
        session.note_in_audit((address, "forget", "") for address in addresses)


def close_as_not_done(
    session: TargetSession,
    address: Address,
    *,
    moment: str,
    warn: Callable[[Diagnostic], None] | None = None,
) -> Intent:
    """Close the open calls of an address as not done, because the user says so.

    `warn` is told of each beside the one that is returned, and of those that may still act.
    StateError when none is open, a recovery journal says that one was done, or no record could keep
    what may still change its object: an update, a delete, an upload of a debug release. The
    replacement of a published package is refused in any case.
    """
    with session.lock_state_of_own_project("state settle"):
        state = session.store.read_state()
        intents = _require_open_intents(session, state, address)
        halves = [
            one
            for one in state.open_intents
            if one.address != address and any(_share_request(one, own) for own in intents)
        ]
        acting = list[tuple[float, Intent]]()
        for intent in (*intents, *halves):
            open_intents.require_no_journal(session, state, intent)
            seconds = intent.seconds_left(session.target.settle_after, moment, session.uptime())
            if seconds > 0 and intent.address == address:
                _require_kept(session, state, intent, seconds)
                acting.append((seconds, replace(intent, state=IntentState.ABSENT)))
        for one in (*intents, *halves):
            closed = replace(one, state=IntentState.ABSENT)
            entry = session.actor.build_audit_entry(
                closed, f"settled by hand: {closed.state.outcome}", moment=moment
            )
            record = session.store.find_record(one.address)
            if record is not None and one.verb != RUN_VERB and record.is_object_of(one):
                record = record.with_given_up(closed, session.target.settle_after)
            session.store.close_ended_intent(closed, record, entry)
    warnings = [
        warning_finding(
            "Several calls were settled",
            f"{one.verb} of {address}, which was sent at {one.sent_at}, was also settled as "
            "not done.",
            address=str(address),
        )
        for one in intents[1:]
    ]
    warnings += [
        warning_finding(
            "Two calls are one request",
            f"One request creates {address} and {half.address}: both were settled as not done.",
            address=str(half.address),
        )
        for half in halves
    ]
    warnings += starmap(open_intents.acting_call_warning, acting)
    if warn is not None:
        for warning in warnings:
            warn(warning)
    return replace(intents[0], state=IntentState.ABSENT)


def _require_kept(session: TargetSession, state: State, call: Intent, seconds: float) -> None:
    """StateError where no record could keep a call that may still change its object.

    Nor is it enough that the record keeps an upload over the published package: where the backend
    shows no digest, nobody could tell that it has acted.
    """
    address, record = call.address, state.records.get(call.address)
    kind = session.catalogue.get(address.kind)
    is_replace = call.verb == REPLACE_VERB
    is_upload = is_replace or (
        call.digest is not None and kind is not None and kind.acts_again(call)
    )
    changes_object = is_upload if call.verb == CREATE_VERB else call.verb != RUN_VERB
    is_kept = record is not None and record.is_object_of(call) and not is_replace
    if is_kept or not changes_object:
        return
    keep = Text(Command("import", address, call.remote_id), " keeps it in a new record.")
    later = f"Run this again in {math.ceil(seconds)} s, when the call can no longer act."
    whose = f"recorded as id {record.remote_id}" if record else "not recorded"
    error = StateError.from_summary(
        "No record would show this call",
        f"{address} is {whose}, and what its {call.verb} may still do "
        f"{f'to id {call.remote_id} ' * bool(record)}would look like a change from outside"
        f"{', or show nowhere' * is_replace}.",
        later if record or is_upload else keep,
    )
    raise open_intents.with_acting_calls(session, state, address, error)


def _share_request(one: Intent, other: Intent) -> bool:
    """Whether one request makes both objects, of which one is the first of the other's series."""
    return (
        one.verb == other.verb == CREATE_VERB
        and (one.plan_id, one.sent_at) == (other.plan_id, other.sent_at)
        and (one.series == str(other.address) or other.series == str(one.address))
    )


def close_with_job(session: TargetSession, address: Address, job_id: str, *, moment: str) -> Intent:
    """Close an open run with the id of the job that it started, which the next apply follows.

    StateError when no run of the address is open, a recovery journal has another job for it, or the
    job cannot be that of the run: a passed run may let a release into other targets.
    """
    with session.lock_state_of_own_project("state settle"):
        state = session.store.read_state()
        intents = _require_open_intents(session, state, address)
        if not (runs := [one for one in intents if one.verb == RUN_VERB]):
            raise StateError.from_summary(
                "The open call is not a run",
                f"An earlier {intents[0].verb} of {address} is open, and it has no job.",
                Text(Command("state settle", address), " looks it up, or says how to settle it."),
            )
        other_address = jobs_of_last_runs(state.records).get(job_id)
        if other_address is not None:
            owner_text = "an earlier run of it" if other_address == address else str(other_address)
            raise _other_job_error(address, job_id, f"is recorded as the run of {owner_text}")
        # Of several runs the newest that may have started it.
        runs.sort(key=lambda one: one.sent_at)
        while reason := explain_other_job(
            session.api, job_id, runs[-1], partial(_find_earliest_arrival, session, runs[-1])
        ):
            if len(runs) == 1:
                raise _other_job_error(address, job_id, reason)
            runs.pop()
        intent = runs[-1]
        open_intents.require_no_journal(session, state, intent, job_id)
        closed_intent, record = with_job(intent, state.records.get(address), job_id, moment)
        entry = session.actor.build_audit_entry(
            closed_intent, f"settled by hand: job {job_id}", moment=moment
        )
        session.store.close_ended_intent(closed_intent, record, entry)
    return closed_intent


def _other_job_error(address: Address, job_id: str, reason: str) -> StateError:
    return StateError.from_summary(
        "This job belongs to a different run",
        f"Job {job_id} {reason}.",
        Text(
            Command("get jobs"),
            f" lists the jobs. If none belongs to {address}: ",
            Command("state settle", address, "--absent"),
            ".",
        ),
    )


def _find_earliest_arrival(session: TargetSession, call: Intent) -> datetime:
    """The earliest time, by the server's clock, at which a call can have reached the server.

    `settle_after` is allowed for the clocks, unless this machine sent the call since it started.
    """
    skew, uptime = session.backend.server_clock.skew, session.uptime()
    if skew is None or not uptime.boot or uptime.boot != call.sent_up.boot:
        return datetime.fromisoformat(call.sent_at) - timedelta(seconds=session.target.settle_after)
    # A server may cut the times that it tells to whole seconds.
    earlier = timedelta(seconds=(uptime.seconds - call.sent_up.seconds) + 1 - skew.low)
    return datetime.fromisoformat(session.clock.utc_now()) - earlier


def _require_open_intents(
    session: TargetSession, state: State, address: Address
) -> tuple[Intent, ...]:
    """The open intents of an address; StateError, with the open ones, where there is none."""
    intents = tuple(one for one in state.open_intents if one.address == address)
    if not intents:
        raise open_intents.build_no_open_call_error(session, address, state)
    return intents


def _require_possible_move(old: Address, new: Address) -> None:
    if old.kind != new.kind:
        raise InputError.from_summary(
            "A move cannot change the kind",
            f"{old} cannot become {new}: they are of different kinds.",
            "Specify two addresses of the same kind.",
        )
    if reason := explain_invalid_address(new):
        raise InputError.from_summary(
            "No manifest can have this address",
            f"{new}: {reason}.",
            "Use the address from its manifest.",
        )


def unknown_address(session: TargetSession, address: Address) -> StateError:
    """The error that an address has no record; it suggests similar ones."""
    state = session.store.read_state()
    hint = suggest_name(
        str(address), map(str, state.records), Text(Command("state show"), " lists the addresses.")
    )
    error = StateError.from_summary("The state does not record this address", f"{address}.", hint)
    return open_intents.with_acting_calls(session, state, address, error)


@frozen
class CreatedState:
    """A new state. `key` is that of a shared one, None for any other.

    `target` is the name of its target. `project_id` is the project that a shared one is bound to.
    `key_file` is the file in which its key was made, None where there was a key. `is_pinned`: the
    project file names its lineage; `is_of_list`: it cannot, as a list has the target. `steps` are
    sentences on what is to be done so that others can use it; none for a state of this machine.
    """

    target: str
    lineage: str
    is_pinned: bool
    is_of_list: bool = False
    project_id: state_project.ProjectId = state_project.NO_PROJECT_ID
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
    target, store = session.target, session.store
    pinned_lineage = target.state.lineage
    if pinned_lineage and lineage != pinned_lineage:
        raise StateError.from_summary(
            "The project file pins the lineage of this state",
            f"Target {target.name} is pinned to lineage {pinned_lineage}: an empty state "
            "would forget every object that it records.",
            Text(
                "Restore it: ",
                Command("state restore FILE"),
                "; or import what exists after ",
                Command("state init --lineage", pinned_lineage),
                ", which creates an empty state anyway.",
            ),
        )
    created = CreatedState(
        target.name, lineage or str(uuid4()), bool(pinned_lineage), target.row is not None
    )

    def create_store(shared_ids: ProjectAndKeyIds) -> None:
        progress = session.last_seen_files.read_farthest(created.lineage).progress
        store.create_state(state_identity, created.lineage, progress, shared_ids)

    if not session.is_state_shared:
        if key_file is not None:
            raise InputError.from_summary(
                "--key-file is for a state that several machines share",
                f"The state of target {target.name} is a file on this machine, and its key "
                "is created next to it.",
                "Leave out --key-file.",
            )
        if session.invocation.without_checkout:
            state_access.require_state_elsewhere(session)
        create_store(NO_SHARED_IDS)
        session.reload_state_keys(create=True)
        return created
    if store.exists():
        shared_ids = store.read_project_and_key_ids()
        state_access.require_no_error(
            state_project.project_findings(shared_ids, session.project, target)
        )
        raise fault("exists", store.where)
    _require_unseen_place(session, lineage)
    state_access.require_usable_bucket(session, target.state.url)
    hint = Text(
        "Get the key from its owner. To create one: ",
        Command("state init --key-file PATH", target=target.name),
        ", and store that file where every machine can get it.",
    )
    # Last the state, so that what is cut short can be repeated.
    shared_key = find_or_make_shared_key(session, hint, key_file)
    project_id, key = shared_key.project_id, shared_key.key
    key_id = key.key_id if key is not None else ""
    create_store(ProjectAndKeyIds(project_id.text, key_id, target.name))
    bucket_rule = (
        f"The state is at {store.where}. No lifecycle rule may expire current objects there: that "
        "would destroy the state. A rule that expires old versions is fine."
    )
    return replace(
        created,
        project_id=project_id,
        key=key,
        key_file=shared_key.key_file,
        steps=(
            *_iter_sharing_steps(shared_key, target.name),
            *([bucket_rule] * is_bucket_url(store.where)),
        ),
    )


def _iter_sharing_steps(shared_key: SharedKey, target_name: str) -> Iterator[str]:
    """What is to be done so that other machines can use a new shared state."""
    project_id, key = shared_key.project_id, shared_key.key
    if key is None:
        return
    if project_id.is_new:
        yield (
            f"Wrote project.id {project_id.text} into the project file: commit it. The state is "
            "bound to it."
        )
    elif not project_id.text:
        yield (
            "The state is not bound to a project, because the project file has no id. Run "
            f"{Command('state rebind', target=target_name)} where you can commit the change."
        )
    if shared_key.key_file is None:
        yield f"It is bound to state key {key.key_id}, from {key.origin}."
        return
    lost = ""
    if not shared_key.is_found_by_commands:
        lost = (
            f" No command looks there: put the key into {key_variable_of(target_name)}, or set "
            f"the file in the project file: targets.{target_name}.state.key: {{file: PATH}}."
        )
    yield (
        f"Created state key {key.key_id} in {shared_key.key_file}.{lost} Every machine and job "
        f"needs this key, so keep a copy. {Command('state key', target=target_name)} prints how "
        "to give it to a pipeline."
    )


def _require_unseen_place(session: TargetSession, lineage: str) -> None:
    """StateError where a state was seen that is gone now, unless its lineage is to go on."""
    seen_place = session.seen_place
    if seen_place is None or seen_place.lineage == lineage:
        return
    name, where = session.target.name, session.store.where
    raise StateError.from_summary(
        "This location had a state before",
        f"{where} has no state now, but had one of lineage {seen_place.lineage} when this "
        f"machine last read it, on {seen_place.seen_at}. An empty state would forget every "
        "object that it recorded.",
        Text(
            "Restore the deleted objects from old versions or from a clone that contains the "
            "commit, or restore the newest backup: ",
            Command("state restore FILE", target=name),
            ". If it is permanently gone, or was deleted on purpose: ",
            Command("state init", "--lineage", seen_place.lineage, target=name),
            " creates an empty state that succeeds it.",
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
        here = format_count_and_noun(current_state.record_count, "object")
        return (
            "The state that is here is not the state of the backup: it has lineage "
            f"{current_state.lineage} and {here}, the backup has lineage {backup.lineage} "
            f"and {format_count_and_noun(backup.record_count, 'object')}."
        )


def _keep_calls_of_replaced(session: TargetSession, replaced: State) -> list[Diagnostic]:
    """Keep the calls of a replaced state that may still act in the locked one; the warnings.

    One is of records that the new state lacks.
    """
    restored, warnings = session.store.read_state().records, list[Diagnostic]()
    known = {(a.kind, one.api, one.remote_id) for a, one in restored.items()}
    if lacking := [
        f"{address} (id {record.remote_id})"
        for address, record in replaced.records.items()
        if (address.kind, record.api, record.remote_id) not in known and address not in restored
    ]:
        warning = warning_finding(
            "The backup lacks records of the replaced state",
            f"{format_short_list(lacking)}. The objects may still exist, and apply "
            "could create them again.",
            Text(Command("import ADDRESS ID"), " records an object again."),
            target=session.target.name,
        )
        warnings.append(warning)
    addresses = {intent.address for intent in replaced.open_intents}
    kept = open_intents.list_acting_calls(session, replaced, with_answered=True)
    addresses.update(call.address for _, call in kept)
    if addresses:
        warnings += open_intents.keep_acting_calls(session, replaced, addresses, restored)
    return warnings


# A backup of another backend is refused, and so is another lineage than the pinned one. Without
# a pin the right backup must be able to replace a state that was made by mistake, so a changed
# lineage is only a warning that names both and the way back. What is replaced is kept, and a
# kept state never takes the place of another.
def _require_restorable(
    target: Target, identity: BackendIdentity, path: Path, bound: BackendIdentity, lineage: str
) -> None:
    """StateError for a backup that must not take the place of the target's state."""
    findings = []
    if bound != identity:
        hint = Text(
            "If the same backend moved: restore while the target still has its former url "
            "and tenant, then change them and run ",
            Command("state rebind", target=target.name),
            ".",
        )
        if identity.url == state_access.EMBEDDED_URL:
            hint = Text(
                "This data set does not have the objects of the backup's data set: ",
                Command("apply"),
                " creates them again.",
            )
        finding = error_finding(
            "This backup belongs to a different backend",
            f"{path} was made for {state_access.describe_identity(bound)}; target {target.name} is "
            f"{state_access.describe_identity(identity)}. Nothing was replaced.",
            Text(f"Choose a backup of target {target.name}. ", hint),
            position=target.position,
        )
        findings.append(finding)
    pinned_lineage = target.state.lineage
    if pinned_lineage and lineage != pinned_lineage:
        finding = error_finding(
            "This backup is not from the state that the project file pins",
            f"The project file pins lineage {pinned_lineage}, {path} has {lineage}. Nothing "
            "was replaced.",
            "Choose a backup of that state. If this backup is the right one, correct the "
            f"pin, targets.{target.name}.state.lineage.",
            position=target.position,
        )
        findings.append(finding)
    if findings:
        raise StateError(*findings)


@frozen
class RestoredState:
    """What took the place of what, and where the replaced state is kept; "" without one."""

    exchange: StateExchange
    kept_location: str
    warnings: tuple[Diagnostic, ...]


@frozen
class Rebinding:
    """What a state is bound to now and is to be bound to.

    `project_id` is the project's, None for a state that is not shared; `shared_ids` are those of
    the state, `target` is the name of the target.
    """

    bound_identity: BackendIdentity
    identity: BackendIdentity
    project_id: state_project.ProjectId | None = None
    shared_ids: ProjectAndKeyIds = NO_SHARED_IDS
    target: str = ""

    @classmethod
    def of_session(cls, session: TargetSession) -> Self:
        """What a rebind to the target's backend and to this project would change; writes nothing.

        StateError where the state belongs to a project and the project file names none: it may be
        that very project.
        """
        identity = current_identity_of(session)
        bound_identity, shared_ids = (
            session.store.read_backend_identity(),
            session.read_shared_ids(),
        )
        if shared_ids is None:
            return cls(bound_identity, identity)
        if shared_ids.project_id and not session.project.id:
            state_access.require_no_error(
                state_project.project_findings(shared_ids, session.project, session.target)
            )
        project_id, name = state_project.project_id_of(session.project), session.target.name
        return cls(bound_identity, identity, project_id, shared_ids, name)

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
        return f"{state_access.describe_identity(identity)}{target_part}{project_part}"

    @property
    def warning_text(self) -> str:
        """What to consider before it is done."""
        sentences = []
        if self.changes_identity:
            sentences.append("It must be the same backend.")
        if self.changes_target and self.shared_ids.target:
            sentences.append(
                f"After that, runs of a target named {self.shared_ids.target} are refused."
            )
        if self.changes_project and self.shared_ids.project_id:
            sentences.append("After that, runs of the state's current project are refused.")
        elif self.changes_project:
            sentences.append(
                "After that, runs with a project file without this id are refused: merge the id "
                "soon."
            )
        return " ".join(sentences)

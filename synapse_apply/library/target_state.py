"""Which methods a script has for the state of one target: what the `state` commands do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from synapse_apply.files.checkout import require_no_link_out
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import NotApproved
from synapse_apply.operations.connection import (
    TargetConnection,
    require_address,
    require_names,
    require_path,
    require_text,
)
from synapse_apply.operations.settle import (
    OpenCalls,
    RecoveredCalls,
    SettledCalls,
    read_open_calls,
    record_journal,
    settle_calls,
)
from synapse_apply.operations.state import (
    CreatedState,
    Rebinding,
    RekeyResult,
    RestoredState,
    StateExchange,
    build_rebinding,
    close_as_not_done,
    close_with_job,
    copy_state,
    create_empty_state_and_missing_key,
    current_identity_of,
    find_unverified,
    list_inventory,
    list_steps_after_copy,
    rebind_state,
    remove_records_keeping_objects,
    rename_address,
    renew_key,
    restore_backup,
    unknown_address,
    will_shut_out_others,
)
from synapse_apply.workspace.recovery_journal import read_valid_journal
from synapse_apply.workspace.selection import Names

if TYPE_CHECKING:
    from synapse_apply.model.address import Address
    from synapse_apply.model.diagnostic import Diagnostic
    from synapse_apply.model.state import Acceptance, Intent, Record, State
    from synapse_apply.model.values import SecretRef
    from synapse_apply.operations.accept_difference import AcceptableResource
    from synapse_apply.workspace.recovery_journal import JournalContent
    from synapse_apply.workspace.target_session import TargetSession


class TargetState:
    """The state of a target, as `OpenTarget.state` returns it.

    Only `accept`, `settle` and `rekey` need manifests, and only the first two call the backend, to
    look. What writes locks the state; all but these three do not wait for a lock that another run
    holds. Where a method has `confirm`, it is called before anything is written, while nothing is
    locked; where it returns False, NotApproved is raised.
    """

    def __init__(self, connection: TargetConnection) -> None:
        """`OpenTarget.state` is the way to get one."""
        self._connection = connection

    def read(self) -> State:
        """Everything that is recorded: records by address, open calls, lineage, serial."""
        with self._connection.state_alone() as session:
            return session.store.read_state()

    def read_with_open_calls(self) -> tuple[State, OpenCalls]:
        """The same, and how each call of unknown outcome can be settled."""
        with self._connection.state_alone() as session:
            return read_open_calls(session)

    def find_record(self, name: str) -> Record:
        """The record of one resource; StateError without one, InputError where several match."""
        with self._recorded(name) as (session, address):
            record = session.store.find_record(address)
            if record is None:
                raise unknown_address(session, address)
            return record

    def list_inventory(self) -> list[dict[str, object]]:
        """Address, id, version and digest of every record, as `state inventory` prints them."""
        with self._connection.state_alone() as session:
            return list_inventory(session)

    def format_inventory(self) -> str:
        """The same as YAML, which `import_objects` reads from a file."""
        from synapse_apply.manifests.decode.loading import format_inventory

        return format_inventory(self.list_inventory())

    def write_backup(self, file: Path | str) -> None:
        """Copy the whole state to a file, consistent even while an apply runs."""
        path = require_path("file", file, self._connection.invocation.directory)
        require_no_link_out(path)
        with self._connection.state_alone() as session:
            session.store.write_backup(str(path))

    def forget(self, names: Sequence[str]) -> list[Address]:
        """Remove records; the live objects stay. Returns the addresses that were removed.

        Their calls that may still act stay open.
        """
        names = require_names("names", names)
        with self._connection.state_alone() as session:
            addresses = Names.of_state(session.store.read_state()).choose_all(names)
            remove_records_keeping_objects(session, addresses)
        return addresses

    def rename(self, name: str, new_address: Address | str) -> Mapping[Address, Address]:
        """Rename a record, and its releases' records with it; returns the new address of each.

        `new_address` is an Address or a text KIND/NAME; InputError for anything else.
        """
        new_address = require_address("new_address", new_address)
        with self._recorded(name) as (session, old_address):
            return rename_address(session, old_address, new_address)

    def accept(
        self, name: str, *, confirm: Callable[[AcceptableResource], bool] | None = None
    ) -> AcceptableResource:
        """Accept a live object as it is, and send nothing; NotApproved where `confirm` says no.

        What is declared counts as applied. Reads manifests and backend for it. `confirm` gets the
        fields that differ; it is called also where none does, and that is recorded, too.
        InputError where it is not declared, StateError where it is not recorded, not live, or was
        written meanwhile.
        """
        from synapse_apply.operations.accept_difference import record_acceptance, require_acceptable
        from synapse_apply.operations.plan import plan
        from synapse_apply.planning.plan_input import PlanOptions

        name = require_text("name", name)
        with self._connection.ready() as session:
            plan_result = plan(session, PlanOptions().with_target_rules(session.target))
            acceptable = require_acceptable(plan_result, session.names.choose(name))
            if confirm is not None and not confirm(acceptable):
                raise NotApproved.from_summary(
                    f"{acceptable.resource.address} was not accepted", "confirm said no."
                )
            record_acceptance(session, plan_result, acceptable)
        return acceptable

    def undo_accept(self, name: str) -> tuple[Address, Acceptance]:
        """Show the differences of an accepted resource in plans again; returns what was undone.

        StateError where nothing of it is accepted.
        """
        from synapse_apply.operations.accept_difference import undo_acceptance

        with self._recorded(name) as (session, address):
            return address, undo_acceptance(session, address)

    def settle(
        self,
        names: Sequence[str] = (),
        *,
        wait: Callable[[float, Sequence[Intent], float], None] | None = None,
    ) -> SettledCalls:
        """Look up calls of unknown outcome on the backend, and record how they ended.

        All, or those of `names`. That a call was not done is certain only when it can no longer
        arrive. `wait(seconds, calls, longest)` lets so many seconds pass until they are looked up
        once more; after `longest` seconds all is certain. Without it such a call stays open.
        InputError where a name has no call open.
        """
        names = require_names("names", names)
        with self._connection.ready() as session:
            return settle_calls(session, names, wait)

    def settle_as_not_done(
        self, name: str, *, warn: Callable[[Diagnostic], None] | None = None
    ) -> Intent:
        """Close the open calls of an address as not done: you looked. StateError without any.

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
        """Record what a run did while its state could not be written; then remove its file.

        A file that the state key did not sign is recorded only where `confirm`, which gets what it
        says, returns True. InputError for a file that was changed or is of another state,
        StateError where it contradicts the state; the file stays then.
        """
        path = require_path("file", file, self._connection.invocation.directory)
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
        """Replace the state by a backup of this target; the state that was there is kept.

        `confirm` gets the two states, where there is one to replace. StateError, with nothing
        replaced, for no backup, one of another backend, or another lineage than the pinned one.
        """
        path = require_path("file", file, self._connection.invocation.directory)
        with self._connection.state_alone() as session:
            return restore_backup(session, path, confirm)

    def create(self, *, lineage: str = "", key_file: Path | str | None = None) -> CreatedState:
        """Create an empty state, which knows no object that exists; sends nothing.

        One that several machines share is bound to a state key and to the project. Without a key
        one is made in `key_file`. `lineage` is needed where the project file pins one, or where a
        state was here before. StateError where there is a state, InputError without a key.
        """
        folder = self._connection.invocation.directory
        path = require_path("key_file", key_file, folder) if key_file is not None else None
        lineage = require_text("lineage", lineage)
        # A session that is open already knows of no state and no key.
        self._connection.disconnect()
        with self._connection.state_alone() as session:
            return create_empty_state_and_missing_key(
                session, current_identity_of(session), lineage, path
            )

    def rekey(
        self,
        *,
        confirm: Callable[[], bool] | None = None,
        confirm_unverified: Callable[[Diagnostic], bool] = lambda _: False,
    ) -> RekeyResult:
        """Digest and sign what is recorded under another state key; sends nothing to the backend.

        The new key is that of the variable, else one that is made where the old one is. Secrets are
        resolved for it; what cannot be keeps its old digest. `confirm` is asked where whoever has
        the former key is shut out of a shared state, `confirm_unverified` where no key at hand can
        verify what would be signed. InputError without a key, StateError for a forged entry.
        """
        with self._connection.session_with_other_key() as session:
            unverified = find_unverified(session)
            if unverified is not None and not confirm_unverified(unverified):
                raise NotApproved(
                    error_finding(unverified.summary, unverified.detail, unverified.hint)
                )
            if confirm is not None and will_shut_out_others(session) and not confirm():
                raise NotApproved.from_summary(
                    "The state has the key that it had", "confirm said no."
                )
            return renew_key(session, unverified)

    def rebind(self, *, confirm: Callable[[Rebinding], bool] | None = None) -> Rebinding:
        """Bind the state to the target's url and tenant as they are now, and to this project.

        Only right for the same backend under another name. `confirm` gets what would change; where
        nothing would it is not asked. A new project id is written into the project file.
        """
        self._connection.disconnect()
        with self._connection.state_alone() as session:
            rebinding = build_rebinding(session, current_identity_of(session))
            if not rebinding.changes_anything:
                return rebinding
            if confirm is not None and not confirm(rebinding):
                raise NotApproved.from_summary("The state is bound as it was", "confirm said no.")
            rebind_state(session, rebinding)
            return rebinding

    def copy_to(self, url: str | SecretRef) -> State:
        """Copy the whole state to another store, and compare the two; returns the copy.

        The state that it came from stays. StateError where there is a state already.
        """
        with self._connection.state_alone() as session:
            return copy_state(session, url)

    def list_steps_after_copy(self, url: str | SecretRef) -> list[str]:
        """What is to be done with the key and the project of a copy, as sentences.

        [] for a store of this machine alone. InputError for a variable that is not set.
        """
        with self._connection.state_alone() as session:
            return list_steps_after_copy(session, url)

    def unlock(self, lock_id: str) -> None:
        """Remove the lock with this id, even if its run goes on: then its writes fail.

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

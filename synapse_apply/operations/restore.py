"""When a backup may replace a state, and what is kept of the replaced one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from synapse_apply.live.open_intents import keep_acting_calls, list_acting_calls
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.errors import NotApproved, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Target
from synapse_apply.model.state import BackendIdentity
from synapse_apply.operations.state import build_current_state_identity
from synapse_apply.stores.backups import KEPT_FILE_SUFFIX
from synapse_apply.stores.snapshot import StateOrigin
from synapse_apply.stores.sqlite.sqlite_database import require_origin_of_intact_backup
from synapse_apply.workspace.sharing.key_sources import build_state_folder_path
from synapse_apply.workspace.state_access import (
    EMBEDDED_URL,
    describe_state_identity,
)
from synapse_apply.workspace.target_session import TargetSession


@frozen
class StateExchange:
    """A backup and the state that it would replace; None where no state can be read."""

    backup: StateOrigin
    current_state: StateOrigin | None

    @property
    def lineage_difference_sentence_or_empty(self) -> str:
        """A sentence where backup and current state are of different lineages, else ""."""
        current_state, backup = self.current_state, self.backup
        if current_state is None or current_state.lineage == backup.lineage:
            return ""
        return (
            f"The state that is here is not the one of the backup: it has lineage "
            f"{current_state.lineage} "
            f"and {_format_object_count(current_state)}, the backup has lineage {backup.lineage} "
            f"and {_format_object_count(backup)}."
        )


@frozen
class RestoredState:
    """What took the place of what, and where the replaced state is kept; "" without one."""

    exchange: StateExchange
    kept_location: str
    warnings: tuple[Diagnostic, ...]


def restore_backup_or_raise_not_approved(
    session: TargetSession, path: Path, confirm: Callable[[StateExchange], bool] | None
) -> RestoredState:
    """Replace the state by a backup, where `confirm`, if given, agrees; else NotApproved.

    It is asked only where there is a state to replace. StateError, with nothing replaced, for a
    backup of another backend and for one of another lineage than the project file pins. The
    restored state gets a serial above every one that was seen here, so that it is not refused as
    an older copy. Calls that may still act stay open in it.
    """
    target, identity = session.target, build_current_state_identity(session, is_read_only=True)
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
        str(build_state_folder_path(session.project) / f"{target.name}.{KEPT_FILE_SUFFIX}"),
        lambda lineage: session.last_seen_files.read_farthest_progress_or_zero(lineage).progress,
    )
    acting: list[Diagnostic] = []
    if replaced is not None and replaced.binding == identity:
        addresses = {call.address for _, call in list_acting_calls(session, replaced)}
        if addresses:
            with session.store.lock("state restore"):
                restored = session.store.read_state().records
                acting = keep_acting_calls(session, replaced, addresses, restored)
    warnings = (
        *acting,
        *build_warning_if_lineage_was_replaced(exchange, kept_location, target),
        *_build_warning_if_bound_to_other_key(session),
    )
    return RestoredState(exchange, kept_location, warnings)


def build_warning_if_lineage_was_replaced(
    state_exchange: StateExchange, kept_path: str, target: Target
) -> tuple[Diagnostic, ...]:
    """A warning where the replaced state was of another lineage than the backup."""
    if not state_exchange.lineage_difference_sentence_or_empty:
        return ()
    undo_command = Command("state restore", kept_path, target=target.name)
    return (
        warning_finding(
            "Another state was replaced",
            state_exchange.lineage_difference_sentence_or_empty.replace(
                "that is here", "that was here"
            ),
            Text("If that was wrong: ", undo_command, ".") if kept_path else "",
            target=target.name,
        ),
    )


def _build_warning_if_bound_to_other_key(session: TargetSession) -> tuple[Diagnostic, ...]:
    """A warning where the restored state is bound to another key than the one in use."""
    shared_ids, current_key = (
        session.read_project_and_key_ids_or_none_if_unshared(),
        session.reload_state_keys().current_key,
    )
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
        *_build_identity_mismatch_findings(path, target, state_identity, backup_identity),
        *_build_lineage_mismatch_findings(path, target, lineage),
    )
    if findings:
        raise StateError(*findings)


def _build_identity_mismatch_findings(
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
        f"{path} was made for {describe_state_identity(backup_identity)}; target {target.name} is "
        f"{describe_state_identity(state_identity)}. Nothing was replaced.",
        Text(f"Name a backup of target {target.name}. ", hint),
        position=target.position,
    )
    return (finding,)


# A backup of another backend is refused, and so is another lineage than the pinned one. Without a
# pin the right backup must be able to replace a state that was made by mistake, so a changed
# lineage is only a warning that names both and the way back. What is replaced is kept, and a kept
# state never takes the place of another.
def _build_lineage_mismatch_findings(
    path: Path, target: Target, lineage: str
) -> tuple[Diagnostic, ...]:
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

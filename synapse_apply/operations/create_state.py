"""When an empty state is created, with which key, and to which project a shared one is bound."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.state import NO_SHARED_IDS, BackendIdentity, ProjectAndKeyIds
from synapse_apply.operations.checks.state_bucket import probe_and_require_usable_if_bucket_url
from synapse_apply.secrets.keys import StateKey
from synapse_apply.stores.bucket.bucket_url import is_bucket_url
from synapse_apply.stores.git.git_url import is_git_url
from synapse_apply.stores.state_messages import build_existing_state_error
from synapse_apply.workspace.sharing.new_shared_key import (
    SharedKey,
    build_lines_about_new_key,
    find_or_make_shared_key_and_write_project_id,
)
from synapse_apply.workspace.sharing.project_binding import (
    NO_PROJECT_ID,
    ProjectId,
    build_project_binding_findings,
)
from synapse_apply.workspace.state_access import require_no_error_and_return_warnings
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
    _require_lineage_fits_pin(session, lineage)
    new_lineage = lineage or str(uuid.uuid4())
    if not session.is_state_shared:
        if key_file is not None:
            raise InputError.from_summary(
                "--key-file is for a state that several machines share",
                f"The state of target {session.target.name} is a file of this machine, and its "
                "key is made beside it.",
                "Leave it out.",
            )
        _create_state_beyond_seen_progress(session, state_identity, new_lineage)
        session.reload_state_keys(create=True)
        return CreatedState(session.target.name, new_lineage, bool(session.target.state.lineage))
    _require_no_state(session)
    _require_place_unseen_or_of_same_lineage(session, lineage)
    probe_and_require_usable_if_bucket_url(session, session.target.state.url)
    hint = Text(
        "Get it from whoever has it. To make one: ",
        Command("state init --key-file PATH", target=session.target.name),
        ", and keep that file where all of them get it.",
    )
    # Last the state, so that what is cut short can be repeated.
    shared_key = find_or_make_shared_key_and_write_project_id(session, hint, key_file)
    project_id, key = shared_key.project_id, shared_key.key
    key_id = key.key_id if key is not None else ""
    shared_ids = ProjectAndKeyIds(project_id.text, key_id, session.target.name)
    _create_state_beyond_seen_progress(session, state_identity, new_lineage, shared_ids)
    return CreatedState(
        session.target.name,
        new_lineage,
        bool(session.target.state.lineage),
        project_id,
        key,
        shared_key.key_file,
        (
            *_iter_sharing_steps(shared_key, session.target.name),
            *list_access_notes_of_location(session.store.where),
        ),
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
    yield from build_lines_about_new_key(
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


def list_access_notes_of_location(location: str) -> tuple[str, ...]:
    """Sentences on who reads and writes a store, or may not, by its location; () for most."""
    if is_bucket_url(location):
        return (f"The state is at {location}.", _BUCKET_RULES)
    if not is_git_url(location):
        return ()
    return (f"The state is at {location}.", _GIT_READERS, _GIT_WRITERS)


def _create_state_beyond_seen_progress(
    session: TargetSession,
    state_identity: BackendIdentity,
    lineage: str,
    shared_ids: ProjectAndKeyIds = NO_SHARED_IDS,
) -> None:
    session.store.create_state(
        state_identity,
        lineage,
        session.last_seen_files.read_farthest_progress_or_zero(lineage).progress,
        shared_ids,
    )


def _require_lineage_fits_pin(session: TargetSession, lineage: str) -> None:
    pinned_lineage = session.target.state.lineage
    if pinned_lineage and lineage != pinned_lineage:
        raise StateError.from_summary(
            "The project file pins the lineage of this state",
            f"Target {session.target.name} is pinned to lineage {pinned_lineage}: an empty state "
            f"would "
            "forget every object it remembers.",
            Text(
                "Restore it: ",
                Command("state restore FILE"),
                "; or import what exists after ",
                Command("state init --lineage", pinned_lineage),
                ", which makes an empty one anyway.",
            ),
        )


def _require_no_state(session: TargetSession) -> None:
    """StateError for a state that exists; it says where that is another project's or target's."""
    if not session.store.exists():
        return
    shared_ids = session.store.read_project_and_key_ids()
    require_no_error_and_return_warnings(
        build_project_binding_findings(shared_ids, session.project, session.target)
    )
    raise build_existing_state_error(session.store.where)


def _require_place_unseen_or_of_same_lineage(session: TargetSession, lineage: str) -> None:
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

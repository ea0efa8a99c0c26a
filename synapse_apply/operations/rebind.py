"""To which backend and project `state rebind` binds a state, and whom that shuts out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from synapse_apply.model.errors import NotApproved
from synapse_apply.model.frozen import frozen
from synapse_apply.model.state import NO_SHARED_IDS, BackendIdentity, ProjectAndKeyIds
from synapse_apply.workspace.sharing.key_findings import collect_key_ids_of_digests
from synapse_apply.workspace.sharing.project_binding import (
    ProjectId,
    build_project_binding_findings,
    get_or_generate_project_id,
    write_project_id_or_raise_if_other,
)
from synapse_apply.workspace.state_access import (
    describe_state_identity,
    require_no_error_and_return_warnings,
)
from synapse_apply.workspace.target_session import TargetSession


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
    def changes_backend_identity(self) -> bool:
        return self.bound_identity != self.identity

    @property
    def changes_project(self) -> bool:
        return self.project_id is not None and self.shared_ids.project_id != self.project_id.text

    @property
    def changes_target(self) -> bool:
        return self.shared_ids.target != self.target

    @property
    def changes_anything(self) -> bool:
        return self.changes_backend_identity or self.changes_project or self.changes_target

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
        return f"{describe_state_identity(identity)}{target_part}{project_part}"

    @property
    def warning_text(self) -> str:
        """What to consider before it is done."""
        sentences = []
        if self.changes_backend_identity:
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


def build_rebinding_or_raise_if_project_unnamed(
    session: TargetSession, identity: BackendIdentity
) -> Rebinding:
    """What a rebind to `identity`, and to this project, would change; writes nothing.

    StateError where the state belongs to a project and the project file names none: it may be
    that very project.
    """
    bound_identity, shared_ids = (
        session.store.read_backend_identity(),
        session.read_project_and_key_ids_or_none_if_unshared(),
    )
    if shared_ids is None:
        return Rebinding(bound_identity, identity)
    if shared_ids.project_id and not session.project.id:
        require_no_error_and_return_warnings(
            build_project_binding_findings(shared_ids, session.project, session.target)
        )
    return Rebinding(
        bound_identity,
        identity,
        get_or_generate_project_id(session.project),
        shared_ids,
        session.target.name,
    )


def rebind_or_raise_not_approved(
    session: TargetSession,
    identity: BackendIdentity,
    confirm: Callable[[Rebinding], bool] | None = None,
) -> Rebinding:
    """Bind the state to `identity` and this project; returns what changed, which may be nothing.

    NotApproved where `confirm`, which is asked only about a change, says no. StateError as
    `build_rebinding_or_raise_if_project_unnamed`.
    """
    rebinding = build_rebinding_or_raise_if_project_unnamed(session, identity)
    if not rebinding.changes_anything:
        return rebinding
    if confirm is not None and not confirm(rebinding):
        raise NotApproved.from_summary("The state is bound as it was", "confirm said no.")
    rebind_state_and_write_project_id(session, rebinding)
    return rebinding


def rebind_state_and_write_project_id(session: TargetSession, rebinding: Rebinding) -> None:
    """Bind the state; a new id is written into the project file first.

    A shared state that names no key gets that of the one in use, unless it has digests of others.
    """
    # Not `lock_state_of_own_project`: the state may be another project's.
    with session.store.lock("state rebind", session.lock_wait_seconds):
        if rebinding.project_id is not None:
            if rebinding.project_id.is_new:
                write_project_id_or_raise_if_other(session.project, rebinding.project_id.text)
                session.project = replace(session.project, id=rebinding.project_id.text)
            key_id = rebinding.shared_ids.key_id or _find_undisputed_key_id_or_empty(session)
            session.store.replace_project_and_key_ids(
                ProjectAndKeyIds(rebinding.project_id.text, key_id, rebinding.target)
            )
        session.store.replace_backend_identity(rebinding.identity)


def _find_undisputed_key_id_or_empty(session: TargetSession) -> str:
    """The id of the key in use, where all digests of the state are of that key; else ""."""
    current_key = session.reload_state_keys().current_key
    if current_key is None:
        return ""
    used_ids = collect_key_ids_of_digests(session.store.read_state())
    return current_key.key_id if used_ids <= {current_key.key_id} else ""

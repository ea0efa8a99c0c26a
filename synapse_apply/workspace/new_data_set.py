"""How a new embedded data set and its state are created: both or none."""

from __future__ import annotations

from synapse_apply.model.project import EMBEDDED, Project
from synapse_apply.workspace import embedded, state_access
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.target_session import TargetSession


def create_embedded_data_set(project: Project, invocation: Invocation, profile: str = "") -> None:
    """Create both before another client can write to the data set.

    Does nothing where one of them exists: apply then reports what does not fit.
    """
    from synapse_apply.emulator.core.data_folder import DATABASE

    with TargetSession(invocation) as session:
        session.project, session.target = project, project.targets[EMBEDDED]
        database = embedded.data_folder_path(project.root) / DATABASE
        if session.store.exists() or database.exists():
            return
        with embedded.open_embedded_backend(project.root, profile=profile) as backend:
            identity = state_access.build_state_identity(backend.url, session.target, backend)
            is_new = state_access.create_embedded_or_require_state(
                session.store, session.target, identity, backend
            )
            session.load_state_keys(create=is_new)

"""When a data set of the embedded backend and its state are created before the first apply."""

from __future__ import annotations

from functools import partial

from synapse_apply.model.project import EMBEDDED, Project
from synapse_apply.workspace import embedded, state_access
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.target_session import TargetSession


def create_embedded_data_set_and_state_if_both_absent(
    project: Project, invocation: Invocation, profile: str = ""
) -> bool:
    """Create the data set, then the key and the state, as an apply does; returns whether it did.

    Nothing is created where one of them exists: the next apply reports what does not fit. Where
    the state cannot be created the data set stays, and the next apply creates the state.
    """
    from synapse_apply.emulator.core.data_folder import DATABASE

    with TargetSession(invocation) as session:
        session.project, session.target = project, project.targets[EMBEDDED]
        database = embedded.build_embedded_data_folder_path(project.root) / DATABASE
        if session.store.exists() or database.exists():
            return False
        with embedded.start_or_join_embedded_backend(project.root, profile=profile) as backend:
            identity = state_access.build_state_identity(backend.url, session.target, backend)
            state_access.create_new_embedded_or_require_own_state(
                session.store,
                session.target,
                identity,
                backend,
                partial(session.reload_state_keys, create=True),
            )
    return True

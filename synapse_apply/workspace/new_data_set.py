"""A data set of the embedded backend that is new, and the state that remembers it: both or none."""

from __future__ import annotations

from contextlib import closing

from synapse_apply.model.project import EMBEDDED, Project
from synapse_apply.workspace import embedded, state_access
from synapse_apply.workspace.invocation import Invocation


def create_embedded_data_set(project: Project, invocation: Invocation, profile: str = "") -> None:
    """Make both, as an apply would, before anybody can write to the data set.

    Where one of the two is there already nothing is made: apply then says what does not fit.
    """
    from synapse_apply.emulator.core.place import DATABASE

    target, environ = project.targets[EMBEDDED], invocation.environ
    with closing(state_access.open_store(project, target, environ)) as store:
        if store.exists() or (embedded.data_folder_path(project.root) / DATABASE).exists():
            return
        with embedded.open_embedded_backend(project.root, profile=profile) as embedded_backend:
            state_identity = state_access.build_state_identity(
                embedded_backend.url, target, embedded_backend
            )
            is_new_state = state_access.ensure_state(
                store, target, state_identity, embedded_backend
            )
            state_access.load_state_keys(project, target, environ, create=is_new_state)

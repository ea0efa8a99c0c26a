"""A data set of the embedded backend that is new, and the state that remembers it: both or none."""

from __future__ import annotations

from synapse_apply.model.project import EMBEDDED, Project
from synapse_apply.session import embedded, state_file
from synapse_apply.session.where import Where


def make_embedded(project: Project, where: Where, profile: str = "") -> None:
    """Make both, as an apply would, before anybody can write to the data set.

    Where one of the two is there already nothing is made: apply then says what does not fit.
    """
    from synapse_apply.emulator.core.place import DATABASE

    target = project.targets[EMBEDDED]
    store = state_file.open_store(project, target, where.environ)
    try:
        if store.exists() or (embedded.data_folder(project.root) / DATABASE).exists():
            return
        with embedded.running(project.root, profile=profile) as running:
            binding = state_file.binding_of(running.url, target, running)
            made = state_file.ensure(store, target, binding, running)
            state_file.keys(project, target, where.environ, create=made)
    finally:
        store.close()

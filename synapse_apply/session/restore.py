"""Use case: put a backup in a state's place, once it is certain whose it is."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path

from synapse_apply.model.diagnostic import Diagnostic, error, warning
from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.ports import StateStore
from synapse_apply.model.project import Target
from synapse_apply.model.state import Binding, Position
from synapse_apply.session.context import StateContext
from synapse_apply.session.state_file import EMBEDDED_URL, describe, folder
from synapse_apply.stores.contents import Origin
from synapse_apply.stores.kept import KEPT
from synapse_apply.stores.sqlite import origin


@frozen
class Exchange:
    """A backup, and the state that it would replace; None where none can be read."""

    backup: Origin
    before: Origin | None

    @property
    def of_another(self) -> str:
        """In words, where the state is another one than that of which the backup is a copy."""
        before, backup = self.before, self.backup
        if before is None or before.lineage == backup.lineage:
            return ""
        return (
            f"The state that is here is not the one of the backup: it has lineage {before.lineage} "
            f"and {_count(before)}, the backup has lineage {backup.lineage} and {_count(backup)}."
        )


def exchange(context: StateContext, path: Path, binding: Binding) -> Exchange:
    """What a restore would do; StateError where it must not: see `restore`. Nothing is written."""
    backup = origin(str(path))
    _check(path, context.target, binding, backup.binding, backup.lineage)
    return Exchange(backup, _before(context.store))


def restore(context: StateContext, path: Path, binding: Binding) -> str:
    """Replace the state by a backup; where the one before is kept, "" where there was none.

    StateError, and nothing replaced, for a backup that was made for something else than
    `binding`, and for one of another lineage than the project file pins. Its serial ends above
    all that was seen of it here: who restores means it to be the newest.
    """
    vet = partial(_check, path, context.target, binding)
    keep = folder(context.project) / f"{context.target.name}.{KEPT}"

    def above(lineage: str) -> Position:
        return context.seen.of(lineage).position

    return context.store.restore(str(path), vet, str(keep), above)


def replaced(found: Exchange, kept: str, target: Target) -> tuple[Diagnostic, ...]:
    """A warning where the state that was here was another than that of the backup."""
    if not found.of_another:
        return ()
    back = f"synapse-apply state restore {shlex.quote(kept)} -t {target.name}"
    return (
        warning(
            "Another state was replaced",
            found.of_another.replace("that is here", "that was here"),
            f"If that was wrong: `{back}`." if kept else "",
            target=target.name,
        ),
    )


def _before(store: StateStore) -> Origin | None:
    try:
        state = store.read()
    except StateError:
        return None
    return Origin(state.binding, state.lineage, len(state.records))


def _check(path: Path, target: Target, binding: Binding, has: Binding, lineage: str) -> None:
    found = (*_of_backend(path, target, binding, has), *_of_lineage(path, target, lineage))
    if found:
        raise StateError(*found)


def _of_backend(
    path: Path, target: Target, binding: Binding, has: Binding
) -> tuple[Diagnostic, ...]:
    if has == binding:
        return ()
    way = (
        "If the backend moved and is the same one: restore while the target still has its former "
        f"url and tenant, then change them and run `synapse-apply state rebind -t {target.name}`."
    )
    if binding.url == EMBEDDED_URL:
        way = "What another data set held is not in this one: `synapse-apply apply` makes it anew."
    finding = error(
        "This backup belongs to another backend",
        f"{path} was made for {describe(has)}; target {target.name} is {describe(binding)}. "
        "Nothing was replaced.",
        f"Name a backup of target {target.name}. {way}",
        position=target.position,
    )
    return (finding,)


def _of_lineage(path: Path, target: Target, lineage: str) -> tuple[Diagnostic, ...]:
    pinned = target.state.lineage
    if not pinned or lineage == pinned:
        return ()
    finding = error(
        "This backup is not of the state that the project file pins",
        f"The project file pins lineage {pinned}, {path} has {lineage}. Nothing was replaced.",
        "Name a backup of that state. If this is the right one: correct the pin, "
        f"targets.{target.name}.state.lineage.",
        position=target.position,
    )
    return (finding,)


def _count(state: Origin) -> str:
    return "1 object" if state.records == 1 else f"{state.records} objects"

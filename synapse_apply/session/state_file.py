"""Which state belongs to a target, and whether it is the right one (design section 5)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

from synapse_apply import __version__
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Diagnostic, error, warning
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.model.ports import StateStore
from synapse_apply.model.project import Project, Target
from synapse_apply.model.state import Binding
from synapse_apply.model.values import SecretRef, leaves
from synapse_apply.secrets.keys import KEY_VARIABLE, Keys, load_keys, variable_of
from synapse_apply.secrets.resolve import Resolver
from synapse_apply.session.embedded import Embedded
from synapse_apply.session.own_folder import check_own_folder, trusted_state
from synapse_apply.session.surroundings import run_url
from synapse_apply.stores.lock import Runner
from synapse_apply.stores.postgres_url import is_postgres
from synapse_apply.stores.sql import SqlStore
from synapse_apply.stores.sqlite import open_sqlite

EMBEDDED_URL = "embedded:"
NO_STATE = "has objects, but there is no state that remembers them"
OTHER_DATA = "is another data set than the one this state remembers"


def folder(project: Project) -> Path:
    """Where the local states of a project are kept."""
    return project.root / ".synapse-apply" / "state"


def key_path(project: Project, target: Target) -> Path:
    """The file of a target's state key."""
    return folder(project) / f"{target.name}.key"


def previous_key_path(path: Path) -> Path:
    """Where the key before this one is kept, to check what it digested."""
    return path.with_name(path.name + ".previous")


def keys(
    project: Project, target: Target, environ: Mapping[str, str], *, create: bool = False
) -> Keys:
    """The state keys of a target: the one in use first, then those that can still check."""
    path = key_path(project, target)
    check_own_folder(project.root)
    previous = previous_key_path(path)
    return load_keys(environ, path, target=target.name, create=create, previous=previous)


def key_findings(
    keys: Keys, project: Project, target: Target, desired: Mapping[Address, Desired]
) -> tuple[Diagnostic, ...]:
    """The key's own warnings, and one where there is no key at all for what needs one."""
    found = list(keys.warnings)
    if keys.current is None and needs_key(desired):
        found.append(keyless(project, target))
    if keys.current is None and _proves_for_others(project, target, desired):
        found.append(_build_unsigned_warning(project, target))
    return tuple(found)


def _proves_for_others(
    project: Project, target: Target, desired: Mapping[Address, Desired]
) -> bool:
    """Whether runs are declared here which another target requires."""
    others = (other.require_verified for other in project.targets.values())
    required = any(target.name in names for names in others)
    return required and any(one.verify is not None for one in desired.values())


def _build_unsigned_warning(project: Project, target: Target) -> Diagnostic:
    """The runs of a target are required by another, and no key signs them."""
    return warning(
        "There is no state key: the results of runs are not signed",
        f"Neither {variable_of(target.name)}, {KEY_VARIABLE} nor {key_path(project, target)} holds "
        f"a key. Targets that require_verified {target.name} believe no run without a signature.",
        "Restore the key, or make one and keep it where all runs get it: openssl rand -base64 32. "
        "What was verified before: `synapse-apply verify`.",
        target=target.name,
    )


def keyless(project: Project, target: Target) -> Diagnostic:
    """There are secrets, and no key at all that could digest them."""
    return warning(
        "There is no state key: secrets are not compared",
        f"Neither {KEY_VARIABLE} nor {key_path(project, target)} holds the key that this state's "
        "secrets were digested with.",
        "Restore the key. If it is lost: `synapse-apply state rekey` digests anew what can be "
        "resolved.",
        target=target.name,
    )


def needs_key(desired: Mapping[Address, Desired]) -> bool:
    """Whether a secret is declared."""
    specs = (one.spec for one in desired.values())
    return any(isinstance(value, SecretRef) for spec in specs for value in leaves(spec).values())


def open_store(project: Project, target: Target, environ: Mapping[str, str]) -> SqlStore:
    """The store of a target; nothing is created or read yet.

    StateError where a file of the checkout stands in the state's place.
    """
    return open_store_at(target.state.url, project, target, environ)


def existing_store(project: Project, target: Target, environ: Mapping[str, str]) -> SqlStore:
    """The same; StateError without a state, also where one could be made: who looks makes none."""
    store = open_store(project, target, environ)
    if store.exists():
        return store
    store.close()
    if not target.is_embedded:
        raise missing(target)
    failure = StateError.of(
        "There is no state for this target",
        f"Nothing was applied to target {target.name} yet, so nothing is recorded.",
        "`synapse-apply apply` makes its state.",
    )
    raise StateError(*failure.diagnostics)


def open_store_at(
    url: str | SecretRef, project: Project, target: Target, environ: Mapping[str, str]
) -> SqlStore:
    """The store at a url, which may hold a password; empty means the local default file.

    InputError for a url that no store understands; it repeats nothing of it but the scheme.
    """
    if isinstance(url, SecretRef):
        url = str(Resolver(project.root, environ).resolve_setting(url).reveal())
    runner = Runner(run_url(environ), target.name)
    if is_postgres(url):
        return _in_postgres(url, target, runner)
    scheme, found, _ = url.partition("://")
    if found and scheme not in ("sqlite", "file"):
        raise InputError.of(
            "There is no such store for state",
            f"state.url of target {target.name} begins with {scheme}://.",
            "Use a path, sqlite:///PATH or postgresql://USER@HOST/DATABASE.",
            position=target.position,
        )
    at = local_path(url, project) or folder(project) / f"{target.name}.db"
    at = trusted_state(at, project.root)
    return open_sqlite(at, tool_version=__version__, runner=runner)


def local_path(url: str, project: Project) -> Path | None:
    """The file that a url of a state names; None where it is empty, or names another store."""
    if is_postgres(url):
        return None
    path = url.removeprefix("sqlite:///").removeprefix("file://")
    return project.root / path if path else None


def _in_postgres(url: str, target: Target, runner: Runner) -> SqlStore:
    try:
        from synapse_apply.stores.postgres import open_postgres
    except ImportError:
        raise InputError.of(
            "State in PostgreSQL needs one more package",
            f"Target {target.name} keeps its state in PostgreSQL; psycopg is not installed.",
            "pip install 'synapse-apply[postgres]'",
            position=target.position,
        ) from None
    return open_postgres(url, target.name, tool_version=__version__, runner=runner)


def binding_of(url: str, target: Target, embedded: Embedded | None) -> Binding:
    """What the state of this target must be bound to."""
    if embedded is not None:
        return Binding(EMBEDDED_URL, "", embedded.data_set)
    return Binding(url, target.tenant)


def ensure(store: StateStore, target: Target, binding: Binding, embedded: Embedded | None) -> bool:
    """The state is there and is this target's, or StateError says how to get there.

    The state of a fresh embedded data set is made here, nothing can be lost by it; True then.
    """
    if not store.exists():
        if embedded is None:
            raise missing(target)
        if not embedded.fresh:
            raise half(target, NO_STATE)
        store.init(binding, target.state.lineage or str(uuid.uuid4()))
        return True
    if embedded is not None and store.binding().data_set != binding.data_set:
        raise half(target, OTHER_DATA)
    check_binding(store, target, binding)
    return False


def check_binding(store: StateStore, target: Target, binding: Binding) -> None:
    """StateError when this state belongs to another backend, tenant or lineage."""
    found = (
        *other_backend(store.binding(), target, binding),
        *other_lineage(store.lineage(), target),
    )
    if found:
        raise StateError(*found)


def other_backend(has: Binding, target: Target, binding: Binding) -> tuple[Diagnostic, ...]:
    """An error where a state is bound to something else than the target is now."""
    if has == binding:
        return ()
    finding = error(
        "This state belongs to another backend",
        f"It was made for {describe(has)}; target {target.name} is {describe(binding)}.",
        "Correct the target's url or tenant. If the backend moved and is the same one: "
        f"`synapse-apply state rebind -t {target.name}`.",
        position=target.position,
    )
    return (finding,)


def other_lineage(has: str, target: Target) -> tuple[Diagnostic, ...]:
    """An error where a state is not the one that the project file pins."""
    pinned = target.state.lineage
    if not pinned or has == pinned:
        return ()
    finding = error(
        "This state is not the one that the project file pins",
        f"The project file pins lineage {pinned}, this state has {has}.",
        "Restore the right one: `synapse-apply state restore FILE`.",
        position=target.position,
    )
    return (finding,)


def missing(target: Target) -> StateError:
    """There is no state, and making one silently could make second copies."""
    pinned = target.state.lineage
    at = f"-t {target.name}"
    init = f"`synapse-apply state init{f' --lineage {pinned}' if pinned else ''} {at}`"
    failure = StateError.of(
        "There is no state for this target",
        f"Target {target.name} has no state here. Without one, objects that exist already could "
        "be made a second time.",
        f"If there was one: `synapse-apply state restore FILE {at}`. If objects exist already: "
        f"{init}, then `synapse-apply import -f inventory.yaml {at}` with the inventory that "
        f"`synapse-apply state inventory` or `export` wrote, or `synapse-apply import ADDRESS ID "
        f"{at}` for each. "
        f"If this is a new target: {init}.",
        position=target.position,
    )
    return StateError(*failure.diagnostics)


def half(target: Target, what: str) -> StateError:
    """The embedded backend and its state are no pair; `what` ends a sentence about the first."""
    failure = StateError.of(
        "The embedded backend and its state do not belong together",
        f"The embedded backend {what}.",
        "Start both over: `synapse-apply emulator reset`. It removes the embedded objects and "
        f"the state of target {target.name}, nothing else.",
    )
    return StateError(*failure.diagnostics)


def describe(binding: Binding) -> str:
    """A binding in words."""
    if binding.url == EMBEDDED_URL:
        return f"the embedded data set {binding.data_set}"
    return f"{binding.url}" + (f" (tenant {binding.tenant})" if binding.tenant else "")

"""Use case: turn what is live into manifests and an inventory: a backend comes under Git."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from synapse_apply.kinds.descriptor import ResourceType
from synapse_apply.manifests.export_files import SCHEMA_FILE, Layout, Written, write_export
from synapse_apply.manifests.exporting import Exporter, SecretVariable
from synapse_apply.manifests.inventory import inventory_text
from synapse_apply.manifests.naming import free_name
from synapse_apply.manifests.unseen import shows_secret
from synapse_apply.model.address import Address
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.masked import has_masked
from synapse_apply.model.observed import Observed
from synapse_apply.model.threads import threads
from synapse_apply.model.values import Reference
from synapse_apply.secrets.resolve import Resolver
from synapse_apply.session import declare
from synapse_apply.session.gather import Gatherer, Missed, Wanted, called, owner_prefix
from synapse_apply.session.known_secrets import know_declared
from synapse_apply.session.reach import Reach, state_of

PUBLISHED = {"source": "published"}


@frozen
class Exported:
    """An object and the manifest that declares it; `left_out` are fields that it does not have.

    `secrets` are those that it takes from variables: path and variable, and in words.
    """

    address: Address
    remote_id: str
    api: str
    version: str
    text: str
    left_out: tuple[str, ...] = ()
    secrets: tuple[SecretVariable, ...] = ()


@frozen
class Export:
    """What became manifests, by address, and what could not; whether the target has a state."""

    exported: tuple[Exported, ...]
    missed: tuple[Missed, ...]
    has_state: bool = True

    @property
    def inventory(self) -> list[dict[str, str | None]]:
        """Rows as `import -f` reads them."""
        return [
            {
                "address": str(one.address),
                "id": one.remote_id,
                "api": one.api,
                "version": one.version or None,
            }
            for one in self.exported
        ]


def export(
    reach: Reach, wanted: Wanted, *, only: Sequence[str] = (), unmanaged: bool = False
) -> Export:
    """Manifests of what is live. Reads the backend and the state, writes nothing.

    `only` are prefixes of kinds; `unmanaged` leaves out what the state records. RemoteError where
    a list cannot be had; what concerns one object alone is among what was missed.
    """
    _know_manifests(reach)
    records, has_state = _recorded(reach)
    with threads(reach.where.parallelism) as pool:
        gatherer = Gatherer(reach, wanted, pool)
        gatherer.gather()
    chosen = set(only or reach.catalogue)
    maker = _Maker(reach, gatherer, records, chosen)
    for kind in sorted(reach.catalogue.values(), key=lambda kind: kind.rank):
        maker.make(kind)
    known = set(records.values()) if unmanaged else set()
    return Export(
        tuple(
            one
            for one in sorted(maker.exported, key=lambda one: one.address)
            if one.address.kind in chosen and one.address not in known
        ),
        tuple(one for one in maker.missed if one.prefix in chosen),
        has_state,
    )


def _know_manifests(reach: Reach) -> None:
    """Have the secrets of the project's manifests masked, as far as these can be read."""
    project, target, where = reach.project, reach.target, reach.where
    allowed = (target.allow_env, target.allow_files, project.reserved)
    resolver = Resolver(project.root, where.environ, *allowed)
    with suppress(SynapseApplyError, OSError):
        found = declare.loaded(where, project, target)
        redactor = reach.backend.redactor
        know_declared(redactor, found.desired.values(), found.marks, resolver.resolve)


def _recorded(reach: Reach) -> tuple[dict[tuple[str, str], Address], bool]:
    """The addresses that the state has for live objects, by kind and id; whether there is a state.

    Ids of another API version than the target's are none of its own.
    """
    with state_of(reach) as store:
        records, has_state = (store.read().records, True) if store else ({}, False)
    apis = {prefix: kind.binding(reach.target.api).api for prefix, kind in reach.catalogue.items()}
    ours = {at: record for at, record in records.items() if record.api == apis.get(at.kind)}
    return {(at.kind, record.remote_id): at for at, record in ours.items()}, has_state


class _Maker:
    """Gives every object its name and its manifest, or the reason why it has none."""

    def __init__(
        self,
        reach: Reach,
        gatherer: Gatherer,
        records: Mapping[tuple[str, str], Address],
        chosen: Collection[str],
    ) -> None:
        self._gatherer = gatherer
        self._chosen = chosen
        self._records = records
        self._catalogue = reach.catalogue
        live = (one.spec for prefix in reach.marks().kinds for one in gatherer.found(prefix))
        self._exporter = Exporter(
            reach.project,
            reach.target,
            reach.marks(),
            f"../{SCHEMA_FILE.as_posix()}",
            shows_secret(live),
        )
        self._taken: dict[str, set[str]] = defaultdict(set)
        for address in records.values():
            self._taken[address.kind].add(address.name)
        self._addresses: dict[tuple[str, str], Address] = dict(records)
        self.exported: list[Exported] = []
        self.missed: list[Missed] = list(gatherer.missed)

    def make(self, kind: ResourceType) -> None:
        """All of one kind; what its members belong to comes before."""
        objects = self._gatherer.found(kind.prefix)
        alike = self._alike(kind, objects)
        for one in objects:
            others = [other for other in alike[self._key(kind, one)] if other is not one]
            why = self._why_not(kind, one, others)
            if why:
                self._miss(kind, one, why)
            else:
                self._add(kind, one, self._address(kind, one))

    def _add(self, kind: ResourceType, one: Observed, address: Address) -> None:
        # A map that may be the package's own would be declared a second time.
        spec: dict[str, Any] = {
            name: value
            for name, value in one.spec.items()
            if not (kind.rules[name].packaged and kind.rules[name].free_form)
            and value != kind.rules[name].usual
        }
        if kind.series:
            owner = address.name.rpartition("@")[0]
            by_id = owner.startswith("id=")
            spec[kind.series] = (
                {"id": _number(owner.removeprefix("id="))}
                if by_id
                else Reference(Address(owner_prefix(kind), owner))
            )
        made = self._exporter.manifest(address, spec, PUBLISHED if kind.carries_package else {})
        left = tuple(map(str, made.left_out))
        if not made.text:
            self._miss(kind, one, "; ".join(left) or "no manifest can hold it")
            return
        self._addresses[kind.prefix, one.remote_id] = address
        self._taken[address.kind].add(address.name)
        version = str(one.spec.get(kind.version, "")) if kind.series else ""
        exported = Exported(address, one.remote_id, one.api, version, made.text, left, made.secrets)
        self.exported.append(exported)

    def _address(self, kind: ResourceType, one: Observed) -> Address:
        """The recorded address, or one that is not taken; the same each time."""
        recorded = self._records.get((kind.prefix, one.remote_id))
        if recorded is not None:
            return recorded
        if kind.series:
            owner = self._owner_name((owner_prefix(kind), str(one.spec[kind.series])))
            return Address(kind.prefix, f"{owner}@{one.spec.get(kind.version, '')}")
        text = self._key(kind, one).partition("=")[2]
        names = self._taken[kind.prefix]
        return Address(kind.prefix, free_name(text, one.remote_id, kind.prefix, names))

    def _owner_name(self, owner: tuple[str, str]) -> str:
        """By its name, where a manifest can declare that; else by its id."""
        declared = owner in self._records or owner[0] in self._chosen
        return self._addresses[owner].name if declared else f"id={owner[1]}"

    def _why_not(self, kind: ResourceType, one: Observed, others: Sequence[Observed]) -> str:
        if kind.series:
            owner = (owner_prefix(kind), str(one.spec.get(kind.series)))
            recorded = self._records.get((kind.prefix, one.remote_id))
            needed = owner[0] in self._chosen
            if needed and owner not in self._addresses and recorded is None:
                return f"its {owner[0]} (id {owner[1]}) was not exported"
        if has_masked(one.spec):
            return "a text of it repeats a secret, which no manifest may hold: change it there"
        if others:
            form, _, text = self._key(kind, one).partition("=")
            ids = ", ".join(other.remote_id for other in others)
            return f"{form} {text!r} is also that of id {ids}: rename one, then export again"
        return ""

    def _alike(
        self, kind: ResourceType, objects: Sequence[Observed]
    ) -> Mapping[str, list[Observed]]:
        """Objects by natural key: a manifest could not say which of several it means."""
        alike: dict[str, list[Observed]] = defaultdict(list)
        for one in objects:
            alike[self._key(kind, one)].append(one)
        return alike

    def _key(self, kind: ResourceType, one: Observed) -> str:
        """The natural key; of what has none, one of its own."""
        owner = None
        if kind.series:
            owners = self._gatherer.by_id(owner_prefix(kind))
            owner = owners.get(str(one.spec.get(kind.series)))
        key = kind.natural_key(one.spec, {kind.series: owner} if owner is not None else {})
        if key or not kind.series:
            return key or f"id={one.remote_id}"
        return f"version={one.spec.get(kind.version)} of id {one.spec.get(kind.series)}"

    def _miss(self, kind: ResourceType, one: Observed, why: str) -> None:
        name = called(one)
        if kind.series:
            owner = self._addresses.get((owner_prefix(kind), str(one.spec.get(kind.series))))
            before = f"{owner.name}@" if owner else ""
            name = f"{before}{one.spec.get(kind.version, '')} (id {one.remote_id})"
        self.missed.append(Missed(kind.prefix, f"{kind.prefix} {name}", why))


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def write(made: Export, folder: Path, inventory: Path, *, force: bool = False) -> Written:
    """Write a file an object under `folder`, the schema that they name, and the inventory.

    All or nothing: InputError names every file that is there with other content, which only
    `force` replaces, and every link in the way.
    """
    if not made.exported:
        return Written()
    files = {folder / name: text for name, text in _named(made.exported).items()}
    return write_export(
        Layout(folder, inventory), files, inventory_text(made.inventory), force=force
    )


def _named(exported: Sequence[Exported]) -> dict[str, str]:
    """Texts by file name; names stay apart where a file system takes A for a."""
    files: dict[str, str] = {}
    taken_names: set[str] = set()
    for one in exported:
        name = f"{one.address.kind}s/{one.address.name}"
        if name.lower() in taken_names:
            name += f".{one.remote_id}"
        taken_names.add(name.lower())
        files[f"{name}.yaml"] = one.text
    return files

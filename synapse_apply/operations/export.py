"""Which live objects `export` turns into manifests, under which addresses, and which not."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from synapse_apply.kinds.descriptor import ResourceType
from synapse_apply.live.discovery import (
    GatherQuery,
    MissedObject,
    ObjectGatherer,
    format_name_with_id,
    owner_prefix_of,
)
from synapse_apply.live.live_backend import LiveBackend
from synapse_apply.manifests.export.export import (
    SCHEMA_FILE,
    Exporter,
    ExportLayout,
    ExportResult,
    SecretVariable,
    has_any_secret,
    make_unused_name,
    write_export,
)
from synapse_apply.manifests.export.inventory import format_inventory
from synapse_apply.manifests.files.manifest_files import ManifestPaths
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import InputError, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Observed
from synapse_apply.model.runtime.parallel_reads import open_thread_pool
from synapse_apply.model.secrets.masked_text import contains_masked_text
from synapse_apply.model.values import Reference
from synapse_apply.operations.protected_files import explain_protection
from synapse_apply.views.paths import format_path_relative_to_cwd_if_inside
from synapse_apply.workspace.invocation import Invocation

PUBLISHED_SOURCE = {"source": "published"}


@frozen
class ExportedObject:
    """A live object and the text of the manifest that declares it.

    `left_out_fields` are the fields of the object that the manifest does not have. `secrets` are
    the values that it takes from variables instead.
    """

    address: Address
    remote_id: str
    api: str
    version: str
    text: str
    left_out_fields: tuple[str, ...] = ()
    secrets: tuple[SecretVariable, ...] = ()


@frozen
class ExportReport:
    """The manifests by address, the objects that got none, and whether the target has a state."""

    objects: tuple[ExportedObject, ...]
    missed_objects: tuple[MissedObject, ...]
    has_state: bool = True

    @property
    def inventory_rows(self) -> list[dict[str, str | None]]:
        """Rows as `import -f` reads them."""
        return [
            {
                "address": str(exported_object.address),
                "id": exported_object.remote_id,
                "api": exported_object.api,
                "version": exported_object.version or None,
            }
            for exported_object in self.objects
        ]

    @property
    def is_complete(self) -> bool:
        """Whether nothing that was asked for was left out."""
        has_left_out = any(exported_object.left_out_fields for exported_object in self.objects)
        return not has_left_out and not any(missed.is_failure for missed in self.missed_objects)


@frozen
class ExportedFiles:
    """An export that was written: what is in it, and in which files.

    `next_steps` are sentences on how to go on from it, in order.
    """

    report: ExportReport
    files: tuple[Path, ...]
    unchanged_files: tuple[Path, ...]
    inventory: Path
    next_steps: tuple[str, ...]


def export_to_folder(
    live_backend: LiveBackend,
    query: GatherQuery,
    folder: Path,
    inventory: Path,
    *,
    only: Sequence[str] = (),
    unmanaged: bool = False,
    force: bool = False,
) -> ExportedFiles:
    """Read live objects, and write them as manifests with an inventory; all or nothing.

    InputError names every existing file with other content, which only `force` replaces, and every
    link in the way.
    """
    report = build_manifests(live_backend, query, only=only, unmanaged=unmanaged)
    written = ExportResult()
    if report.objects:
        files = {folder / name: text for name, text in _file_texts(report.objects).items()}
        rows = format_inventory(report.inventory_rows)
        written = write_export(ExportLayout(folder, inventory), files, rows, force=force)
    steps = (
        *_iter_folder_hint(live_backend, folder),
        *_iter_state_steps(live_backend, report),
        Text(
            Command("import -f", format_path_relative_to_cwd_if_inside(inventory)),
            " takes them into the state.",
        ),
        Text(Command("plan"), " says how they differ from the manifests."),
    )
    return ExportedFiles(report, tuple(written.files), tuple(written.unchanged), inventory, steps)


def choose_inventory_path(
    invocation: Invocation, folder: Path, requested_path: Path | None
) -> Path:
    """The inventory's path, by default beside `folder`; InputError for one of our own files."""
    path = requested_path or folder.parent / "inventory.yaml"
    if reason := explain_protection(path, invocation, inventory=True):
        raise InputError.from_summary(
            "The inventory cannot be written",
            f"{format_path_relative_to_cwd_if_inside(path)} {reason}; nothing was done.",
            "Choose another place with --inventory.",
        )
    return path


def build_manifests(
    live_backend: LiveBackend,
    query: GatherQuery,
    *,
    only: Sequence[str] = (),
    unmanaged: bool = False,
) -> ExportReport:
    """Build manifests of live objects. Reads the backend and the state, writes nothing.

    `only` are prefixes of kinds; `unmanaged` leaves out what the state records. RemoteError where
    a list cannot be read; an object that cannot be exported is among `missed_objects`.
    """
    with suppress(SynapseApplyError, OSError):
        live_backend.mask_secrets_of(live_backend.manifests_alone)
    recorded_addresses, has_state = _map_recorded(live_backend)
    with open_thread_pool(live_backend.invocation.parallelism) as pool:
        gatherer = ObjectGatherer(live_backend, query, pool)
        gatherer.gather()
    chosen_kinds = set(only or live_backend.catalogue)
    maker = _ManifestMaker(live_backend, gatherer, recorded_addresses, chosen_kinds)
    # Owners before members: a release is named after the address that its plugin got.
    for kind in sorted(live_backend.catalogue.values(), key=lambda kind: kind.rank):
        maker.add_kind(kind)
    excluded_addresses = set(recorded_addresses.values()) if unmanaged else set()
    return ExportReport(
        tuple(
            entry
            for entry in sorted(maker.exported_objects, key=lambda entry: entry.address)
            if entry.address.kind in chosen_kinds and entry.address not in excluded_addresses
        ),
        tuple(entry for entry in maker.missed_objects if entry.prefix in chosen_kinds),
        has_state,
    )


def _map_recorded(live_backend: LiveBackend) -> tuple[dict[tuple[str, str], Address], bool]:
    """Recorded addresses by (kind, remote id), and whether the target has a state.

    A record of another API version is left out: its id may be another object's in this one.
    """
    store = live_backend.existing_store
    records, has_state = (store.read_state().records, True) if store else ({}, False)
    addresses = {
        (address.kind, record.remote_id): address
        for address, record in records.items()
        if address.kind in live_backend.catalogue
        and record.api == live_backend.select_binding(address.kind).api
    }
    return addresses, has_state


class _ManifestMaker:
    """Chooses the address of every object and builds its manifest, or notes why it has none."""

    def __init__(
        self,
        live_backend: LiveBackend,
        gatherer: ObjectGatherer,
        recorded_addresses: Mapping[tuple[str, str], Address],
        chosen_kinds: Collection[str],
    ) -> None:
        self._gatherer = gatherer
        self._chosen_kinds = chosen_kinds
        self._recorded_addresses = recorded_addresses
        self._catalogue = live_backend.catalogue
        live_specs = (
            observed.spec
            for prefix in live_backend.careful_marks.kinds
            for observed in gatherer.list_gathered(prefix)
        )
        self._exporter = Exporter(
            live_backend.project,
            live_backend.target,
            live_backend.careful_marks,
            f"../{SCHEMA_FILE.as_posix()}",
            has_any_secret(live_specs),
        )
        self._used_names: dict[str, set[str]] = defaultdict(set)
        # Names of the state are taken, also of objects that are not exported now.
        for address in recorded_addresses.values():
            self._used_names[address.kind].add(address.name)
        self._addresses: dict[tuple[str, str], Address] = dict(recorded_addresses)
        self.exported_objects: list[ExportedObject] = []
        self.missed_objects: list[MissedObject] = list(gatherer.missed_objects)

    def add_kind(self, kind: ResourceType) -> None:
        """Build the manifests of one kind. Owners must come before members of their series."""
        objects = self._gatherer.list_gathered(kind.prefix)
        objects_by_key = self._group_by_key(kind, objects)
        for observed in objects:
            same_key_objects = [
                other_object
                for other_object in objects_by_key[self._key_of(kind, observed)]
                if other_object is not observed
            ]
            reason = self._explain_not_exportable(kind, observed, same_key_objects)
            if reason:
                self._add_missed_object(kind, observed, reason)
            else:
                self._add_manifest(kind, observed, self._choose_address(kind, observed))

    # An exported manifest is decoded again: what does not validate, or reads back differently, is
    # left out and reported.
    def _add_manifest(self, kind: ResourceType, observed: Observed, address: Address) -> None:
        # A map that may be the package's own would be declared a second time.
        spec: dict[str, Any] = {
            name: value
            for name, value in observed.spec.items()
            if not (kind.rules[name].packaged and kind.rules[name].free_form)
            and value != kind.rules[name].usual_value
        }
        if kind.series_field:
            owner = address.name.rpartition("@")[0]
            is_owner_id = owner.startswith("id=")
            spec[kind.series_field] = (
                {"id": _parse_decimal(owner.removeprefix("id="))}
                if is_owner_id
                else Reference(Address(owner_prefix_of(kind), owner))
            )
        manifest = self._exporter.build_manifest(
            address, spec, PUBLISHED_SOURCE if kind.carries_package else {}
        )
        left_out_fields = tuple(map(str, manifest.left_out))
        if not manifest.text:
            self._add_missed_object(
                kind, observed, "; ".join(left_out_fields) or "no manifest can hold it"
            )
            return
        self._addresses[kind.prefix, observed.remote_id] = address
        self._used_names[address.kind].add(address.name)
        version = str(observed.spec.get(kind.version_field, "")) if kind.series_field else ""
        exported = ExportedObject(
            address,
            observed.remote_id,
            observed.api,
            version,
            manifest.text,
            left_out_fields,
            manifest.secrets,
        )
        self.exported_objects.append(exported)

    def _choose_address(self, kind: ResourceType, observed: Observed) -> Address:
        """The recorded address, else a new unused one, which is the same in each export."""
        recorded_address = self._recorded_addresses.get((kind.prefix, observed.remote_id))
        if recorded_address is not None:
            return recorded_address
        if kind.series_field:
            owner = self._owner_name((owner_prefix_of(kind), str(observed.spec[kind.series_field])))
            return Address(kind.prefix, f"{owner}@{observed.spec.get(kind.version_field, '')}")
        text = self._key_of(kind, observed).partition("=")[2]
        used_names = self._used_names[kind.prefix]
        return Address(
            kind.prefix, make_unused_name(text, observed.remote_id, kind.prefix, used_names)
        )

    def _owner_name(self, owner_kind_and_id: tuple[str, str]) -> str:
        """The owner's name where the owner has a manifest, else `id=` and its id."""
        kind_prefix, owner_id = owner_kind_and_id
        is_recorded = owner_kind_and_id in self._recorded_addresses
        if is_recorded or kind_prefix in self._chosen_kinds:
            return self._addresses[owner_kind_and_id].name
        return f"id={owner_id}"

    def _explain_not_exportable(
        self, kind: ResourceType, observed: Observed, same_key_objects: Sequence[Observed]
    ) -> str:
        """Why an object gets no manifest, as the end of a sentence; "" where it gets one."""
        if kind.series_field:
            owner = (owner_prefix_of(kind), str(observed.spec.get(kind.series_field)))
            recorded_address = self._recorded_addresses.get((kind.prefix, observed.remote_id))
            is_owner_chosen = owner[0] in self._chosen_kinds
            if is_owner_chosen and owner not in self._addresses and recorded_address is None:
                return f"its {owner[0]} (id {owner[1]}) was not exported"
        if contains_masked_text(observed.spec):
            return "a text of it repeats a secret, which no manifest may hold: change it there"
        if same_key_objects:
            form, _, text = self._key_of(kind, observed).partition("=")
            ids = ", ".join(other_object.remote_id for other_object in same_key_objects)
            return f"{form} {text!r} is also that of id {ids}: rename one, then export again"
        return ""

    def _group_by_key(
        self, kind: ResourceType, objects: Sequence[Observed]
    ) -> Mapping[str, list[Observed]]:
        """Objects by natural key: a manifest could not say which of several it means."""
        objects_by_key: dict[str, list[Observed]] = defaultdict(list)
        for observed in objects:
            objects_by_key[self._key_of(kind, observed)].append(observed)
        return objects_by_key

    def _key_of(self, kind: ResourceType, observed: Observed) -> str:
        """The natural key, else a text that is unique to the object, such as `id=7`."""
        owner = None
        if kind.series_field:
            owners = self._gatherer.gathered_by_id(owner_prefix_of(kind))
            owner = owners.get(str(observed.spec.get(kind.series_field)))
        key = kind.derive_natural_key_or_empty(
            observed.spec, {kind.series_field: owner} if owner is not None else {}
        )
        if key or not kind.series_field:
            return key or f"id={observed.remote_id}"
        return (
            f"version={observed.spec.get(kind.version_field)} of id "
            f"{observed.spec.get(kind.series_field)}"
        )

    def _add_missed_object(self, kind: ResourceType, observed: Observed, reason: str) -> None:
        name = format_name_with_id(observed)
        if kind.series_field:
            owner = self._addresses.get(
                (owner_prefix_of(kind), str(observed.spec.get(kind.series_field)))
            )
            name_prefix = f"{owner.name}@" if owner else ""
            name = (
                f"{name_prefix}{observed.spec.get(kind.version_field, '')} (id "
                f"{observed.remote_id})"
            )
        self.missed_objects.append(MissedObject(kind.prefix, f"{kind.prefix} {name}", reason))


def _parse_decimal(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _file_texts(exported_objects: Sequence[ExportedObject]) -> dict[str, str]:
    """Texts by file name. Names differ in more than case, for file systems that ignore case."""
    files: dict[str, str] = {}
    used_names: set[str] = set()
    for exported_object in exported_objects:
        name = f"{exported_object.address.kind}s/{exported_object.address.name}"
        if name.lower() in used_names:
            name += f".{exported_object.remote_id}"
        used_names.add(name.lower())
        files[f"{name}.yaml"] = exported_object.text
    return files


def _iter_folder_hint(live_backend: LiveBackend, folder: Path) -> Iterator[str]:
    """How to have the folder read: a plan would forget recorded objects that it does not read."""
    project, target = live_backend.project, live_backend.target
    manifest_paths = ManifestPaths(project, target)
    if manifest_paths.reads_folder(folder):
        return
    file = project.file.name if project.file else "a project file"
    relative_folder = os.path.relpath(folder.resolve(), project.root.resolve())
    current_selections = ", ".join(manifest_paths.texts)
    instruction = f"Add {relative_folder} to `manifests:` in {file} (now: {current_selections})"
    if relative_folder.startswith(".."):
        instruction = (
            f"Move {format_path_relative_to_cwd_if_inside(folder)} to where {file}"
            f" has `manifests:` ({current_selections})"
        )
    yield f"{instruction} first: a plan would want to forget what it does not read."


def _iter_state_steps(live_backend: LiveBackend, report: ExportReport) -> Iterator[str]:
    target = live_backend.target
    if report.has_state or target.is_embedded:
        return
    if target.state.lineage:
        yield Text(Command("state restore FILE"), " brings back the state that is pinned; or,")
        yield Text(Command("state init --lineage", target.state.lineage), " makes an empty one.")
    else:
        yield Text(Command("state init"), f" makes the state of target {target.name}.")

"""Which live objects `export` turns into manifests, under which addresses, and which not."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from synapse_apply.files.checkout import require_no_link_out
from synapse_apply.kinds.descriptor import ResourceType
from synapse_apply.live import discovery
from synapse_apply.live.live_backend import LiveBackend
from synapse_apply.manifests import export
from synapse_apply.manifests.decode.loading import format_inventory
from synapse_apply.manifests.files import ManifestPaths
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import InputError, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.parallel_reads import open_thread_pool
from synapse_apply.model.phrases import shown_path
from synapse_apply.model.resource import Observed
from synapse_apply.model.secrets.secret_marks import contains_masked_text
from synapse_apply.model.state import Record
from synapse_apply.model.values import Reference
from synapse_apply.workspace.inventory_rows import read_inventory

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
    secrets: tuple[export.SecretVariable, ...] = ()


@frozen
class ExportReport:
    """The manifests by address, the objects that got none, and whether the target has a state."""

    objects: tuple[ExportedObject, ...]
    missed_objects: tuple[discovery.MissedObject, ...]
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
    query: discovery.GatherQuery,
    folder: Path,
    inventory: Path,
    *,
    only: Sequence[str] = (),
    unmanaged: bool = False,
    force: bool = False,
) -> ExportedFiles:
    """As `TargetLive.export_manifests`; all or nothing.

    InputError names every existing file with other content, and every link in the way.
    """
    report = build_manifests(live_backend, query, only=only, unmanaged=unmanaged)
    written = export.ExportResult()
    if report.objects:
        files: dict[Path, str] = {}
        used_names: set[str] = set()
        for exported in report.objects:
            name = f"{exported.address.kind}s/{exported.address.name}"
            # Names differ in more than case, for file systems that ignore case.
            if name.lower() in used_names:
                name += f".{exported.remote_id}"
            used_names.add(name.lower())
            files[folder / f"{name}.yaml"] = exported.text
        extended = "" if force else _extend_inventory(inventory, report.inventory_rows)
        text = extended or format_inventory(report.inventory_rows)
        require_no_link_out(folder / "any")
        layout = export.ExportLayout(folder, inventory, is_extended=bool(extended))
        written = export.write_export(layout, files, text, force=force)
    project, target = live_backend.project, live_backend.target
    steps: list[str] = []
    manifest_paths = ManifestPaths(project, target)
    if not manifest_paths.reads_folder(folder):
        file = project.file.name if project.file else "a project file"
        relative = os.path.relpath(folder.resolve(), project.root.resolve())
        current = ", ".join(manifest_paths.texts)
        instruction = f"Add {relative} to `manifests:` in {file} (now: {current})"
        if relative.startswith(".."):
            instruction = f"Move {shown_path(folder)} to where {file} has `manifests:` ({current})"
        steps.append(
            f"{instruction} first: a plan would forget objects whose manifests it does not read."
        )
    if not (report.has_state or target.is_embedded):
        init = Text(Command("state init"), f" creates the state of target {target.name}.")
        if lineage := target.state.lineage:
            steps.append(Text(Command("state restore FILE"), " restores the pinned state; or,"))
            init = Text(Command("state init --lineage", lineage), " creates an empty one.")
        steps.append(init)
    steps.append(Text(Command("import -f", shown_path(inventory)), " records them in the state."))
    steps.append(Text(Command("plan"), " shows how they differ from the manifests."))
    files_written, unchanged = tuple(written.files), tuple(written.unchanged)
    return ExportedFiles(report, files_written, unchanged, inventory, tuple(steps))


def _extend_inventory(file: Path, rows: Sequence[dict[str, str | None]]) -> str:
    """The text of an inventory that is there with further rows; "" where they contradict it.

    Also "" for a file that is no inventory.
    """
    if file.is_symlink() or not file.is_file():  # a pipe must not be waited for
        return ""
    try:
        old = read_inventory(file)
    except InputError:
        return ""
    names = {(address.kind, row.remote_id): str(address) for address, row in old.items()}
    kept = {
        str(address): {"address": str(address), "id": row.remote_id, "api": row.api or None,
                       "version": address.name.partition("@")[2] or None,
                       "digest": row.digest or None}
        for address, row in old.items()
    }  # fmt: skip
    for row in rows:
        address, remote_id = str(row["address"]), row["id"]
        there, identity = kept.setdefault(address, row), (address.partition("/")[0], str(remote_id))
        if there["id"] != remote_id or names.get(identity, address) != address:
            return ""
    return (
        format_inventory(list(kept.values())) if len(kept) > len(old) else file.read_text("utf-8")
    )


def build_manifests(
    live_backend: LiveBackend,
    query: discovery.GatherQuery,
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
    store = live_backend.existing_store
    records = store.read_state().records if store else {}
    with open_thread_pool(live_backend.invocation.parallelism) as pool:
        gatherer = discovery.ObjectGatherer(live_backend, query, pool)
        gatherer.gather()
    chosen_kinds = set(only or live_backend.catalogue)
    maker = _ManifestMaker(live_backend, gatherer, records, chosen_kinds)
    # Owners before members: a release is named after the address that its plugin got.
    for kind in sorted(live_backend.catalogue.values(), key=lambda kind: kind.rank):
        maker.add_kind(kind)
    excluded_addresses = {*maker.recorded_addresses.values()} if unmanaged else set()
    return ExportReport(
        tuple(
            entry
            for entry in sorted(maker.exported_objects, key=lambda entry: entry.address)
            if entry.address.kind in chosen_kinds and entry.address not in excluded_addresses
        ),
        tuple(entry for entry in maker.missed_objects if entry.prefix in chosen_kinds),
        store is not None,
    )


@frozen
class _Candidate:
    """A live object: its natural key, else a text unique to it; its owner's kind and id."""

    kind: ResourceType
    observed: Observed
    key: str
    owner: tuple[str, str] | None = None

    @property
    def identity(self) -> tuple[str, str]:
        return self.kind.prefix, self.observed.remote_id

    @property
    def version(self) -> Any:
        return self.observed.spec.get(self.kind.version_field, "")


class _ManifestMaker:
    """Chooses the address of every object and builds its manifest, or notes why it has none."""

    def __init__(
        self,
        live_backend: LiveBackend,
        gatherer: discovery.ObjectGatherer,
        records: Mapping[Address, Record],
        chosen_kinds: Collection[str],
    ) -> None:
        self._gatherer = gatherer
        self._chosen_kinds = chosen_kinds
        # A record of another API version is left out: its id may be another object's in this one.
        self.recorded_addresses = {
            (address.kind, record.remote_id): address
            for address, record in records.items()
            if address.kind in live_backend.catalogue
            and record.api == live_backend.select_binding(address.kind).api
        }
        self._catalogue = live_backend.catalogue
        live_specs = (
            observed.spec
            for prefix in live_backend.careful_marks.kinds
            for observed in gatherer.list_gathered(prefix)
        )
        self._exporter = export.Exporter(
            live_backend.project,
            live_backend.target,
            live_backend.careful_marks,
            f"../{export.SCHEMA_FILE.as_posix()}",
            export.has_any_secret(live_specs),
        )
        self._used_names: dict[str, set[str]] = defaultdict(set)
        # Names of the state are taken, also of objects that are not exported now.
        for address in self.recorded_addresses.values():
            self._used_names[address.kind].add(address.name)
        self._addresses: dict[tuple[str, str], Address] = dict(self.recorded_addresses)
        self.exported_objects: list[ExportedObject] = []
        self.missed_objects: list[discovery.MissedObject] = list(gatherer.missed_objects)

    def add_kind(self, kind: ResourceType) -> None:
        """Build the manifests of one kind. Owners must come before members of their series."""
        by_key: dict[str, list[_Candidate]] = defaultdict(list)
        candidates = []
        for observed in self._gatherer.list_gathered(kind.prefix):
            unique, owner, owners = f"id={observed.remote_id}", None, {}
            if kind.series_field:
                owner_id, prefix = (
                    observed.spec.get(kind.series_field),
                    discovery.owner_prefix_of(kind),
                )
                owner = prefix, str(owner_id)
                unique = f"version={observed.spec.get(kind.version_field)} of id {owner_id}"
                if found := self._gatherer.gathered_by_id(prefix).get(str(owner_id)):
                    owners[kind.series_field] = found
            key = kind.derive_natural_key(observed.spec, owners) or unique
            candidates.append(_Candidate(kind, observed, key, owner))
            by_key[key].append(candidates[-1])
        for candidate in candidates:
            owner, is_recorded = candidate.owner, candidate.identity in self.recorded_addresses
            is_missed = owner and owner[0] in self._chosen_kinds and owner not in self._addresses
            # A manifest could not say which of several with one key it means.
            others = [other for other in by_key[candidate.key] if other is not candidate]
            if owner and is_missed and not is_recorded:
                self._add_missed(candidate, f"its {owner[0]} (id {owner[1]}) was not exported")
            elif contains_masked_text(candidate.observed.spec):
                reason = (
                    "one of its strings repeats a secret, which no manifest may contain: change "
                    "it in Synapse"
                )
                self._add_missed(candidate, reason)
            elif others and owner:
                form, _, text = candidate.key.partition("=")
                ids = ", ".join(other.observed.remote_id for other in others)
                reason = (
                    f"{form} {text!r} also belongs to id {ids}: rename one of the two, then "
                    "export again"
                )
                self._add_missed(candidate, reason)
            else:
                pinned_id = candidate.observed.remote_id if others else ""
                self._add_manifest(candidate, self._choose_address(candidate), pinned_id)

    # An exported manifest is decoded again: what does not validate, or reads back differently, is
    # left out and reported.
    def _add_manifest(self, candidate: _Candidate, address: Address, pinned_id: str) -> None:
        kind, observed = candidate.kind, candidate.observed
        # A map that may be the package's own would be declared a second time.
        spec: dict[str, Any] = {
            name: value
            for name, value in observed.spec.items()
            if not (kind.rules[name].packaged and kind.rules[name].free_form)
            and value != kind.rules[name].usual_value
        }
        if kind.series_field:
            owner = address.name.rpartition("@")[0]
            owner_id = owner.removeprefix("id=")
            spec[kind.series_field] = (
                {"id": int(owner_id) if owner_id.isdecimal() else owner_id}
                if owner.startswith("id=")
                else Reference(Address(discovery.owner_prefix_of(kind), owner))
            )
        extra_fields = PUBLISHED_SOURCE if kind.carries_package else {}
        manifest = self._exporter.build_manifest(address, spec, extra_fields, pinned_id)
        left_out = tuple(map(str, manifest.left_out))
        if not manifest.text:
            self._add_missed(candidate, "; ".join(left_out) or "a manifest cannot contain it")
            return
        self._addresses[candidate.identity] = address
        self._used_names[address.kind].add(address.name)
        exported = ExportedObject(
            address,
            observed.remote_id,
            observed.api,
            str(candidate.version) if kind.series_field else "",
            manifest.text,
            left_out,
            manifest.secrets,
        )
        self.exported_objects.append(exported)

    def _choose_address(self, candidate: _Candidate) -> Address:
        """The recorded address, else a new unused one, which is the same in each export."""
        recorded, prefix = self.recorded_addresses.get(candidate.identity), candidate.kind.prefix
        if recorded is not None:
            return recorded
        if owner := candidate.owner:
            # The owner's name where the owner has a manifest, else its id.
            has_manifest = owner in self.recorded_addresses or owner[0] in self._chosen_kinds
            name = self._addresses[owner].name if has_manifest else f"id={owner[1]}"
            return Address(prefix, f"{name}@{candidate.version}")
        text, used_names = candidate.key.partition("=")[2], self._used_names[prefix]
        name = export.make_unused_name(text, candidate.observed.remote_id, prefix, used_names)
        return Address(prefix, name)

    def _add_missed(self, candidate: _Candidate, reason: str) -> None:
        name, prefix = discovery.format_name_with_id(candidate.observed), candidate.kind.prefix
        if candidate.owner:
            owner = self._addresses.get(candidate.owner)
            start = f"{owner.name}@" if owner else ""
            name = f"{start}{candidate.version} (id {candidate.observed.remote_id})"
        self.missed_objects.append(discovery.MissedObject(prefix, f"{prefix} {name}", reason))

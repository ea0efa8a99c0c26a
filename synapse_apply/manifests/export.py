"""How live objects become manifests, and which files an export may write."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import field
from itertools import takewhile
from pathlib import Path
from typing import Any

from synapse_apply.files.checkout import read_regular_file
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests import rewriting, schemas
from synapse_apply.manifests.decode import decode, kinds
from synapse_apply.manifests.decode.draft import DecodeContext
from synapse_apply.manifests.decode.variables import VariableValues
from synapse_apply.manifests.schemas import format_schema
from synapse_apply.manifests.yaml.reader import MAX_NUMBER_LENGTH, VALUE_FROM, read_documents
from synapse_apply.manifests.yaml.writing import format_document
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding, format_json_pointer
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.json_types import JsonObject, Spec
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.packages import is_valid_version
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.project import Project, Target
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.values import (
    Reference,
    SecretRef,
    Sensitive,
    WithheldSecret,
    delete_at_if_present,
    flatten,
    get_at_or_absent,
    set_at_creating_maps,
)

_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NAME_RULE = (
    "lower-case letters, digits, `.`, `_` and `-`, begins with a letter or a digit, and is not "
    "longer than 63"
)
_MAX_NAME_LENGTH = 63


def is_valid_name(text: str) -> bool:
    """Whether a text is allowed as `metadata.name`."""
    return _NAME_PATTERN.fullmatch(text) is not None


def explain_invalid_address(address: Address) -> str:
    """Why no manifest can declare an address; "" where one can."""
    kind = CATALOGUE.get(address.kind)
    if kind is None:
        return f"the kinds are {', '.join(sorted(CATALOGUE))}"
    name = address.name
    if kind.series_field:
        name, separator, version = name.rpartition("@")
        if not separator or not is_valid_version(version):
            return f"a {address.kind}'s address is {address.kind}/NAME@VERSION"
        # The plugin of such a release is given by its id, so no name has to be valid.
        if name.startswith("id="):
            return ""
    return "" if is_valid_name(name) else f"a name has {_NAME_RULE}"


def to_valid_name(text: str, fallback: str = "plugin") -> str:
    """A valid name made of a text's allowed characters; `fallback` where it has none."""
    candidate = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")
    return candidate[:_MAX_NAME_LENGTH].rstrip("-._") or fallback


def make_unused_name(text: str, number: str, kind: str, used_names: Collection[str]) -> str:
    """A valid name made of a text, with `number` behind it where `used_names` has it already.

    `number` is the object's id, so that an object gets the same name each time.
    """
    fallback = to_valid_name(f"{kind}-{number}", kind)
    base_name = to_valid_name(text, fallback)
    # A long id is cut at its front, so that one character of the name still fits; and cut there
    # again behind a count, so that each count gives another name.
    id_suffix = suffix = f"-{to_valid_name(number, 'id')}"[-_MAX_NAME_LENGTH + 1 :]
    name, count = base_name, 1
    while name in used_names:
        if count > 1:
            suffix = f"{id_suffix}-{count}"[-_MAX_NAME_LENGTH + 1 :]
        name = base_name[: _MAX_NAME_LENGTH - len(suffix)].rstrip("-._") + suffix
        count += 1
    return name


def has_any_secret(specs: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any of these live specs holds a secret, masked or not.

    If so, the server does show secrets, and none is missing elsewhere.
    """
    return any(
        isinstance(value, Sensitive | WithheldSecret)
        for spec in specs
        for value in flatten(spec).values()
    )


def describe_unseen_secrets(
    kind: str, spec: Spec, marks: SecretMarks, manifest_fields: Mapping[str, Any]
) -> str:
    """A sentence naming secrets that a live object may have and its manifest lacks; "" for none.

    Only for a server that shows no secrets at all. `manifest_fields` are the manifest's.
    """
    kind_marks = marks.kinds.get(kind)
    if kind_marks is None:
        return ""
    secret_paths = kind_marks.select_spec_marks(spec).secret_paths
    configuration = manifest_fields.get(kind_marks.container)
    keys = configuration if isinstance(configuration, Mapping) else {}
    missing_keys = sorted({str(path[-1]) for path in secret_paths or () if path[-1] not in keys})
    if secret_paths is not None and not missing_keys:
        return ""
    secrets_text = ", ".join(missing_keys) if missing_keys else "secrets"
    return (
        f"{secrets_text} may be missing, because the server shows no secrets. Declare each "
        f"secret of the object as {{{VALUE_FROM}: {{live: true}}}}"
    )


_MAX_ROUNDS = 10
# YAML readers refuse a longer implicit key (YAML 1.2.2, 7.4: 1024 characters).
_MAX_KEY_LENGTH = 1000
_MAX_DEPTH = 40
_MAX_SHOWN_LENGTH = 120
_NO_NAME = re.compile(r"[^A-Za-z0-9]+")


@frozen
class LeftOutField:
    """A field that is live and not in the manifest, and why."""

    path: FieldPath
    reason: str

    def __str__(self) -> str:
        name = format_field_path(self.path)
        short = name if len(name) <= _MAX_SHOWN_LENGTH else name[: _MAX_SHOWN_LENGTH - 3] + "..."
        return f"{short}: {self.reason}" if short else self.reason


@frozen
class SecretVariable:
    """A secret in a free-form field, which the manifest reads from an environment variable."""

    path: FieldPath
    variable: str
    is_json: bool = False

    def __str__(self) -> str:
        form = ", as JSON" if self.is_json else ""
        return (
            f"{format_json_pointer(self.path)} is a secret, or looks like one: set "
            f"{self.variable}{form}"
        )

    @property
    def reference(self) -> dict[str, Any]:
        """The `valueFrom` that stands in the manifest."""
        form = {"format": "json"} if self.is_json else {}
        return {VALUE_FROM: {"env": self.variable, **form}}


@frozen
class ExportedManifest:
    """The text of a document that is valid and reads back as what is live; "" where none does.

    `left_out` is what it lacks; without a text, why there is none. `secrets` are the
    free-form fields that take their values from variables.
    """

    address: Address
    text: str
    left_out: tuple[LeftOutField, ...] = ()
    secrets: tuple[SecretVariable, ...] = ()


@frozen
class Exporter:
    """Builds manifests that are valid on one target; `schema` is named in their first line.

    Where the server shows no secrets (`shows_secrets`), those that may be missing are listed.
    `variables` are the names that manifests use so far, so that no two secrets share one, each
    with how many names were derived from it.
    """

    project: Project
    target: Target
    marks: SecretMarks
    schema: str = ""
    shows_secrets: bool = True
    variables: dict[str, int] = field(default_factory=dict)

    def build_manifest(
        self, address: Address, spec: Spec, extra_fields: Mapping[str, Any], pinned_id: str = ""
    ) -> ExportedManifest:
        """The manifest of an address; `pinned_id` is for an object that its key does not tell.

        `spec` are live fields, secrets wrapped or withheld, references as Reference (or as
        `{id: 123}`); `extra_fields` are fields that are not live. No secret is revealed.
        """
        left_out: list[LeftOutField] = []
        fields = {
            name: spec[name] for name in schemas.list_spec_fields(address.kind) if name in spec
        }
        secrets: list[SecretVariable] = []
        # Kinds in `marks` know which fields are secret; in the others every free value may be one.
        if address.kind not in self.marks.kinds:
            for name in kinds.list_free_form_fields(address.kind):
                if name in fields:
                    fields[name] = self._name_variables(address, fields[name], (name,), secrets)
        tree: dict[str, Any] = _to_writable(fields, (), left_out)
        self._add_live_references(address.kind, tree)
        tree |= extra_fields
        head: dict[str, Any] = {
            "apiVersion": decode.API_VERSION,
            "kind": CATALOGUE[address.kind].kind,
        }
        if "metadata" in schemas.bundle_schema_with_referenced_files(address.kind)["required"]:
            head["metadata"] = {"name": address.name} | ({"id": pinned_id} if pinned_id else {})
        # Removing one misfit may reveal the next, so the text is written and read back until it
        # fits.
        for _ in range(_MAX_ROUNDS):
            written_secrets = tuple(
                [item for item in secrets if get_at_or_absent(tree, item.path) == item.reference]
            )
            pointers = [format_json_pointer(secret.path) for secret in written_secrets]
            lifecycle = {"lifecycle": {kinds.SENSITIVE: pointers}} if pointers else {}
            text = format_document({**head, **lifecycle, "spec": dict(tree)}, self.schema)
            findings = self._round_trip_problems(address, text, tree)
            if not findings:
                unseen = describe_unseen_secrets(address.kind, spec, self.marks, tree)
                if unseen and not self.shows_secrets:
                    container = self.marks.kinds[address.kind].container
                    left_out.append(LeftOutField((container,), unseen))
                return ExportedManifest(address, text, tuple(left_out), written_secrets)
            removed = [one for one in findings if _remove_field(tree, one.path[1:])]
            left_out += [LeftOutField(one.path[1:], one.reason) for one in removed]
            if not removed:
                return ExportedManifest(address, "", (*left_out, *findings))
        return ExportedManifest(address, "", tuple(left_out))

    def _name_variables(
        self, address: Address, value: Any, path: FieldPath, secrets: list[SecretVariable]
    ) -> Any:
        """A free-form value with `valueFrom` in place of secrets and of what looks like one.

        Appends each to `secrets`.
        """
        if isinstance(value, Mapping):
            return {
                key: self._name_variables(address, below, (*path, key), secrets)
                for key, below in sorted(value.items())
            }
        is_secret = isinstance(value, Sensitive | WithheldSecret)
        if not is_secret and not kinds.describe_lookalike(path, value):
            return value
        bare = value.reveal() if isinstance(value, Sensitive) else value
        # A variable of the environment is a text; other values have to be parsed from JSON.
        is_json = not isinstance(bare, str | WithheldSecret)
        parts = (address.kind, address.name, *(path[1:] or path))
        name = _NO_NAME.sub("_", "_".join(map(str, parts))).upper().strip("_")
        # Names are made of letters, digits and `_`, so two paths may give the same name.
        while name in self.variables:
            self.variables[name] += 1
            name = f"{name}_{self.variables[name]}"
        self.variables[name] = 1
        secret = SecretVariable(path, name, is_json)
        secrets.append(secret)
        return secret.reference

    def _add_live_references(self, kind: str, tree: dict[str, Any]) -> None:
        """Add `valueFrom: {live: true}` for required secrets that the server's answer lacks."""
        marks = self.marks.kinds.get(kind)
        provider = tree.get(marks.selector) if marks is not None else None
        configuration = tree.get(marks.container, {}) if marks is not None else None
        if marks is None or provider is None or not isinstance(configuration, dict):
            return
        keys: set[str] = set()
        if description := self.project.providers.get(provider):
            keys |= (description.required & description.secrets) - configuration.keys()
        if provider in schemas.known_providers():
            schema = schemas.bundle_schema_with_referenced_files(f"providers/{provider}")
            missing_keys = schemas.missing_required_keys(schema, {*configuration, *keys})
            keys |= {key for key in missing_keys if schema["properties"][key].get("x-secret")}
        for key in sorted(keys):
            set_at_creating_maps(tree, (marks.container, key), _build_live_reference())

    def _round_trip_problems(
        self, address: Address, text: str, tree: Mapping[str, Any]
    ) -> list[LeftOutField]:
        """Why reading the text does not give `tree` back, each at a path of the document."""
        reading = read_documents(text.encode(), str(address))
        errors, draft = [*reading.diagnostics], None
        if not errors and len(reading.documents) == 1:
            context = DecodeContext(self.project, self.target, self.marks)
            values = VariableValues(self.project, self.target)
            draft = decode.begin_draft(context, reading.documents[0], values)
            if draft is not None and not draft.unknown_paths:
                decode.set_address(draft)
                if not decode.find_misfits(draft):
                    decode.decode_desired(draft)
            errors = [finding for finding in context.findings if finding.is_error]
        if errors or draft is None:
            return [LeftOutField(one.path or (), one.detail or one.summary) for one in errors]
        # The name may be read as something else, such as a number.
        if draft.address != address:
            return [LeftOutField((), f"its manifest would declare {draft.address}")]
        return [
            LeftOutField(("spec", name), "it cannot be written as YAML")
            for name in tree
            if name not in draft.spec
            or format_canonical_json(draft.spec[name]) != format_canonical_json(tree[name])
        ]


def _build_live_reference() -> JsonObject:
    return {VALUE_FROM: {"live": True}}


def _to_writable(value: Any, path: FieldPath, dropped: list[LeftOutField]) -> Any:
    """A value as a manifest writes it; what it cannot hold is appended to `dropped`."""
    if isinstance(value, Sensitive | WithheldSecret | SecretRef):
        return _build_live_reference()
    if isinstance(value, Reference):
        return value.address.name
    if not isinstance(value, Mapping):
        return value
    if len(path) > _MAX_DEPTH:
        dropped.append(LeftOutField(path, "its content is nested too deeply"))
        return {}
    result = {}
    for key, child in sorted(value.items()) if path else value.items():
        child_path = (*path, key)
        reason = _why_unwritable_key(key)
        if not isinstance(child, Mapping):
            reason = reason or _why_unwritable(child, _MAX_DEPTH - len(child_path))
        if reason:
            dropped.append(LeftOutField(child_path, reason))
        else:
            result[key] = _to_writable(child, child_path, dropped)
    return result


def _why_unwritable(value: Any, depth_left: int) -> str:
    """Why no manifest can hold a value, with `depth_left` levels allowed below; "" for none."""
    if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        return "the string has half of a surrogate pair, which UTF-8 cannot encode"
    if isinstance(value, float) and not math.isfinite(value):
        return "it is not a JSON number"
    # A digit has about three bits; converting a huge number just to count its digits takes long.
    if isinstance(value, int) and value.bit_length() > MAX_NUMBER_LENGTH * 3:
        return "the number is too long"
    if isinstance(value, list | Mapping) and depth_left < 0:
        return "the value is nested too deeply"
    is_map = isinstance(value, Mapping)
    for child in value if isinstance(value, list | Mapping) else ():
        reason = _why_unwritable_key(child) if is_map else ""
        if reason := reason or _why_unwritable(value[child] if is_map else child, depth_left - 1):
            return reason
    return ""


def _why_unwritable_key(key: str) -> str:
    if "${var." in key:
        return "a key of a manifest cannot contain ${var."
    if len(key.encode("utf-8", "surrogatepass")) > _MAX_KEY_LENGTH:
        return "the key is too long"
    return _why_unwritable(key, 0)


def _remove_field(tree: dict[str, Any], path: FieldPath) -> bool:
    """Remove a field, or the outermost list that contains it; False where there is none."""
    names = tuple(takewhile(lambda part: not isinstance(part, int), path))
    parent = get_at_or_absent(tree, names[:-1])
    if not names or not isinstance(parent, Mapping) or names[-1] not in parent:
        return False
    delete_at_if_present(tree, names)
    return True


# Dot folders are never read for manifests.
SCHEMA_FILE = Path(".schema", "manifest.schema.json")
_FORCE_HINT = "Choose a different folder with --out, or replace existing files with --force."
_FORCE_INVENTORY_HINT = (
    "Choose a different file with --inventory. --force would replace this file, and you would lose "
    "its rows."
)


@frozen
class ExportLayout:
    """The folder of the manifests; the file of the inventory, and whether it only gets rows."""

    folder: Path
    inventory: Path
    is_extended: bool = False

    @property
    def schema_file(self) -> Path:
        return self.folder / SCHEMA_FILE


@mutable
class ExportResult:
    """The files that were written, and those that had this content already."""

    files: list[Path] = field(default_factory=list)
    unchanged: list[Path] = field(default_factory=list)


def write_export(
    layout: ExportLayout, manifests: Mapping[Path, str], inventory_text: str, *, force: bool
) -> ExportResult:
    """Write manifests by path, the inventory, and the schema file if it is missing.

    Raises InputError with every file that cannot be written, or has other content and must not
    be replaced (`force`); then nothing was written.
    """
    if findings := [*_iter_obstacle_findings(layout, manifests)]:
        raise InputError(*findings)
    result = ExportResult()
    new_texts: dict[Path, str] = {}
    rewrites: list[rewriting.Rewrite] = []
    for path, text in {**manifests, layout.inventory: inventory_text}.items():
        current_content = None
        try:
            with suppress(FileNotFoundError):
                current_content = read_regular_file(path)
        except OSError as problem:
            raise InputError.from_summary(
                "A file cannot be read",
                f"{path}: {problem.strerror}.",
                "Nothing was written. Choose a different location with --out or --inventory.",
            ) from None
        if current_content is None:
            new_texts[path] = text
        # An export that is repeated must not touch files that are as they should be.
        elif current_content == text.encode():
            result.unchanged.append(path)
        else:
            rewrites.append(rewriting.Rewrite(path, str(path), current_content, text.encode()))
    replaceable = {layout.inventory} if layout.is_extended else set()
    files = [change.file for change in rewrites if change.file not in replaceable]
    if files and not force:
        hints = {layout.inventory: _FORCE_INVENTORY_HINT}
        raise InputError(
            *[rewriting.existing_file_finding(f, hints.get(f, _FORCE_HINT)) for f in files]
        )
    if not layout.schema_file.exists():
        new_texts[layout.schema_file] = format_schema("manifest")
    # Before the new files: if this fails, nothing has been written.
    rewriting.rewrite_all_or_none(rewrites)
    for path, text in new_texts.items():
        rewriting.create_new_file(path, text)
    written = {*new_texts, *(change.file for change in rewrites)}
    result.files += sorted(written - {layout.schema_file})
    return result


def _iter_obstacle_findings(
    layout: ExportLayout, manifests: Collection[Path]
) -> Iterator[Diagnostic]:
    """A finding for each link, or file in the place of a folder, that is in the way of a write."""
    files = (*manifests, layout.schema_file)
    # Real paths in lower case are equal for two spellings, also where case is ignored.
    real_paths = {os.path.realpath(file).lower() for file in files}
    if os.path.realpath(layout.inventory).lower() in real_paths:
        yield error_finding(
            "Two files with one name",
            f"{layout.inventory} is both the inventory and a manifest file.",
            "Nothing was written. Choose a different file with --inventory.",
        )
    for folder in dict.fromkeys((layout.folder, *(file.parent for file in files))):
        yield from _folder_obstacles(folder, "--out", may_link=folder == layout.folder)
    yield from _folder_obstacles(layout.inventory.parent, "--inventory", may_link=True)
    for file, option in (*((file, "--out") for file in files), (layout.inventory, "--inventory")):
        if file.is_symlink():
            yield _build_link_finding(file, option)


def _folder_obstacles(folder: Path, option: str, *, may_link: bool) -> Iterator[Diagnostic]:
    """Findings for why no file can be written in a folder; one that is missing will be created."""
    # The user named the folder, so it may be a link; the folders inside it are ours.
    if folder.is_symlink() and not (may_link and folder.is_dir()):
        yield _build_link_finding(folder, option)
        return
    # lexists, not exists: a dangling link is in the way, too.
    existing = next(ancestor for ancestor in (folder, *folder.parents) if os.path.lexists(ancestor))
    if existing.is_symlink() and not existing.is_dir():
        yield _build_link_finding(existing, option)
    elif not existing.is_dir():
        yield error_finding(
            "A file is where a folder is needed",
            f"{existing} is not a folder.",
            f"Nothing was written. Choose a different location with {option}.",
        )


def _build_link_finding(path: Path, option: str) -> Diagnostic:
    link_target = os.path.realpath(path)
    reason = "and an export never writes through a link, even with --force"
    if not os.path.lexists(link_target):
        reason = "which does not exist"
    return error_finding(
        "A link blocks the path",
        f"{path} is a link to {link_target}, {reason}.",
        f"Nothing was written. Remove the link, or choose a different location with {option}.",
    )

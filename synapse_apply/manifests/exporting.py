"""A live object as the manifest that declares it: what is left out, and why, is told."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests import shapes
from synapse_apply.manifests.decode import (
    API_VERSION,
    check,
    desired,
    drafted,
    place_address,
)
from synapse_apply.manifests.draft import Context
from synapse_apply.manifests.reader import read
from synapse_apply.manifests.scalars import LONGEST_NUMBER
from synapse_apply.manifests.secretfields import (
    SENSITIVE,
    describe_lookalike,
    list_free_form_fields,
)
from synapse_apply.manifests.unseen import unseen
from synapse_apply.manifests.variables import Values
from synapse_apply.manifests.wording import VALUE_FROM, dotted
from synapse_apply.manifests.writing import written
from synapse_apply.model.address import Address
from synapse_apply.model.codec import canonical
from synapse_apply.model.diagnostic import Diagnostic, Path, pointer
from synapse_apply.model.frozen import frozen
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.project import Project, Target
from synapse_apply.model.values import (
    Reference,
    SecretRef,
    Sensitive,
    Withheld,
    dig,
    plant,
    prune,
)

_MOST_ROUNDS = 10
# YAML takes no longer text for a key.
_LONGEST_KEY = 1000
_DEEPEST = 40
_LONGEST_SHOWN = 120
_NO_NAME = re.compile(r"[^A-Za-z0-9]+")


@frozen
class LeftOut:
    """A field that the manifest does not have although it is live, and why."""

    path: Path
    why: str

    def __str__(self) -> str:
        name = dotted(self.path)
        short = name if len(name) <= _LONGEST_SHOWN else name[: _LONGEST_SHOWN - 3] + "..."
        return f"{short}: {self.why}" if short else self.why


@frozen
class SecretVariable:
    """A secret of a free-form field: the manifest names the variable that is to have its value."""

    path: Path
    variable: str
    is_json: bool = False

    def __str__(self) -> str:
        form = ", as JSON" if self.is_json else ""
        return f"{pointer(self.path)} is a secret, or looks like one: set {self.variable}{form}"

    @property
    def reference(self) -> dict[str, Any]:
        """What stands in the manifest."""
        form = {"format": "json"} if self.is_json else {}
        return {VALUE_FROM: {"env": self.variable, **form}}


@frozen
class Manifest:
    """A document that validates and reads back as what is live; "" where none does.

    `left_out` is what it does not hold; without a text, why there is none. `secrets` are the
    free-form fields that take their values from variables.
    """

    address: Address
    text: str
    left_out: tuple[LeftOut, ...] = ()
    secrets: tuple[SecretVariable, ...] = ()


@frozen
class Exporter:
    """Makes manifests that are valid on one target; `schema` is what their first line names.

    Where the server does not show secrets (`shows_secrets`), what may lack is left out, and told.
    `variables` are the names that manifests have by now, so that no two secrets share one, each
    with how many were made of it.
    """

    project: Project
    target: Target
    marks: SecretMarks
    schema: str = ""
    shows_secrets: bool = True
    variables: dict[str, int] = field(default_factory=dict)

    def manifest(
        self, address: Address, spec: Mapping[str, Any], more: Mapping[str, Any]
    ) -> Manifest:
        """The manifest of an address.

        `spec` are live fields, secrets wrapped or withheld, references as Reference (or as
        `{id: 123}`); `more` are fields that are not live. No secret is revealed.
        """
        left: list[LeftOut] = []
        fields = {name: spec[name] for name in shapes.spec_fields(address.kind) if name in spec}
        secrets: list[SecretVariable] = []
        if address.kind not in self.marks.kinds:
            for name in list_free_form_fields(address.kind):
                if name in fields:
                    fields[name] = self._replace_secrets(address, fields[name], (name,), secrets)
        tree: dict[str, Any] = _plain(fields, (), left)
        self._keep_unseen_secrets(address.kind, tree)
        tree |= more
        for _ in range(_MOST_ROUNDS):
            written_secrets = tuple(
                item for item in secrets if dig(tree, item.path) == item.reference
            )
            text = written(self._document(address, tree, written_secrets), self.schema)
            findings = self._problems(address, text, tree)
            if not findings:
                left += self._unseen(address.kind, spec, tree)
                return Manifest(address, text, tuple(left), written_secrets)
            wrong = [found for found in findings if _prune(tree, found.path[1:])]
            left += [LeftOut(found.path[1:], found.why) for found in wrong]
            if not wrong:
                return Manifest(address, "", (*left, *findings))
        return Manifest(address, "", tuple(left))

    def _replace_secrets(
        self, address: Address, value: Any, path: Path, secrets: list[SecretVariable]
    ) -> Any:
        """A free-form value with references in place of what is secret, or looks so."""
        if isinstance(value, Mapping):
            return {
                key: self._replace_secrets(address, below, (*path, key), secrets)
                for key, below in sorted(value.items())
            }
        is_secret = isinstance(value, Sensitive | Withheld)
        if not is_secret and not describe_lookalike(path, value):
            return value
        bare = value.reveal() if isinstance(value, Sensitive) else value
        is_json = not isinstance(bare, str | Withheld)
        secret = SecretVariable(path, self._name_variable(address, path), is_json)
        secrets.append(secret)
        return secret.reference

    def _name_variable(self, address: Address, path: Path) -> str:
        """A name that no other secret has, and that no rule of CI tokens forbids."""
        parts = (address.kind, address.name, *(path[1:] or path))
        name = _NO_NAME.sub("_", "_".join(map(str, parts))).upper().strip("_")
        while name in self.variables:
            self.variables[name] += 1
            name = f"{name}_{self.variables[name]}"
        self.variables[name] = 1
        return name

    def _document(
        self, address: Address, tree: Mapping[str, Any], secrets: Sequence[SecretVariable]
    ) -> dict[str, Any]:
        kind = CATALOGUE[address.kind].kind
        named = "metadata" in shapes.bundled(address.kind)["required"]
        metadata = {"metadata": {"name": address.name}} if named else {}
        lifecycle = {"lifecycle": {SENSITIVE: [pointer(secret.path) for secret in secrets]}}
        head = {"apiVersion": API_VERSION, "kind": kind, **metadata}
        return {**head, **(lifecycle if secrets else {}), "spec": dict(tree)}

    def _keep_unseen_secrets(self, kind: str, tree: dict[str, Any]) -> None:
        """A secret that must stand and is not in the answer is the server's to keep, too."""
        marks = self.marks.kinds.get(kind)
        provider = tree.get(marks.selector) if marks is not None else None
        if marks is None or provider is None:
            return
        given = tree.get(marks.container, {})
        own = self.project.providers.get(provider)
        if own is not None and isinstance(given, dict):
            for key in sorted((own.required & own.secrets) - given.keys()):
                plant(tree, (marks.container, key), _live())
        if provider not in shapes.provider_names():
            return
        schema = shapes.bundled(f"providers/{provider}")
        for key in sorted(shapes.needed_keys(schema, given) if isinstance(given, dict) else ()):
            if schema["properties"][key].get("x-secret"):
                plant(tree, (marks.container, key), _live())

    def _unseen(
        self, kind: str, spec: Mapping[str, Any], tree: Mapping[str, Any]
    ) -> Iterator[LeftOut]:
        if not self.shows_secrets and (why := unseen(kind, spec, self.marks, tree)):
            yield LeftOut((self.marks.kinds[kind].container,), why)

    def _problems(self, address: Address, text: str, tree: Mapping[str, Any]) -> list[LeftOut]:
        """Why this text is not what was meant, at paths of the document."""
        reading = read(text.encode(), str(address))
        if reading.diagnostics or len(reading.documents) != 1:
            return [_said(found) for found in reading.diagnostics]
        context = Context(self.project, self.target, self.marks)
        draft = drafted(context, reading.documents[0], Values(self.project, self.target))
        if draft is not None and not draft.broken:
            place_address(context, draft)
            if check(context, draft):
                desired(context, draft)
        errors = [_said(found) for found in context.findings if found.is_error]
        if errors or draft is None:
            return errors
        if draft.address != address:
            return [LeftOut((), f"a manifest of it would declare {draft.address}")]
        differ = [
            name
            for name in tree
            if name not in draft.spec or canonical(draft.spec[name]) != canonical(tree[name])
        ]
        return [LeftOut(("spec", name), "it cannot be written as YAML") for name in differ]


def _said(found: Diagnostic) -> LeftOut:
    return LeftOut(found.path or (), found.detail or found.summary)


def _live() -> dict[str, Any]:
    return {VALUE_FROM: {"live": True}}


def _plain(value: Any, path: Path, left: list[LeftOut]) -> Any:
    """A value as a manifest writes it; what it cannot hold is left out."""
    if isinstance(value, Sensitive | Withheld | SecretRef):
        return _live()
    if isinstance(value, Reference):
        return value.address.name
    if not isinstance(value, Mapping):
        return value
    if len(path) > _DEEPEST:
        left.append(LeftOut(path, "what is inside stands too deep"))
        return {}
    held = {}
    for key, below in sorted(value.items()) if path else value.items():
        at = (*path, key)
        why = _unheld_key(key)
        if not isinstance(below, Mapping):
            why = why or _unheld(below, _DEEPEST - len(at))
        if why:
            left.append(LeftOut(at, why))
        else:
            held[key] = _plain(below, at, left)
    return held


def _unheld(value: Any, room: int) -> str:
    """Why no manifest can hold a value at a depth that leaves so much room; "" where one can."""
    if isinstance(value, str):
        return _unheld_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "it is no number of JSON"
    if isinstance(value, int) and value.bit_length() > LONGEST_NUMBER * 3:
        return "the number is too long"
    if isinstance(value, list | Mapping) and room < 0:
        return "it stands too deep inside other values"
    return next((why for why in _unheld_inside(value, room - 1) if why), "")


def _unheld_inside(value: Any, room: int) -> Iterator[str]:
    if isinstance(value, list):
        yield from (_unheld(below, room) for below in value)
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield _unheld_key(key) or _unheld(below, room)


def _unheld_key(key: str) -> str:
    if "${var." in key:
        return "a key of a manifest cannot hold ${var."
    if len(key.encode("utf-8", "surrogatepass")) > _LONGEST_KEY:
        return "the key is too long"
    return _unheld_text(key)


def _unheld_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it holds half of a character, which UTF-8 cannot write"
    return ""


def _prune(tree: dict[str, Any], path: Path) -> bool:
    """Remove a field, the whole list where it stands in one; False where there is none."""
    names: list[str | int] = []
    for part in path:
        if isinstance(part, int):
            break
        names.append(part)
    there = bool(names) and isinstance(dig(tree, tuple(names[:-1])), Mapping)
    if not there or names[-1] not in dig(tree, tuple(names[:-1])):
        return False
    prune(tree, tuple(names))
    return True

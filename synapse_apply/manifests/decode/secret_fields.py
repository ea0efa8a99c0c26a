"""How secrets of a spec become references: what `valueFrom` may name, what looks like a secret.

Secret fields are those that the kind's schema marks and those that the manifest names in
`lifecycle.sensitive`. A free-form value beside them that looks like a secret is a warning.

Findings name the path of a literal secret and never quote its text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import field
from functools import cache
from typing import Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.decode.draft import Draft
from synapse_apply.manifests.phrases import ONLY_FOR_SECRETS, VALUE_FROM
from synapse_apply.manifests.schema import schemas
from synapse_apply.model.coding.json_types import DecodedSpec, Spec
from synapse_apply.model.diagnostic import FieldPath, format_json_pointer, parse_json_pointer
from synapse_apply.model.frozen import mutable
from synapse_apply.model.phrases import find_similar_word, format_field_path, suggest_words
from synapse_apply.model.secrets.credentials import guess_secret_kind, is_line_allowed_by_comment
from synapse_apply.model.secrets.secret_marks import UNMARKED, SpecMarks
from synapse_apply.model.values import SecretRef, Sensitive
from synapse_apply.secret_sources.catalogue import SECRET_SOURCES, format_source_names
from synapse_apply.secret_sources.source import (
    build_reference_or_none_if_malformed,
    describe_malformed,
)

SENSITIVE = "sensitive"
_ABSENT = object()
# Searching for a similar name is slow, and a hostile document may have thousands of wrong paths.
_MAX_SUGGESTIONS = 20


@cache
def list_free_form_fields(schema: str) -> tuple[str, ...]:
    """The names of a kind's fields that hold free-form maps."""
    return tuple(name for name, rule in CATALOGUE[schema].rules.items() if rule.free_form)


def list_sensitive_paths(draft: Draft) -> frozenset[FieldPath]:
    """The paths in `lifecycle.sensitive` of a document that need not fit its schema."""
    block = draft.value.get("lifecycle") if isinstance(draft.value, dict) else None
    texts = block.get(SENSITIVE) if isinstance(block, dict) else None
    texts = texts if isinstance(texts, list) else ()
    pointers = (
        parse_json_pointer(text) for text in texts if isinstance(text, str) and text[:1] == "/"
    )
    return frozenset(path for path in pointers if path[0] in list_free_form_fields(draft.schema))


def select_secret_marks(draft: Draft) -> SpecMarks:
    """Which fields of a document are secret: as its kind says, else as the document names them."""
    of_kind = draft.context.marks.kinds.get(draft.schema)
    if of_kind is not None:
        return of_kind.select_spec_marks(draft.spec)
    named = list_sensitive_paths(draft) if "lifecycle" in draft.value else frozenset()
    return UNMARKED.with_named_secret_paths(named) if named else UNMARKED


def replace_secrets(draft: Draft, spec: Spec) -> DecodedSpec:
    """The spec with a SecretRef in every secret field; secrets in plain text are reported."""
    walk = _SpecWalk(draft, select_secret_marks(draft))
    names = {path[0] for path in walk.marks.named} if walk.marks.named else ()
    wrapped = {
        # A text outside of the container is neither secret nor a reference.
        key: value
        if type(value) is str and key != walk.marks.container and key not in names
        else walk.split_plain_texts(value, (key,))
        for key, value in spec.items()
    }
    _warn_of_plain_texts(draft, walk.literals)
    if draft.schema not in draft.context.marks.kinds:
        for name in list_free_form_fields(draft.schema):
            _warn_of_lookalikes(draft, wrapped.get(name), (name,))
    return wrapped


def may_be_sensitive(draft: Draft, path: FieldPath, pointer_path: FieldPath) -> bool:
    """Whether `lifecycle.sensitive` may name this field; reports why not.

    A path at which nothing stands is allowed, with a warning. `pointer_path` is where the document
    names it.
    """
    free = list_free_form_fields(draft.schema)
    if draft.schema in draft.context.marks.kinds:
        selector = draft.context.marks.kinds[draft.schema].selector
        draft.report(
            pointer_path,
            "Secrets of this kind are known",
            f"which fields of a {draft.schema} are secret follows from its {selector}",
            f"take it out; keys of an own {selector} are described in the project file",
        )
        return False
    if path[0] not in free:
        draft.report(
            pointer_path,
            "Not a free-form field",
            f"`{format_json_pointer(path)}` is never a secret: "
            f"{format_field_path(('spec', path[0]))} is not a free-form map",
            f"name a field inside of {', '.join(f'/{name}' for name in free)}",
        )
        return False
    _warn_of_absent_path(draft, path, pointer_path)
    return True


def _warn_of_absent_path(draft: Draft, path: FieldPath, pointer_path: FieldPath) -> None:
    value: Any = draft.spec
    for end, part in enumerate(path):
        below = value.get(part, _ABSENT) if isinstance(value, dict) else _ABSENT
        if below is not _ABSENT:
            value = below
            continue
        text, above = format_json_pointer(path), format_field_path(("spec", *path[:end]))
        detail = f"`{text}` names no field of spec: {above} has no `{part}`"
        is_early = int(pointer_path[-1]) < _MAX_SUGGESTIONS
        hint = suggest_words(str(part), value) if isinstance(value, dict) and is_early else ""
        if isinstance(value, dict) and is_early and (near := find_similar_word(str(part), value)):
            hint = f"did you mean `{format_json_pointer((*path[:end], near, *path[end + 1 :]))}`?"
        elif isinstance(value, list):
            detail = f"`{text}` names a part of {above}, which is a list: a list is one value"
            hint = f"name `{format_json_pointer(path[:end])}`: all of the list is secret"
        draft.warn(pointer_path, "Sensitive path names nothing", detail, hint)
        return


def _warn_of_lookalikes(draft: Draft, value: Any, path: FieldPath) -> None:
    """Warn of each free-form value that looks like a secret and is not marked as one."""
    if isinstance(value, dict):
        for key, below in value.items():
            if isinstance(below, str | list | dict):
                _warn_of_lookalikes(draft, below, (*path, key))
        return
    kind = describe_lookalike(path, value)
    if not kind or _is_allowed_by_comment(draft, ("spec", *path)):
        return
    source = f"env: {suggest_variable(path)}"
    if isinstance(value, list):
        source += ", format: json"
    draft.warn(
        ("spec", *path),
        "What looks like a secret in plain text",
        f"`{format_field_path(('spec', *path))}` holds {kind}, and is not marked as a secret: "
        "plans and the state show it",
        f"name it, lifecycle: {{{SENSITIVE}: [{format_json_pointer(path)}]}}, and write "
        f"{{valueFrom: {{{source}}}}} there",
    )


def describe_lookalike(path: FieldPath, value: Any) -> str:
    """What kind of secret a free-form value, or a part of a list, looks like; "" for none."""
    name = str(path[-1])
    if isinstance(value, str):
        return guess_secret_kind(name, value)
    if isinstance(value, list):
        return next((kind for item in value if (kind := describe_lookalike((name,), item))), "")
    if isinstance(value, dict):
        pairs = (describe_lookalike((key,), below) for key, below in value.items())
        return next((kind for kind in pairs if kind), "")
    return ""


def suggest_variable(path: FieldPath) -> str:
    """The last key of a path as a name of an environment variable, such as `API_TOKEN`."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", str(path[-1])).upper()
    return f"_{name}" if name[:1].isdigit() else name


def _is_allowed_by_comment(draft: Draft, path: FieldPath) -> bool:
    """Whether a comment at or above the value's line says that it is no secret."""
    place, source = draft.find_position(path), draft.document.source
    if place is None or place.file != source.file:
        return False
    return is_line_allowed_by_comment(source.get_line_and_preceding(place.line), 2)


def _warn_of_plain_texts(draft: Draft, literals: list[FieldPath]) -> None:
    if draft.schema not in draft.context.marks.kinds:
        for path in literals:
            _warn_of_plain_text(draft, path)
        return
    if not literals:
        return
    provider = draft.spec.get(draft.context.marks.kinds[draft.schema].selector)
    # A provider that the project describes is in these marks as well.
    is_described = provider in draft.context.marks.kinds[draft.schema].secret_paths_by_value
    if not is_described and provider not in schemas.known_providers():
        return  # the unknown provider itself was reported, once
    if not is_described:
        # Any of them may be harmless: one finding, not one for each.
        names = ", ".join(format_field_path(path[1:]) for path in literals)
        draft.warn(
            ("spec", literals[0][0]),
            "Values that may be secrets in plain text",
            "which keys of this provider hold secrets is not known, and these are plain text:"
            f" {names}",
            "write what is secret as {valueFrom: {env: NAME}}",
        )
        return
    for path in literals:
        _warn_of_plain_text(draft, path)


def _warn_of_plain_text(draft: Draft, path: FieldPath) -> None:
    name = suggest_variable(path)
    draft.warn(
        ("spec", *path),
        "Secret in plain text",
        f"`{format_field_path(('spec', *path))}` is a secret, and its value is plain text: it "
        "stands here, or comes from a variable",
        f"write {{valueFrom: {{env: {name}}}}} or {{valueFrom: {{file: secrets/...}}}}; if the"
        " text was ever committed, replace the secret: it stays in the history of that file",
    )


@mutable
class _SpecWalk:
    """One walk over a spec; `literals` collects the paths of secrets in plain text."""

    draft: Draft
    marks: SpecMarks
    literals: list[FieldPath] = field(default_factory=list)

    def split_plain_texts(self, value: Any, path: FieldPath) -> Any:
        """A copy of the value with SecretRef in place of secrets; reports misplaced `valueFrom`."""
        if value is None:
            return None
        is_secret = self.marks.is_secret(path)
        if is_secret and _is_value_from_map(value):
            return _decode_value_from(self.draft, value[VALUE_FROM], path)
        if isinstance(value, dict) and value and not self.marks.is_map_one_secret(path):
            if not is_secret and _is_value_from_map(value):
                _report_misplaced(self.draft, path)
                return None
            return {
                key: self.split_plain_texts(child, (*path, key)) for key, child in value.items()
            }
        if isinstance(value, list):
            for reference_path in _iter_value_from_paths(value, path):
                _report_misplaced(self.draft, reference_path, in_list=True)
        if not is_secret and not (self.marks.named and self.marks.has_named_field_below(path)):
            return value
        # Wrapped even in plain text, so that no view, state or log can show it.
        self.literals.append(path)
        return SecretRef("literal", literal=Sensitive(value))


def _is_value_from_map(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and VALUE_FROM in value


def _iter_value_from_paths(value: Any, path: FieldPath) -> Iterator[FieldPath]:
    if _is_value_from_map(value):
        yield path
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _iter_value_from_paths(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _iter_value_from_paths(child, (*path, index))


def _report_misplaced(draft: Draft, path: FieldPath, in_list: bool = False) -> None:
    field_name = format_field_path(("spec", *path))
    detail = f"`{field_name}` is not a secret field"
    hint = "write the value, or use a variable: ${var.NAME}"
    names = list(itertools.takewhile(lambda part: isinstance(part, str), path))
    is_free_form = names[0] in list_free_form_fields(draft.schema)
    may_be_named = is_free_form and draft.schema not in draft.context.marks.kinds
    if may_be_named:
        hint += (
            f"; if it is a secret, name it: lifecycle: {{{SENSITIVE}: "
            f"[{format_json_pointer(tuple(names))}]}}"
        )
    if in_list:
        detail = f"`{field_name}` stands in a list, and a list is one value"
        if may_be_named:
            hint += ", and give the whole list by valueFrom with format: json"
    draft.report(("spec", *path), ONLY_FOR_SECRETS, detail, hint)


def _decode_value_from(draft: Draft, source_block: Any, path: FieldPath) -> SecretRef | None:
    block_path = ("spec", *path, VALUE_FROM)
    if not isinstance(source_block, dict):
        source_block = {}
    names = [key for key in SECRET_SOURCES if key in source_block]
    unknown_keys = [key for key in source_block if key not in {*SECRET_SOURCES, "format"}]
    format_name = source_block.get("format", "text")
    if len(names) != 1 or unknown_keys or format_name not in {"text", "json"}:
        # Known providers' schemas said this already, in more detail.
        draft.report(
            block_path,
            "Malformed valueFrom",
            f"`{format_field_path(block_path)}` needs exactly one of {format_source_names()}",
            "write {valueFrom: {env: NAME}}",
        )
        return None
    source, source_path = SECRET_SOURCES[names[0]], (*block_path, names[0])
    ref = build_reference_or_none_if_malformed(source, source_block[source.name], format_name)
    if ref is None:
        draft.report(
            source_path,
            "Malformed valueFrom",
            f"`{format_field_path(source_path)}` {describe_malformed(source)}",
            f"write {source.example}",
        )
        return None
    # Of a name with a variable without a value, which was reported, nothing can be said.
    if any(path[: len(source_path)] == source_path for path in draft.unknown_paths):
        return ref
    if denial := draft.context.find_denial(source, ref):
        draft.report(
            source_path,
            denial.summary,
            denial.detail,
            denial.hint,
            target=draft.context.target.name if denial.names_target else None,
        )
    return ref

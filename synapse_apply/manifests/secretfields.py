"""Secret fields of a spec: `valueFrom` to SecretRef, literals wrapped at once.

They are those that the kind's schema marks and those that the manifest names in
`lifecycle.sensitive`. A free-form value beside them that looks like a secret is a warning.

The text of a literal is in no finding: only its path is.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests import shapes
from synapse_apply.manifests.draft import Context, Draft
from synapse_apply.manifests.wording import (
    ONLY_FOR_SECRETS,
    VALUE_FROM,
    closest,
    did_you_mean,
    dotted,
)
from synapse_apply.model.credentials import allows, is_secret_value
from synapse_apply.model.diagnostic import Path, from_pointer, pointer
from synapse_apply.model.marks import UNMARKED, SpecMarks
from synapse_apply.model.secret_rules import forbidden_env
from synapse_apply.model.values import SecretRef, Sensitive

SENSITIVE = "sensitive"
_ABSENT = object()
# To look for what was meant takes long: a hostile document may have thousands of wrong paths.
_MOST_SUGGESTIONS = 20


@cache
def list_free_form_fields(schema: str) -> tuple[str, ...]:
    """The fields of a kind that hold free-form maps."""
    return tuple(name for name, rule in CATALOGUE[schema].rules.items() if rule.free_form)


def find_named_secrets(draft: Draft) -> frozenset[Path]:
    """The fields that a document names as secrets, however the rest of it is."""
    block = draft.value.get("lifecycle") if isinstance(draft.value, dict) else None
    texts = block.get(SENSITIVE) if isinstance(block, dict) else None
    texts = texts if isinstance(texts, list) else ()
    pointers = (from_pointer(text) for text in texts if isinstance(text, str) and text[:1] == "/")
    return frozenset(path for path in pointers if path[0] in list_free_form_fields(draft.schema))


def find_marks(context: Context, draft: Draft) -> SpecMarks:
    """The secret fields of a document: its kind's, or those that it names."""
    of_kind = context.marks.kinds.get(draft.schema)
    if of_kind is not None:
        return of_kind.of(draft.spec)
    named = find_named_secrets(draft) if "lifecycle" in draft.value else frozenset()
    return UNMARKED.with_named(named) if named else UNMARKED


def secured(context: Context, draft: Draft, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with SecretRef in every secret field; the literals there are reported."""
    walk = _Walk(context, draft, find_marks(context, draft))
    names = {path[0] for path in walk.marks.named} if walk.marks.named else ()
    wrapped = {
        # A text outside of the container is neither secret nor a reference.
        key: value
        if type(value) is str and key != walk.marks.container and key not in names
        else walk.walked(value, (key,))
        for key, value in spec.items()
    }
    _report_literals(context, draft, walk.literals)
    if draft.schema not in context.marks.kinds:
        for name in list_free_form_fields(draft.schema):
            _report_lookalikes(context, draft, wrapped.get(name), (name,))
    return wrapped


def check_named_secret(context: Context, draft: Draft, path: Path, at: Path) -> bool:
    """Whether `lifecycle.sensitive` may name this field; reports why not, and what is not there."""
    free = list_free_form_fields(draft.schema)
    if draft.schema in context.marks.kinds:
        selector = context.marks.kinds[draft.schema].selector
        context.find(
            draft,
            at,
            "Secrets of this kind are known",
            f"which fields of a {draft.schema} are secret follows from its {selector}",
            f"take it out; keys of an own {selector} are described in the project file",
        )
        return False
    if path[0] not in free:
        context.find(
            draft,
            at,
            "Not a free-form field",
            f"`{pointer(path)}` is never a secret: {dotted(('spec', path[0]))} is no free-form map",
            f"name a field inside of {', '.join(f'/{name}' for name in free)}",
        )
        return False
    _report_nothing_there(context, draft, path, at)
    return True


def _report_nothing_there(context: Context, draft: Draft, path: Path, at: Path) -> None:
    value: Any = draft.spec
    for end, part in enumerate(path):
        below = value.get(part, _ABSENT) if isinstance(value, dict) else _ABSENT
        if below is not _ABSENT:
            value = below
            continue
        text, above = pointer(path), dotted(("spec", *path[:end]))
        detail = f"`{text}` names no field of spec: {above} has no `{part}`"
        is_early = int(at[-1]) < _MOST_SUGGESTIONS
        hint = did_you_mean(str(part), value) if isinstance(value, dict) and is_early else ""
        if isinstance(value, dict) and is_early and (near := closest(str(part), value)):
            hint = f"did you mean `{pointer((*path[:end], near, *path[end + 1 :]))}`?"
        elif isinstance(value, list):
            detail = f"`{text}` names a part of {above}, which is a list: a list is one value"
            hint = f"name `{pointer(path[:end])}`: all of the list is secret"
        context.warn(draft, at, "Sensitive path names nothing", detail, hint)
        return


def _report_lookalikes(context: Context, draft: Draft, value: Any, path: Path) -> None:
    """A warning for each free-form value that looks like a secret and is not named as one."""
    if isinstance(value, dict):
        for key, below in value.items():
            if isinstance(below, str | list | dict):
                _report_lookalikes(context, draft, below, (*path, key))
        return
    kind = describe_lookalike(path, value)
    if not kind or _is_allowed(draft, ("spec", *path)):
        return
    source = f"env: {build_variable_name(path)}"
    if isinstance(value, list):
        source += ", format: json"
    context.warn(
        draft,
        ("spec", *path),
        "What looks like a secret in plain text",
        f"`{dotted(('spec', *path))}` holds {kind}, and is not marked as a secret: plans and the"
        " state show it",
        f"name it, lifecycle: {{{SENSITIVE}: [{pointer(path)}]}}, and write {{valueFrom:"
        f" {{{source}}}}} there",
    )


def describe_lookalike(path: Path, value: Any) -> str:
    """What a free-form value, or a part of a list, looks like; "" where it is like no secret."""
    name = str(path[-1])
    if isinstance(value, str):
        return is_secret_value(name, value)
    if isinstance(value, list):
        return next((kind for item in value if (kind := describe_lookalike((name,), item))), "")
    if isinstance(value, dict):
        pairs = (describe_lookalike((key,), below) for key, below in value.items())
        return next((kind for kind in pairs if kind), "")
    return ""


def build_variable_name(path: Path) -> str:
    """The last name of a path as that of an environment variable."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", str(path[-1])).upper()
    return f"_{name}" if name[:1].isdigit() else name


def _is_allowed(draft: Draft, path: Path) -> bool:
    """Whether a comment in the manifest says that this value is no secret."""
    place, source = draft.place(path), draft.document.source
    if place is None or place.file != source.file:
        return False
    return allows(source.line_and_the_one_above(place.line), 2)


def _report_literals(context: Context, draft: Draft, literals: list[Path]) -> None:
    if draft.schema not in context.marks.kinds:
        for path in literals:
            _report_literal(context, draft, path)
        return
    if not literals:
        return
    provider = draft.spec.get(context.marks.kinds[draft.schema].selector)
    is_described = provider in context.marks.kinds[draft.schema].by_value
    if not is_described and provider not in shapes.provider_names():
        return  # said once, of the provider
    if not is_described:
        # Any of them may be harmless: one finding, not one for each.
        names = ", ".join(dotted(path[1:]) for path in literals)
        context.warn(
            draft,
            ("spec", literals[0][0]),
            "Values that may be secrets in plain text",
            "which keys of this provider hold secrets is not known, and these are plain text:"
            f" {names}",
            "write what is secret as {valueFrom: {env: NAME}}",
        )
        return
    for path in literals:
        _report_literal(context, draft, path)


def _report_literal(context: Context, draft: Draft, path: Path) -> None:
    name = build_variable_name(path)
    context.warn(
        draft,
        ("spec", *path),
        "Secret in plain text",
        f"`{dotted(('spec', *path))}` is a secret, and its value is plain text: it stands here,"
        " or comes from a variable",
        f"write {{valueFrom: {{env: {name}}}}} or {{valueFrom: {{file: secrets/...}}}}; if the"
        " text was ever committed, replace the secret: it stays in the history of that file",
    )


@dataclass(slots=True)
class _Walk:
    """One spec being looked through; `literals` are the places of secrets in plain text."""

    context: Context
    draft: Draft
    marks: SpecMarks
    literals: list[Path] = field(default_factory=list)

    def walked(self, value: Any, path: Path) -> Any:
        """The value with SecretRef in place of secrets."""
        if value is None:
            return None
        secret = self.marks.secret(path)
        if secret and _is_reference(value):
            return _reference(self.context, self.draft, value[VALUE_FROM], path)
        if isinstance(value, dict) and value and not self.marks.whole(path):
            if not secret and _is_reference(value):
                _refuse(self.context, self.draft, path)
                return None
            return {key: self.walked(below, (*path, key)) for key, below in value.items()}
        if isinstance(value, list):
            for inside in _references_in(value, path):
                _refuse(self.context, self.draft, inside, in_list=True)
        if not secret and not (self.marks.named and self.marks.holds_named(path)):
            return value
        self.literals.append(path)
        return SecretRef("literal", literal=Sensitive(value))


def _is_reference(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and VALUE_FROM in value


def _references_in(value: Any, path: Path) -> Iterator[Path]:
    if _is_reference(value):
        yield path
    elif isinstance(value, dict):
        for key, below in value.items():
            yield from _references_in(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _references_in(below, (*path, index))


def _refuse(context: Context, draft: Draft, path: Path, in_list: bool = False) -> None:
    whole = dotted(("spec", *path))
    detail = f"`{whole}` is not a secret field"
    hint = "write the value, or use a variable: ${var.NAME}"
    names = list(itertools.takewhile(lambda part: isinstance(part, str), path))
    is_free_form = names[0] in list_free_form_fields(draft.schema)
    may_be_named = is_free_form and draft.schema not in context.marks.kinds
    if may_be_named:
        hint += (
            f"; if it is a secret, name it: lifecycle: {{{SENSITIVE}: [{pointer(tuple(names))}]}}"
        )
    if in_list:
        detail = f"`{whole}` stands in a list, and a list is one value"
        if may_be_named:
            hint += ", and give the whole list by valueFrom with format: json"
    context.find(draft, ("spec", *path), ONLY_FOR_SECRETS, detail, hint)


def _reference(context: Context, draft: Draft, where: Any, path: Path) -> SecretRef | None:
    at = ("spec", *path, VALUE_FROM)
    if not isinstance(where, dict):
        where = {}
    sources = [key for key in ("env", "file", "live") if key in where]
    strange = [key for key in where if key not in {"env", "file", "live", "format"}]
    if len(sources) != 1 or strange or where.get("format", "text") not in {"text", "json"}:
        # Known providers' schemas said this already, in more detail.
        context.find(
            draft,
            at,
            "Malformed valueFrom",
            f"`{dotted(at)}` needs exactly one of env, file and live",
            "write {valueFrom: {env: NAME}}",
        )
        return None
    source = sources[0]
    if source == "live":
        return SecretRef("live")
    name = where[source]
    if not isinstance(name, str) or not name:
        context.find(
            draft,
            (*at, source),
            "Malformed valueFrom",
            f"`{dotted((*at, source))}` is not a name",
            "write {valueFrom: {env: NAME}}",
        )
        return None
    if source == "env":
        _check_env(context, draft, (*at, source), name)
    else:
        _check_file(context, draft, (*at, source), name)
    return SecretRef(source, name, where.get("format", "text"))


def _check_env(context: Context, draft: Draft, path: Path, name: str) -> None:
    if context.may_read_env(name):
        return
    if forbidden_env(name):
        context.find(
            draft,
            path,
            "Variable is never readable",
            f"valueFrom may not read {name}: it belongs to synapse-apply or to the CI job",
            "keep the secret in a variable of its own",
        )
        return
    if setting := context.project.reserved.setting_of_variable(name):
        context.find(
            draft,
            path,
            "Variable is never readable",
            f"valueFrom may not read {name}: {setting} names it, and a manifest could send it away",
            "keep the secret in a variable of its own",
        )
        return
    target = context.target.name
    context.find(
        draft,
        path,
        "Variable is not allowed",
        f"{name} fits no pattern of allow_env: {', '.join(context.target.allow_env)}",
        f"add {name} to targets.{target}.allow_env",
        target=target,
    )


def _check_file(context: Context, draft: Draft, path: Path, name: str) -> None:
    if context.may_read_file(name):
        return
    if setting := context.project.reserved.setting_of_file(name, context.project.root):
        context.find(
            draft,
            path,
            "File is not allowed",
            f"valueFrom may not read `{name}`: {setting} names it, and a manifest could send it"
            " away",
            "keep the secret in a file of its own",
        )
    else:
        context.find(
            draft,
            path,
            "File is not allowed",
            f"valueFrom may not read `{name}`: it lies outside the project, or holds our state"
            " or Git's data",
            "move it inside, or list it under allow_files in synapse-apply.yaml",
        )

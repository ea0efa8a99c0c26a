"""Secret fields of a spec: `valueFrom` to SecretRef, literals wrapped at once.

The text of a literal is in no finding: only its path is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from synapse_apply.manifests import shapes
from synapse_apply.manifests.draft import Context, Draft
from synapse_apply.manifests.wording import ONLY_FOR_SECRETS, VALUE_FROM, dotted
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.marks import SpecMarks
from synapse_apply.model.secret_rules import forbidden_env
from synapse_apply.model.values import SecretRef, Sensitive

_UNMARKED = SpecMarks("", frozenset())


def secured(context: Context, draft: Draft, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with SecretRef in every secret field; the literals there are reported."""
    found = context.marks.kinds.get(draft.schema)
    walk = _Walk(context, draft, found.of(draft.spec) if found else _UNMARKED)
    wrapped = {
        # A text outside of the container is neither secret nor a reference.
        key: value
        if type(value) is str and key != walk.marks.container
        else walk.walked(value, (key,))
        for key, value in spec.items()
    }
    _report_literals(context, draft, walk.literals)
    return wrapped


def _report_literals(context: Context, draft: Draft, literals: list[Path]) -> None:
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
        name = re.sub(r"\W+", "_", str(path[-1])).upper()
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
        if not secret:
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
    if in_list:
        detail = f"`{whole}` stands in a list, and a list is one value"
    context.find(
        draft,
        ("spec", *path),
        ONLY_FOR_SECRETS,
        detail,
        "write the value, or use a variable: ${var.NAME}",
    )


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

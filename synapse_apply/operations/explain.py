"""What the schemas say of a field that people write, and what a rule of packages asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.schemas import build_strict_schema, known_providers, provider_called
from synapse_apply.model.errors import InputError, NameNotFound
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.packages import RULES_BY_ID
from synapse_apply.model.phrases import find_similar_word

_FACTS = ("description", "type", "enum", "const", "default", "examples", "required")
_INPUT_NAMES = (*CATALOGUE, "project", "policy", "package-config")
_MAX_DEPTH = 8


def explain(name: str) -> JsonDocument:
    """What `name` is: KIND, KIND.FIELD, the name of a provider, or a rule such as package:version.

    `fields` has what stands below it. NameNotFound for a name that no schema has.
    """
    if (rule := RULES_BY_ID.get(name)) is not None:
        return {"name": name, "level": rule.level.value, "title": rule.title, "text": rule.text}
    first, *path = name.split(".")
    providers = known_providers()
    schema_name = provider_called(first) or first.lower()
    if schema_name not in (*_INPUT_NAMES, *providers):
        raise _build_not_found(
            first, "not a kind, a file or a provider", (*_INPUT_NAMES, *providers)
        )
    folder = "providers/" if schema_name in providers else ""
    root = build_strict_schema(folder + schema_name)
    facts, fields = _read_facts_and_fields(root, root)
    for part in path:
        # NAME is any name that people choose, as that of a target.
        if (schema := fields.get(part, fields.get("NAME"))) is None:
            raise _build_not_found(part, f"not a field in the path {name}", fields)
        facts, fields = _read_facts_and_fields(schema, root)
    below = {field: _read_facts_and_fields(schema, root)[0] for field, schema in fields.items()}
    return {"name": name, **facts, "fields": below}


def _build_not_found(name: str, what: str, known: Collection[str]) -> InputError:
    near = find_similar_word(name, known)
    return NameNotFound.from_summary(
        f"Unknown name {name!r}",
        f"It is {what}.",
        f"Known: {', '.join(known) or 'none'}." + (f" Did you mean `{near}`?" if near else ""),
    )


def _read_facts_and_fields(
    schema: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a schema and all that it is joined of say, and the schemas of its fields."""
    facts = {key: schema[key] for key in _FACTS if key in schema}
    named = schema.get("additionalProperties") or {}
    fields = {**schema.get("properties", {}), **({"NAME": named} if named else {})}
    below = [one for key in ("anyOf", "oneOf", "allOf") for one in schema.get(key, ())]
    below += [schema[key] for key in ("then", "else", "items") if key in schema]
    if "$ref" in schema:
        node: Any = root
        for part in filter(None, schema["$ref"].removeprefix("#").split("/")):
            node = node[part]
        below.append(node)
    # Schemas may refer to one another in a circle.
    for one in below if depth < _MAX_DEPTH else ():
        more_facts, more_fields = _read_facts_and_fields(one, root, depth + 1)
        facts = {**more_facts, **facts}
        # A condition may say more of a field that stands above.
        fields = {
            **more_fields,
            **{name: {**more_fields.get(name, {}), **fields[name]} for name in fields},
        }
    return facts, {field: one for field, one in fields.items() if one != {"not": {}}}

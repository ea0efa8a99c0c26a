"""How a misfit between a document and its schema is explained, and at which position.

jsonschema is slow to import and used only when there is a misfit to explain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import cache
from typing import Any

from synapse_apply.manifests.phrases import ONLY_FOR_SECRETS, VALUE_FROM
from synapse_apply.manifests.schema import schemas
from synapse_apply.manifests.yaml.reader import describe_value_kind
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    find_nearest_position,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import (
    format_field_path,
    suggest_words,
)

ScalarText = Callable[[Position, Any], str]
_TYPE_LABELS = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}

_TYPE_EXAMPLES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list, such as [a, b]",
    "object": "a mapping, such as {key: value}",
}


@frozen
class ValueToCheck:
    """A value that is checked against a schema.

    `is_hidden` says whether the value at a path must not be shown; `scalar_text` gives the
    source text of a scalar at a position; `path` is the path of the value in its document.
    """

    value: Any = field(repr=False)
    positions: Mapping[FieldPath, Position]
    is_hidden: Callable[[FieldPath], bool] = lambda _path: False
    scalar_text: ScalarText = lambda _position, value: str(value)
    path: FieldPath = ()

    def find_position(self, path: FieldPath) -> Position | None:
        return find_nearest_position(self.positions, (*self.path, *path))


@cache
def _build_explaining_validator(name: str) -> Any:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - only what is refused pays

    return Draft202012Validator(schemas.build_strict_schema(name))


def build_schema_findings(name: str, value_to_check: ValueToCheck) -> tuple[Diagnostic, ...]:
    """A finding for each misfit of a value, without repetitions, in the order of the file."""
    findings: dict[Diagnostic, None] = {}
    for problem in _build_explaining_validator(name).iter_errors(value_to_check.value):
        rule_ids = _iter_rule_ids_endlessly(problem, schemas.build_strict_schema(name))
        problem_findings = _iter_problem_findings(problem, value_to_check)
        findings.update(
            dict.fromkeys(finding.with_changes(rule=next(rule_ids)) for finding in problem_findings)
        )
    # The two validators may disagree on rare cases (such as huge numbers); no misfit may be lost.
    if not findings:
        findings.update(dict.fromkeys(_iter_findings_naming_only_path(name, value_to_check)))
    return tuple(sorted(findings, key=_build_position_sort_key))


def _iter_rule_ids_endlessly(problem: Any, root_schema: Mapping[str, Any]) -> Iterator[str | None]:
    """The rule id of each finding of a problem, endlessly; None where the schema names no rule.

    `x-lint` of a subschema maps keywords to rules; `null` there, or `x-lint-null` of the schema,
    is for a null where another type is needed.
    """
    schema = problem.schema if isinstance(problem.schema, dict) else {}
    by_keyword = schema.get("x-lint", {})
    rule = by_keyword.get(problem.validator)
    if problem.instance is None and problem.validator in {"type", "enum"}:
        rule = by_keyword.get("null", root_schema.get("x-lint-null", rule))
    # One problem lists all missing keys, each of which may have a rule of its own.
    if problem.validator == "required" and rule is None:
        for key in problem.validator_value:
            if key not in problem.instance:
                yield (
                    schema["properties"].get(key, {}).get("x-lint", {}).get("required")
                    if (by_keyword)
                    else None
                )
    while True:
        yield rule


def _build_position_sort_key(finding: Diagnostic) -> tuple[str, int, int]:
    position = finding.position
    return (position.file, position.line, position.column) if position else ("", 0, 0)


def _iter_findings_naming_only_path(
    name: str, value_to_check: ValueToCheck
) -> Iterator[Diagnostic]:
    """Findings that name only the path, for misfits that jsonschema-rs alone sees."""
    for problem in schemas.compile_validator(name).iter_errors(value_to_check.value):
        path = tuple(problem.instance_path)
        yield _build_finding(
            value_to_check,
            path,
            "Does not fit the schema",
            f"`{format_field_path(path)}` is not allowed",
        )


def _build_finding(
    value_to_check: ValueToCheck, path: FieldPath, summary: str, detail: str, hint: str = ""
) -> Diagnostic:
    full_path = (*value_to_check.path, *path)
    return error_finding(
        summary, detail, hint, position=value_to_check.find_position(path), path=full_path
    )


def _iter_problem_findings(problem: Any, value_to_check: ValueToCheck) -> Iterator[Diagnostic]:
    path: FieldPath = tuple(problem.absolute_path)
    explainer = _EXPLAINERS.get(problem.validator)
    if explainer is None:
        subject_name = _format_subject_name(value_to_check, path)
        detail = f"{subject_name} does not fit its schema (`{problem.validator}`)"
        yield _build_finding(
            value_to_check, path, "Value not allowed", detail, _get_rule_or_description(problem)
        )
    else:
        yield from explainer(problem, value_to_check, path)


def _format_subject_name(value_to_check: ValueToCheck, path: FieldPath) -> str:
    dotted_path = format_field_path((*value_to_check.path, *path))
    return f"`{dotted_path}`" if dotted_path else "the document"


def _get_rule_or_description(problem: Any) -> str:
    schema = problem.schema if isinstance(problem.schema, dict) else {}
    return str(schema.get("x-rule") or schema.get("description", ""))


def _format_showable_value_or_empty(
    problem: Any, value_to_check: ValueToCheck, path: FieldPath
) -> str:
    """The value as text; "" for a hidden, long, null or collection value."""
    value = problem.instance
    must_hide = value_to_check.is_hidden(path) or problem.schema.get("x-hidden", False)
    if isinstance(value, (dict, list)) or value is None or must_hide:
        return ""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if len(value) <= 80 else ""
    position = value_to_check.find_position(path)
    return value_to_check.scalar_text(position, value) if position else str(value)


def _iter_unknown_field_findings(
    problem: Any, value_to_check: ValueToCheck, path: FieldPath
) -> Iterator[Diagnostic]:
    properties = problem.schema.get("properties", {})
    for key in problem.instance:
        if key not in properties:
            parent_name = _format_subject_name(value_to_check, path)
            yield _build_finding(
                value_to_check,
                (*path, key),
                "Unknown field",
                f"`{key}` is not a field of {parent_name}",
                _suggest_field(problem, key),
            )


def _suggest_field(problem: Any, key: str) -> str:
    """The closest field of the vocabulary in use, and the platform's own key for it."""
    vocabularies = problem.schema.get("x-vocabularies", {})
    documented, platform = vocabularies.get("documented", ()), vocabularies.get("platform", ())
    # A key of the other vocabulary would be the next finding.
    other: Sequence[str] = documented if set(platform) & set(problem.instance) else ()
    words = [name for name in problem.schema.get("properties", {}) if name not in other]
    hint = suggest_words(key, words)
    own_keys = zip(documented, platform, strict=False)
    own_key = next((own for name, own in own_keys if f"`{name}`" in hint), "")
    return f"{hint} The platform's own key is `{own_key}`" if own_key else hint


def _iter_missing_field_findings(
    problem: Any, value_to_check: ValueToCheck, path: FieldPath
) -> Iterator[Diagnostic]:
    properties = problem.schema.get("properties", {})
    for key in problem.validator_value:
        if key not in problem.instance:
            property_schema = properties.get(key, {})
            hint = (
                property_schema.get("description", "") if isinstance(property_schema, dict) else ""
            )
            yield _build_finding(
                value_to_check,
                path,
                "Missing field",
                f"{_format_subject_name(value_to_check, path)} needs `{key}`",
                f"add `{key}:`" + (f" ({hint[0].lower()}{hint[1:].rstrip('.')})" if hint else ""),
            )


def _iter_wrong_type_findings(
    problem: Any, value_to_check: ValueToCheck, path: FieldPath
) -> Iterator[Diagnostic]:
    yield _build_type_finding(problem, value_to_check, path, problem.validator_value)


def _build_type_finding(
    problem: Any, value_to_check: ValueToCheck, path: FieldPath, expected_types: Any
) -> Diagnostic:
    names = [expected_types] if isinstance(expected_types, str) else list(expected_types)
    value = problem.instance
    subject_name = _format_subject_name(value_to_check, path)
    expected_text = " or ".join(_TYPE_LABELS[name] for name in names if name != "null")
    if value is None:
        hint = "leave the field out" + (', or write "" for an empty text' * ("string" in names))
        detail = f"{subject_name} is null where {expected_text} is needed"
        return _build_finding(value_to_check, path, "Null is not a value", detail, hint)
    # A reference to a secret in a field that is none, which is more helpful than the type.
    if isinstance(value, dict) and list(value) == [VALUE_FROM]:
        hint = "write the value, or use a variable: ${var.NAME}"
        return _build_finding(
            value_to_check, path, ONLY_FOR_SECRETS, f"{subject_name} is not a secret field", hint
        )
    # A text of the wrong type is not quoted: it may be a secret in the wrong field.
    value_text = (
        ""
        if isinstance(value, str)
        else _format_showable_value_or_empty(problem, value_to_check, path)
    )
    actual_text = describe_value_kind(value) + (f" ({value_text})" if value_text else "")
    detail = f"{subject_name} is {actual_text} where {expected_text} is needed"
    return _build_finding(
        value_to_check,
        path,
        "Wrong type",
        detail,
        _suggest_correction(problem, value, names, value_text),
    )


def _suggest_correction(problem: Any, value: Any, names: list[str], value_text: str) -> str:
    """A hint what to write instead of a value of the wrong type."""
    schema = problem.schema if isinstance(problem.schema, dict) else {}
    rule = schema.get("x-rule")
    if "string" in names and isinstance(value, (bool, int, float)):
        if rule and value_text and re.search(schema.get("pattern", ""), value_text) is None:
            return f"write {rule}"  # in quotes it would be wrong, too
        return f'quote it: "{value_text}"' if value_text else "quote it"
    if isinstance(value, str) and _would_fit_unquoted(value, names):
        return "remove the quotes"
    examples = (_TYPE_EXAMPLES[name] for name in names if name != "null")
    return "write " + (rule or " or ".join(examples))


def _would_fit_unquoted(text: str, type_names: list[str]) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    # By the type itself: to `isinstance`, True is an integer.
    python_types: dict[str, set[type]] = {
        "integer": {int},
        "number": {int, float},
        "boolean": {bool},
    }
    return any(type(value) in python_types.get(name, set()) for name in type_names)


def _iter_value_not_allowed_findings(
    problem: Any, value_to_check: ValueToCheck, path: FieldPath
) -> Iterator[Diagnostic]:
    is_const = problem.validator == "const"
    allowed = [problem.validator_value] if is_const else problem.validator_value
    words = [
        option if isinstance(option, str) else json.dumps(option)
        for option in allowed
        if option is not None
    ]
    value_text = _format_showable_value_or_empty(problem, value_to_check, path)
    value_label = value_text or describe_value_kind(problem.instance)
    allowed_text = (
        f"where only {words[0]} is known" if is_const else f"which is none of {', '.join(words)}"
    )
    subject_name = _format_subject_name(value_to_check, path)
    detail = f"{subject_name} is {value_label}, {allowed_text}"
    if "propertyNames" in problem.absolute_schema_path:
        detail, path = (
            f"the name {value_label} in {subject_name}, {allowed_text}",
            (*path, problem.instance),
        )
    text = problem.instance if isinstance(problem.instance, str) and value_text else ""
    hint = suggest_words(text, words) if text else f"write {' or '.join(words)}"
    yield _build_finding(value_to_check, path, "Unknown value", detail, hint)


def _iter_malformed_value_findings(
    problem: Any, value_to_check: ValueToCheck, path: FieldPath
) -> Iterator[Diagnostic]:
    value_text = _format_showable_value_or_empty(problem, value_to_check, path)
    hint = "write " + str(problem.schema.get("x-rule", f"what fits {problem.validator_value}"))
    if "${var." in value_text:
        hint = "no variables stand here; " + hint
    if "propertyNames" in problem.absolute_schema_path:
        detail = f"the name {value_text} is not of the form it must have"
        path = (*path, problem.instance)
    else:
        value_clause = f" is {value_text}, which" if value_text else ""
        subject_name = _format_subject_name(value_to_check, path)
        detail = f"{subject_name}{value_clause} is not of the form it must have"
    yield _build_finding(value_to_check, path, "Malformed value", detail, hint)


_LIMIT_TEXTS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "minLength": "at least {} character(s) long",
    "maxLength": "at most {} characters long",
    "minItems": "a list of at least {}",
    "maxItems": "a list of at most {}",
    "uniqueItems": "a list without repetitions",
}


def _iter_out_of_range_findings(
    problem: Any, value_to_check: ValueToCheck, path: FieldPath
) -> Iterator[Diagnostic]:
    limit = _LIMIT_TEXTS[problem.validator].format(problem.validator_value)
    value_text = _format_showable_value_or_empty(problem, value_to_check, path)
    value_clause = f" is {value_text}, but" if value_text else ""
    detail = f"{_format_subject_name(value_to_check, path)}{value_clause} must be {limit}"
    yield _build_finding(
        value_to_check, path, "Value out of range", detail, "write a value that is " + limit
    )


def _iter_field_choice_findings(
    problem: Any, value_to_check: ValueToCheck, path: FieldPath
) -> Iterator[Diagnostic]:
    """A finding for `oneOf` or `anyOf`.

    Our schemas use both only to say which keys go together.
    """
    required_sets = [option.get("required", []) for option in problem.validator_value]
    keys = [key for option in required_sets for key in option]
    present_keys = [
        key for key in keys if isinstance(problem.instance, dict) and key in problem.instance
    ]
    present_text = ", ".join(f"`{key}`" for key in present_keys)
    names = " or ".join(f"`{key}`" for key in keys)
    # `oneOf` fails for too many keys as well as for none; `anyOf` only for none.
    if len(present_keys) > 1 and problem.validator == "oneOf":
        yield _build_finding(
            value_to_check,
            (*path, present_keys[-1]),
            "Fields exclude each other",
            f"{_format_subject_name(value_to_check, path)} has {present_text}",
            f"keep one of {present_text}",
        )
    else:
        yield _build_finding(
            value_to_check,
            path,
            "Missing field",
            f"{_format_subject_name(value_to_check, path)} needs {names}",
            f"add {names}",
        )


def _build_two_vocabularies_finding(value_to_check: ValueToCheck, path: FieldPath) -> Diagnostic:
    key = path[-1]
    siblings = value_to_check.value
    for part in path[:-1]:
        siblings = siblings[part]
    provider = value_to_check.value.get("spec", {}).get("provider", "")
    vocabularies = schemas.bundle_schema_with_referenced_files("providers/" + provider).get(
        "x-vocabularies", {}
    )
    documented, platform = vocabularies.get("documented", ()), vocabularies.get("platform", ())
    documented_key = next((name for name in documented if name in siblings), "")
    own_key = dict(zip(documented, platform, strict=False)).get(documented_key, "")
    own_text = f" (the platform's own is `{own_key}`)" if own_key else ""
    return _build_finding(
        value_to_check,
        path,
        "Keys of two vocabularies",
        f"`{key}` is one of the platform's keys, `{documented_key}` one of the documented keys"
        f"{own_text}",
        f"use either {', '.join(documented)} or {', '.join(platform)}",
    )


def _iter_forbidden_value_findings(
    problem: Any, value_to_check: ValueToCheck, path: FieldPath
) -> Iterator[Diagnostic]:
    """A finding for `not`: our schemas write `{}` for a key beside others, else it forbids null."""
    if problem.validator_value == {}:
        yield _build_two_vocabularies_finding(value_to_check, path)
    else:
        yield _build_type_finding(problem, value_to_check, path, "object")


_EXPLAINERS: dict[str, Callable[[Any, ValueToCheck, FieldPath], Iterator[Diagnostic]]] = {
    "additionalProperties": _iter_unknown_field_findings,
    "required": _iter_missing_field_findings,
    "type": _iter_wrong_type_findings,
    "enum": _iter_value_not_allowed_findings,
    "const": _iter_value_not_allowed_findings,
    "pattern": _iter_malformed_value_findings,
    "oneOf": _iter_field_choice_findings,
    "anyOf": _iter_field_choice_findings,
    "not": _iter_forbidden_value_findings,
    **dict.fromkeys(_LIMIT_TEXTS, _iter_out_of_range_findings),
}

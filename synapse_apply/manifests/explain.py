"""Why a document does not fit its schema, in words, at the place of the key that is wrong.

jsonschema is imported here, when there is something to explain: a fitting document never pays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from functools import cache
from typing import Any

from synapse_apply.manifests import shapes
from synapse_apply.manifests.places import nearest
from synapse_apply.manifests.reader import kind_of
from synapse_apply.manifests.wording import ONLY_FOR_SECRETS, VALUE_FROM, did_you_mean, dotted
from synapse_apply.model.diagnostic import Diagnostic, Path, Position, error
from synapse_apply.model.frozen import frozen

ScalarText = Callable[[Position, Any], str]
_TYPES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}

_EXAMPLES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list, such as [a, b]",
    "object": "a mapping, such as {key: value}",
}


@frozen
class Subject:
    """A value under examination.

    `hidden` tells whether what stands at a path must not be shown; `scalar_text` gives the source
    text of a scalar at a position; `path` is where the value stands in its document.
    """

    value: Any = field(repr=False)
    positions: Mapping[Path, Position]
    hidden: Callable[[Path], bool] = lambda _path: False
    scalar_text: ScalarText = lambda _position, value: str(value)
    path: Path = ()

    def place(self, path: Path) -> Position | None:
        return nearest(self.positions, (*self.path, *path))


@cache
def _explainer(name: str) -> Any:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - only what is refused pays

    return Draft202012Validator(shapes.strict(name))


def explain(name: str, subject: Subject) -> tuple[Diagnostic, ...]:
    """The findings of one value against one schema, none twice, in the order of the file."""
    found: dict[Diagnostic, None] = {}
    for problem in _explainer(name).iter_errors(subject.value):
        named = _rules(problem, shapes.strict(name))
        explained = _explain(problem, subject)
        found.update(dict.fromkeys(one.with_(rule=next(named)) for one in explained))
    if not found:
        found.update(dict.fromkeys(_in_its_words(name, subject)))
    return tuple(sorted(found, key=_by_place))


def _rules(problem: Any, root: Mapping[str, Any]) -> Iterator[str | None]:
    """The id of the rule of each finding that a problem comes to, where the schema names rules.

    `x-lint` of a subschema names them by keyword; `null` there, or `x-lint-null` of the whole,
    stands for null where something else is needed.
    """
    schema = problem.schema if isinstance(problem.schema, dict) else {}
    by_keyword = schema.get("x-lint", {})
    rule = by_keyword.get(problem.validator)
    if problem.instance is None and problem.validator in {"type", "enum"}:
        rule = by_keyword.get("null", root.get("x-lint-null", rule))
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


def _by_place(finding: Diagnostic) -> tuple[Any, ...]:
    at = finding.position
    return (at.file, at.line, at.column) if at else ("", 0, 0)


def _in_its_words(name: str, subject: Subject) -> Iterator[Diagnostic]:
    """The fast validator refused what the other takes: say at least where."""
    for problem in shapes.validator(name).iter_errors(subject.value):
        path = tuple(problem.instance_path)
        yield _finding(subject, path, "Does not fit the schema", f"`{dotted(path)}` is not allowed")


def _finding(subject: Subject, path: Path, summary: str, detail: str, hint: str = "") -> Diagnostic:
    whole = (*subject.path, *path)
    return error(summary, detail, hint, position=subject.place(path), path=whole)


def _explain(problem: Any, subject: Subject) -> Iterator[Diagnostic]:
    path: Path = tuple(problem.absolute_path)
    explainer = _EXPLAINERS.get(problem.validator)
    if explainer is None:
        named = _named(subject, path)
        detail = f"{named} does not fit its schema (`{problem.validator}`)"
        yield _finding(subject, path, "Value not allowed", detail, _described(problem))
    else:
        yield from explainer(problem, subject, path)


def _named(subject: Subject, path: Path) -> str:
    whole = dotted((*subject.path, *path))
    return f"`{whole}`" if whole else "the document"


def _described(problem: Any) -> str:
    schema = problem.schema if isinstance(problem.schema, dict) else {}
    return str(schema.get("x-rule") or schema.get("description", ""))


def _shown(problem: Any, subject: Subject, path: Path) -> str:
    """The value as text, or "" when it must not, or need not, be shown."""
    value = problem.instance
    hidden = subject.hidden(path) or problem.schema.get("x-hidden", False)
    if isinstance(value, (dict, list)) or value is None or hidden:
        return ""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if len(value) <= 80 else ""
    position = subject.place(path)
    return subject.scalar_text(position, value) if position else str(value)


def _unknown(problem: Any, subject: Subject, path: Path) -> Iterator[Diagnostic]:
    known = problem.schema.get("properties", {})
    for key in problem.instance:
        if key not in known:
            where = _named(subject, path)
            yield _finding(
                subject,
                (*path, key),
                "Unknown field",
                f"`{key}` is not a field of {where}",
                did_you_mean(key, known),
            )


def _missing(problem: Any, subject: Subject, path: Path) -> Iterator[Diagnostic]:
    properties = problem.schema.get("properties", {})
    for key in problem.validator_value:
        if key not in problem.instance:
            about = properties.get(key, {})
            hint = about.get("description", "") if isinstance(about, dict) else ""
            yield _finding(
                subject,
                path,
                "Missing field",
                f"{_named(subject, path)} needs `{key}`",
                f"add `{key}:`" + (f" ({hint[0].lower()}{hint[1:].rstrip('.')})" if hint else ""),
            )


def _wrong_type(problem: Any, subject: Subject, path: Path) -> Iterator[Diagnostic]:
    yield _type_finding(problem, subject, path, problem.validator_value)


def _type_finding(problem: Any, subject: Subject, path: Path, wanted: Any) -> Diagnostic:
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    value = problem.instance
    named = _named(subject, path)
    needed = " or ".join(_TYPES[name] for name in names if name != "null")
    if value is None:
        hint = "leave the field out" + (', or write "" for an empty text' * ("string" in names))
        detail = f"{named} is null where {needed} is needed"
        return _finding(subject, path, "Null is not a value", detail, hint)
    if isinstance(value, dict) and list(value) == [VALUE_FROM]:
        hint = "write the value, or use a variable: ${var.NAME}"
        return _finding(subject, path, ONLY_FOR_SECRETS, f"{named} is not a secret field", hint)
    shown = "" if isinstance(value, str) else _shown(problem, subject, path)
    is_ = kind_of(value) + (f" ({shown})" if shown else "")
    detail = f"{named} is {is_} where {needed} is needed"
    return _finding(subject, path, "Wrong type", detail, _mend(problem, value, names, shown))


def _mend(problem: Any, value: Any, names: list[str], shown: str) -> str:
    """What to write instead of a value of the wrong type."""
    schema = problem.schema if isinstance(problem.schema, dict) else {}
    rule = schema.get("x-rule")
    if "string" in names and isinstance(value, (bool, int, float)):
        if rule and shown and re.search(schema.get("pattern", ""), shown) is None:
            return f"write {rule}"  # in quotes it would be wrong, too
        return f'quote it: "{shown}"' if shown else "quote it"
    if isinstance(value, str) and _would_fit(value, names):
        return "remove the quotes"
    written = (_EXAMPLES[name] for name in names if name != "null")
    return "write " + (rule or " or ".join(written))


def _would_fit(text: str, names: list[str]) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    fits = {"integer": int, "number": (int, float), "boolean": bool}
    return any(isinstance(value, fits[name]) for name in names if name in fits)  # type: ignore[arg-type]


def _not_one_of(problem: Any, subject: Subject, path: Path) -> Iterator[Diagnostic]:
    single = problem.validator == "const"
    allowed = [problem.validator_value] if single else problem.validator_value
    words = [one if isinstance(one, str) else json.dumps(one) for one in allowed if one is not None]
    shown = _shown(problem, subject, path)
    value = shown or kind_of(problem.instance)
    known = f"where only {words[0]} is known" if single else f"which is none of {', '.join(words)}"
    detail = f"{_named(subject, path)} is {value}, {known}"
    if "propertyNames" in problem.absolute_schema_path:
        detail, path = (
            f"the name {value} in {_named(subject, path)}, {known}",
            (*path, problem.instance),
        )
    text = problem.instance if isinstance(problem.instance, str) and shown else ""
    hint = did_you_mean(text, words) if text else f"write {' or '.join(words)}"
    yield _finding(subject, path, "Unknown value", detail, hint)


def _malformed(problem: Any, subject: Subject, path: Path) -> Iterator[Diagnostic]:
    shown = _shown(problem, subject, path)
    hint = "write " + str(problem.schema.get("x-rule", f"what fits {problem.validator_value}"))
    if "${var." in shown:
        hint = "no variables stand here; " + hint
    if "propertyNames" in problem.absolute_schema_path:
        detail = f"the name {shown} is not of the form it must have"
        path = (*path, problem.instance)
    else:
        is_ = f" is {shown}, which" if shown else ""
        detail = f"{_named(subject, path)}{is_} is not of the form it must have"
    yield _finding(subject, path, "Malformed value", detail, hint)


_LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "minLength": "at least {} character(s) long",
    "maxLength": "at most {} characters long",
    "minItems": "a list of at least {}",
    "maxItems": "a list of at most {}",
    "uniqueItems": "a list without repetitions",
}


def _out_of_range(problem: Any, subject: Subject, path: Path) -> Iterator[Diagnostic]:
    limit = _LIMITS[problem.validator].format(problem.validator_value)
    shown = _shown(problem, subject, path)
    is_ = f" is {shown}, but" if shown else ""
    detail = f"{_named(subject, path)}{is_} must be {limit}"
    yield _finding(subject, path, "Value out of range", detail, "write a value that is " + limit)


def _choice(problem: Any, subject: Subject, path: Path) -> Iterator[Diagnostic]:
    """OneOf and anyOf: here they only say which keys go together."""
    sets = [option.get("required", []) for option in problem.validator_value]
    keys = [key for option in sets for key in option]
    there = [key for key in keys if isinstance(problem.instance, dict) and key in problem.instance]
    listed = ", ".join(f"`{key}`" for key in there)
    names = " or ".join(f"`{key}`" for key in keys)
    if len(there) > 1 and problem.validator == "oneOf":
        yield _finding(
            subject,
            (*path, there[-1]),
            "Fields exclude each other",
            f"{_named(subject, path)} has {listed}",
            f"keep one of {listed}",
        )
    else:
        yield _finding(
            subject, path, "Missing field", f"{_named(subject, path)} needs {names}", f"add {names}"
        )


def _other_vocabulary(subject: Subject, path: Path) -> Diagnostic:
    key = path[-1]
    siblings = subject.value
    for part in path[:-1]:
        siblings = siblings[part]
    provider = subject.value.get("spec", {}).get("provider", "")
    words = shapes.bundled("providers/" + provider).get("x-vocabularies", {})
    first = next((k for k in words.get("documented", ()) if k in siblings), "")
    return _finding(
        subject,
        path,
        "Keys of two vocabularies",
        f"`{key}` is one of the platform's keys, `{first}` one of the documented keys",
        "use either "
        + ", ".join(words.get("documented", ()))
        + " or "
        + ", ".join(words.get("platform", ())),
    )


def _never(problem: Any, subject: Subject, path: Path) -> Iterator[Diagnostic]:
    """`not`: {} forbids a key beside others, anything else forbids null."""
    if problem.validator_value == {}:
        yield _other_vocabulary(subject, path)
    else:
        yield _type_finding(problem, subject, path, "object")


_EXPLAINERS: dict[str, Callable[[Any, Subject, Path], Iterator[Diagnostic]]] = {
    "additionalProperties": _unknown,
    "required": _missing,
    "type": _wrong_type,
    "enum": _not_one_of,
    "const": _not_one_of,
    "pattern": _malformed,
    "oneOf": _choice,
    "anyOf": _choice,
    "not": _never,
    **dict.fromkeys(_LIMITS, _out_of_range),
}

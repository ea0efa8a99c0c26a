"""The JSON Schemas of documents, and how a document that does not fit one is explained.

The published schemas allow a variable where a number is needed, for editors. Once variables
are replaced none may be left, so the compiled ones do not.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft202012Validator

from synapse_apply.manifests.yaml.reader import ONLY_FOR_SECRETS, VALUE_FROM, describe_value_kind
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    find_nearest_position,
)
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import JsonDocument, JsonObject, JsonValue
from synapse_apply.model.phrases import find_similar_word, format_field_path, suggest_words
from synapse_apply.model.project import Provider
from synapse_apply.model.secrets.secret_marks import KindMarks, SecretMarks

SCHEMA_VERSION = "v1"
_SCHEMA_SUFFIX = ".schema.json"


@cache
def choose_schema_folder() -> Path:
    """The folder of the schemas: inside the installed package, else of the checkout."""
    package_folder = Path(__file__).resolve().parents[1]
    packaged = package_folder / "_schemas" / SCHEMA_VERSION
    # A wheel has the schemas inside the package; a checkout has them beside it.
    return packaged if packaged.is_dir() else package_folder.parent / "schemas" / SCHEMA_VERSION


@cache
def list_schema_names() -> tuple[str, ...]:
    """The names of all schemas, such as `manifest` or `providers/amazon_s3`."""
    root = choose_schema_folder()
    schema_paths = (path.relative_to(root).as_posix() for path in root.rglob("*" + _SCHEMA_SUFFIX))
    return tuple(sorted(name.removesuffix(_SCHEMA_SUFFIX) for name in schema_paths))


@cache
def read_schema(name: str) -> JsonDocument:
    text = (choose_schema_folder() / (name + _SCHEMA_SUFFIX)).read_text(encoding="utf-8")
    schema: JsonDocument = json.loads(text)
    return schema


@cache
def bundle_schema_with_referenced_files(name: str) -> JsonObject:
    """A schema with every file that it refers to copied into its `$defs`."""
    definitions: dict[str, Any] = {}

    def inline_references(node: Any, file: str, prefix: str) -> JsonValue:
        if isinstance(node, list):
            return [inline_references(item, file, prefix) for item in node]
        if not isinstance(node, dict):
            return node
        inlined: dict[str, Any] = {}
        for keyword, value in node.items():
            if keyword != "$ref" or not isinstance(value, str):
                inlined[keyword] = inline_references(value, file, prefix)
                continue
            referred_file, _, fragment = value.partition("#")
            if not referred_file:
                inlined[keyword] = f"#{prefix}{fragment}"
                continue
            path = posixpath.normpath(posixpath.join(posixpath.dirname(file), referred_file))
            schema = path.removesuffix(_SCHEMA_SUFFIX)
            key = schema.replace("/", ".")
            if key not in definitions:
                # Entered before its content: schemas may refer to each other in a cycle.
                definitions[key] = {}
                definitions[key] |= inline_references(read_schema(schema), schema, f"/$defs/{key}")
                definitions[key].pop("$schema", None)
            inlined[keyword] = f"#/$defs/{key}{fragment}"
        return inlined

    root: dict[str, Any] = inline_references(read_schema(name), name, "")
    root["$defs"] = {**root.get("$defs", {}), **definitions}
    return root


def format_schema(name: str) -> str:
    """A bundled schema as JSON text, for editors; raises InputError for an unknown name."""
    if name not in list_schema_names():
        raise InputError.from_summary(
            "Unknown schema",
            f"there is no schema `{name}`",
            "known: " + ", ".join(list_schema_names()),
        ) from None
    return (
        json.dumps(bundle_schema_with_referenced_files(name), indent=2, ensure_ascii=False) + "\n"
    )


def _without_templates(node: Any) -> JsonValue:
    if isinstance(node, list):
        return [_without_templates(item) for item in node]
    if not isinstance(node, dict):
        return node
    cleaned = {key: _without_templates(value) for key, value in node.items()}
    # The published schema writes `anyOf: [number, template]`; without the template `number` is
    # left.
    options = cleaned.get("anyOf")
    if isinstance(options, list):
        remaining = [
            option for option in options if not str(option.get("$ref", "")).endswith("/template")
        ]
        if len(remaining) == 1 and len(options) > 1:
            del cleaned["anyOf"]
            return {**remaining[0], **cleaned}
    return cleaned


@cache
def build_strict_schema(name: str) -> JsonObject:
    """A bundled schema without the alternatives that allow a variable."""
    strict_schema: dict[str, Any] = _without_templates(bundle_schema_with_referenced_files(name))
    return strict_schema


@cache
def compile_validator(name: str) -> Draft202012Validator:
    """The jsonschema-rs validator of a strict schema, compiled once."""
    return Draft202012Validator(build_strict_schema(name))


def is_valid_target_url(text: str) -> bool:
    """Whether the project file's schema allows a text as a target's `url`."""
    target = read_schema("project")["properties"]["targets"]["additionalProperties"]
    return Draft202012Validator(target["properties"]["url"]).is_valid(text)


@cache
def known_providers() -> tuple[str, ...]:
    """The storage providers that have a schema of their own."""
    return tuple(
        name.partition("/")[2] for name in list_schema_names() if name.startswith("providers/")
    )


def provider_called(name: str) -> str:
    """The provider that the vendor also calls by this name, "" for none."""
    for provider in known_providers():
        if name.lower() in read_schema(f"providers/{provider}").get("x-also-called", ()):
            return provider
    return ""


def find_similar_provider(name: str, others: Iterable[str] = ()) -> str:
    """The provider that is meant by a name: by the vendor's other names, else by spelling."""
    return provider_called(name) or find_similar_word(name, (*known_providers(), *others))


def missing_required_keys(
    schema: Mapping[str, Any], present_keys: Collection[str] = ()
) -> set[str]:
    """The required keys that are missing; of several alternatives (`anyOf`) those of the first."""
    present = set(present_keys)
    alternatives = [set(option.get("required", ())) for option in schema.get("anyOf", ())]
    needed = set(schema.get("required", ()))
    if alternatives and not any(option <= present for option in alternatives):
        needed |= alternatives[0]
    return needed - present


def list_spec_fields(name: str) -> tuple[str, ...]:
    """The names of the fields in the `spec` of a kind's schema."""
    return tuple(read_schema(name)["properties"]["spec"]["properties"])


# The schemas are schemas/v1/providers/*.schema.json; a project may describe further providers. What
# looks like a secret in a manifest is another question: `decode/secret_fields.py`.


@cache
def read_marks_of_storage_secrets() -> SecretMarks:
    """Which storage fields hold secrets, read from `x-secret` of the provider schemas.

    A provider whose schema itself is `x-secret` is left out, so that every leaf is secret.
    """
    by_value, described = {}, {}
    for provider in known_providers():
        schema = read_schema("providers/" + provider)
        if schema.get("x-secret"):
            continue
        fields = schema.get("properties", {})
        described[provider] = frozenset(("configuration", key) for key in fields)
        by_value[provider] = frozenset(
            ("configuration", key)
            for key, field in fields.items()
            if isinstance(field, Mapping) and field.get("x-secret")
        )
    marks = KindMarks("configuration", "provider", by_value, described)
    return SecretMarks({"storage": marks})


def providers_with_secrets() -> Collection[str]:
    """The storage providers whose schema lists their keys and which of these are secret."""
    return read_marks_of_storage_secrets().kinds["storage"].secret_paths_by_value


def build_marks(project_providers: Mapping[str, Provider]) -> SecretMarks:
    """The marks of `read_marks_of_storage_secrets`, and of providers that the project describes."""
    # Not built anew for each target, since nearly no project describes providers.
    if not project_providers:
        return read_marks_of_storage_secrets()
    marks = read_marks_of_storage_secrets().kinds["storage"]
    by_value, described = dict(marks.secret_paths_by_value), dict(marks.described_paths_by_value)
    for name, provider in project_providers.items():
        secrets = provider.secrets | provider.doubted
        by_value[name] = frozenset((marks.container, key) for key in secrets)
        described[name] = frozenset((marks.container, key) for key in provider.keys)
    return SecretMarks({"storage": KindMarks(marks.container, marks.selector, by_value, described)})


# How a misfit between a document and its schema is explained, and at which position.
#
# jsonschema is slow to import and used only when there is a misfit to explain.

ScalarText = Callable[[Position, Any], str]
# How each type is called, what is written for one, and which values of Python are of it.
_TYPES: Mapping[str, tuple[str, str, frozenset[type]]] = {
    "string": ("a string", "a string", frozenset()),
    "integer": ("an integer", "a whole number", frozenset((int,))),
    "number": ("a number", "a number", frozenset((int, float))),
    "boolean": ("true or false", "true or false", frozenset((bool,))),
    "array": ("a list", "a list, such as [a, b]", frozenset()),
    "object": ("a mapping", "a mapping, such as {key: value}", frozenset()),
    "null": ("null", "null", frozenset()),
}
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

    def finding(self, path: FieldPath, summary: str, detail: str, hint: str = "") -> Diagnostic:
        """A finding about the value at a path inside of this one."""
        position = self.find_position(path)
        return error_finding(summary, detail, hint, position=position, path=(*self.path, *path))


@cache
def _explaining_validator(name: str) -> Any:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - only what is refused pays

    return Draft202012Validator(build_strict_schema(name))


def build_schema_findings(name: str, value_to_check: ValueToCheck) -> tuple[Diagnostic, ...]:
    """A finding for each misfit of a value, without repetitions, in the order of the file."""
    findings: dict[Diagnostic, None] = {}
    for error in _explaining_validator(name).iter_errors(value_to_check.value):
        problem = _Problem(error, value_to_check, build_strict_schema(name))
        rule_ids = problem.rule_ids()
        for finding in problem.findings():
            findings[finding.with_changes(rule=next(rule_ids))] = None
    # The two validators may disagree on rare cases (such as huge numbers); no misfit may be lost.
    if not findings:
        for misfit in compile_validator(name).iter_errors(value_to_check.value):
            path: FieldPath = tuple(misfit.instance_path)
            detail = f"`{format_field_path(path)}` is not allowed"
            findings[value_to_check.finding(path, "Does not fit the schema", detail)] = None
    return tuple(
        sorted(
            findings,
            key=lambda finding: (
                (finding.position.file, finding.position.line, finding.position.column)
                if finding.position
                else ("", 0, 0)
            ),
        )
    )


_MAX_PLACE_NAMES = 3
_MAX_PLACE_DEPTH = 5  # lists have no name of their own, and objects may contain themselves


def find_field_place(key: str, root_schema: JsonObject) -> str:
    """The path of the outermost object of a schema that has a field, below the top; or ""."""
    level: list[tuple[str, Any]] = [("", root_schema)]
    for _ in range(_MAX_PLACE_DEPTH):
        below: list[tuple[str, Any]] = []
        for path, schema in level:
            for part in _referred_schemas(schema, root_schema):
                fields = part.get("properties", {})
                if path and key in fields:
                    return path
                below.append((path, part.get("items")))
                if path.count(".") < _MAX_PLACE_NAMES - 1:
                    named = {**fields, "NAME": part.get("additionalProperties")}
                    below += [(f"{path}.{name}".lstrip("."), one) for name, one in named.items()]
        level = below
    return ""


def _referred_schemas(schema: Any, root_schema: JsonObject) -> Iterator[dict[str, Any]]:
    """A schema, and the one of its file that it refers to; none for a boolean or a missing one."""
    if isinstance(schema, dict):
        yield schema
        node: Any = root_schema
        for name in schema.get("$ref", "").removeprefix("#/").split("/"):
            node = node.get(name, {})
        yield node


class _Problem:
    """One misfit that jsonschema found, and the value that it is of."""

    def __init__(self, problem: Any, checked: ValueToCheck, root_schema: JsonObject) -> None:
        self.problem = problem
        self.checked = checked
        self.root_schema = root_schema
        self.path: FieldPath = tuple(problem.absolute_path)
        self.value = problem.instance
        # What the keyword of the schema says, such as the largest number.
        self.rule_value = problem.validator_value
        self.schema: Mapping[str, Any] = problem.schema if isinstance(problem.schema, dict) else {}

    def findings(self) -> Iterator[Diagnostic]:
        """What is said of it."""
        if explain := _EXPLAINERS.get(self.problem.validator):
            yield from explain(self)
            return
        detail = f"{self._subject} does not fit its schema (`{self.problem.validator}`)"
        hint = str(self.schema.get("x-rule") or self.schema.get("description", ""))
        yield self._finding("Value not allowed", detail, hint)

    def rule_ids(self) -> Iterator[str | None]:
        """The rule id of each finding, endlessly; None where the schema names no rule.

        `x-lint` of a subschema maps keywords to rules; `null` there, or `x-lint-null` of the
        schema, is for a null where another type is needed.
        """
        by_keyword = self.schema.get("x-lint", {})
        keyword = self.problem.validator
        rule = by_keyword.get(keyword)
        if self.value is None and keyword in {"type", "enum"}:
            rule = by_keyword.get("null", self.root_schema.get("x-lint-null", rule))
        # One problem lists all missing keys, each of which may have a rule of its own.
        if keyword == "required" and rule is None:
            for key in self.rule_value:
                if key not in self.value:
                    lint = self.schema["properties"].get(key, {}).get("x-lint", {})
                    yield lint.get("required") if by_keyword else None
        while True:
            yield rule

    def _finding(
        self, summary: str, detail: str, hint: str = "", path: FieldPath | None = None
    ) -> Diagnostic:
        return self.checked.finding(self.path if path is None else path, summary, detail, hint)

    @property
    def _subject(self) -> str:
        dotted_path = format_field_path((*self.checked.path, *self.path))
        return f"`{dotted_path}`" if dotted_path else "the document"

    @property
    def _shown_value(self) -> str:
        """The value as text; "" for a hidden, long, null or collection value."""
        value = self.value
        must_hide = self.checked.is_hidden(self.path) or self.problem.schema.get("x-hidden", False)
        if isinstance(value, (dict, list)) or value is None or must_hide:
            return ""
        if isinstance(value, str):
            return json.dumps(value, ensure_ascii=False) if len(value) <= 80 else ""
        position = self.checked.find_position(self.path)
        return self.checked.scalar_text(position, value) if position else str(value)

    def unknown_fields(self) -> Iterator[Diagnostic]:
        for key in self.value:
            if key not in self.schema.get("properties", {}):
                detail, path = f"`{key}` is not a field of {self._subject}", (*self.path, key)
                yield self._finding("Unknown field", detail, self._suggest_field(key), path)

    def _suggest_field(self, key: str) -> str:
        """The closest field of the vocabulary in use, and the platform's own key for it.

        Without a close one among many, where else in the file there is a field of this name.
        """
        vocabularies = self.schema.get("x-vocabularies", {})
        documented, platform = vocabularies.get("documented", ()), vocabularies.get("platform", ())
        # A key of the other vocabulary would be the next finding.
        other: Sequence[str] = documented if set(platform) & set(self.value) else ()
        words = [name for name in self.schema.get("properties", {}) if name not in other]
        hint = suggest_words(key, words)
        # A whole list of the fields here helps more.
        place = find_field_place(key, self.root_schema) if hint.endswith("...") else ""
        if place:
            return f"`{key}` is a field of `{place}`"
        own_keys = zip(documented, platform, strict=False)
        own_key = next((own for name, own in own_keys if f"`{name}`" in hint), "")
        return f"{hint} The platform's own key is `{own_key}`" if own_key else hint

    def missing_fields(self) -> Iterator[Diagnostic]:
        for key in self.rule_value:
            if key not in self.value:
                described = self.schema.get("properties", {}).get(key, {})
                text = described.get("description", "") if isinstance(described, dict) else ""
                hint = f"add `{key}:`"
                if text:
                    hint += f" ({text[0].lower()}{text[1:].rstrip('.')})"
                yield self._finding("Missing field", f"{self._subject} needs `{key}`", hint)

    def wrong_type(self, expected: Any = None) -> Iterator[Diagnostic]:
        """`expected` are the types in place of those of the schema."""
        expected = expected or self.rule_value
        names = [expected] if isinstance(expected, str) else list(expected)
        value, subject = self.value, self._subject
        needed = " or ".join(_TYPES[name][0] for name in names if name != "null")
        if value is None:
            hint = "leave the field out" + (
                ', or write "" for an empty string' * ("string" in names)
            )
            detail = f"{subject} is null where {needed} is needed"
            yield self._finding("Null is not a value", detail, hint)
        # A reference to a secret in a field that is none, which is more helpful than the type.
        elif isinstance(value, dict) and list(value) == [VALUE_FROM]:
            hint = "write the value, or use a variable: ${var.NAME}"
            yield self._finding(ONLY_FOR_SECRETS, f"{subject} is not a secret field", hint)
        else:
            # A text of the wrong type is not quoted: it may be a secret in the wrong field.
            shown = "" if isinstance(value, str) else self._shown_value
            actual = describe_value_kind(value) + (f" ({shown})" if shown else "")
            detail = f"{subject} is {actual} where {needed} is needed"
            yield self._finding("Wrong type", detail, self._suggest_correction(names, shown))

    def _suggest_correction(self, names: list[str], shown: str) -> str:
        """A hint what to write instead of a value of the wrong type."""
        rule = self.schema.get("x-rule")
        if "string" in names and isinstance(self.value, (bool, int, float)):
            if rule and shown and re.search(self.schema.get("pattern", ""), shown) is None:
                return f"write {rule}"  # in quotes it would be wrong, too
            return f'quote it: "{shown}"' if shown else "quote it"
        if isinstance(self.value, str):
            with suppress(ValueError):
                # By the type itself: to `isinstance`, True is an integer.
                unquoted_type = type(json.loads(self.value))
                if any(unquoted_type in _TYPES[name][2] for name in names):
                    return "remove the quotes"
        return "write " + (rule or " or ".join(_TYPES[name][1] for name in names if name != "null"))

    def value_not_allowed(self) -> Iterator[Diagnostic]:
        is_const = self.problem.validator == "const"
        allowed = [self.rule_value] if is_const else self.rule_value
        words = [
            option if isinstance(option, str) else json.dumps(option)
            for option in allowed
            if option is not None
        ]
        shown, path = self._shown_value, self.path
        label = shown or describe_value_kind(self.value)
        rest = (
            f"but only {words[0]} is known"
            if is_const
            else f"which is not one of {', '.join(words)}"
        )
        detail = f"{self._subject} is {label}, {rest}"
        if "propertyNames" in self.problem.absolute_schema_path:
            detail, path = f"the name {label} in {self._subject}, {rest}", (*path, self.value)
        hint = f"write {' or '.join(words)}"
        if isinstance(self.value, str) and self.value and shown:
            hint = suggest_words(self.value, words)
        yield self._finding("Unknown value", detail, hint, path)

    def malformed_value(self) -> Iterator[Diagnostic]:
        shown, path = self._shown_value, self.path
        hint = "write " + str(
            self.problem.schema.get("x-rule", f"text that matches {self.rule_value}")
        )
        if "${var." in shown:
            hint = "variables are not allowed here; " + hint
        if "propertyNames" in self.problem.absolute_schema_path:
            subject, path = f"the name {shown}", (*path, self.value)
        else:
            subject = self._subject + (f" is {shown}, which" if shown else "")
        detail = f"{subject} is malformed"
        yield self._finding("Malformed value", detail, hint, path)

    def out_of_range(self) -> Iterator[Diagnostic]:
        limit = _LIMIT_TEXTS[self.problem.validator].format(self.rule_value)
        clause = f" is {shown}, but" if (shown := self._shown_value) else ""
        detail = f"{self._subject}{clause} must be {limit}"
        yield self._finding("Value out of range", detail, "write a value that is " + limit)

    def field_choice(self) -> Iterator[Diagnostic]:
        """`oneOf` or `anyOf`: our schemas use both only to say which keys go together."""
        keys = [key for option in self.rule_value for key in option.get("required", [])]
        present = [key for key in keys if isinstance(self.value, dict) and key in self.value]
        # `oneOf` fails for too many keys as well as for none; `anyOf` only for none.
        if len(present) > 1 and self.problem.validator == "oneOf":
            names, path = ", ".join(f"`{key}`" for key in present), (*self.path, present[-1])
            detail, hint = f"{self._subject} has {names}", f"keep one of {names}"
            yield self._finding("Fields exclude each other", detail, hint, path)
        else:
            names = " or ".join(f"`{key}`" for key in keys)
            yield self._finding("Missing field", f"{self._subject} needs {names}", f"add {names}")

    def forbidden_value(self) -> Iterator[Diagnostic]:
        """`not`: our schemas write `{}` for a key beside others, else it forbids null."""
        if self.rule_value != {}:
            yield from self.wrong_type("object")
            return
        siblings = self.checked.value
        for part in self.path[:-1]:
            siblings = siblings[part]
        provider = self.checked.value.get("spec", {}).get("provider", "")
        schema = bundle_schema_with_referenced_files("providers/" + provider)
        vocabularies = schema.get("x-vocabularies", {})
        documented, platform = vocabularies.get("documented", ()), vocabularies.get("platform", ())
        documented_key = next((name for name in documented if name in siblings), "")
        own_key = dict(zip(documented, platform, strict=False)).get(documented_key, "")
        own_text = f" (the platform's own is `{own_key}`)" if own_key else ""
        yield self._finding(
            "Keys from two vocabularies",
            f"`{self.path[-1]}` is one of the platform's keys, `{documented_key}` one of the "
            f"documented keys{own_text}",
            f"use either {', '.join(documented)} or {', '.join(platform)}",
        )


_EXPLAINERS: dict[str, Callable[[_Problem], Iterator[Diagnostic]]] = {
    "additionalProperties": _Problem.unknown_fields,
    "required": _Problem.missing_fields,
    "type": _Problem.wrong_type,
    "enum": _Problem.value_not_allowed,
    "const": _Problem.value_not_allowed,
    "pattern": _Problem.malformed_value,
    "oneOf": _Problem.field_choice,
    "anyOf": _Problem.field_choice,
    "not": _Problem.forbidden_value,
    **dict.fromkeys(_LIMIT_TEXTS, _Problem.out_of_range),
}

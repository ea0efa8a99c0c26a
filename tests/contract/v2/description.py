"""The vendor's description of API v2 as something to hold requests and answers against."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, FormatChecker

TEXT = (Path(__file__).parent / "description.yaml").read_text(encoding="utf-8")
JSON, FORM = "application/json", "multipart/form-data"
# What any operation of a web API may answer, whether the description lists it or not.
ALWAYS_POSSIBLE = {"401", "405", "415", "429", "500", "502", "503"}
FORMATS = FormatChecker(formats=())
FORMATS.checks("uuid", ValueError)(lambda text: bool(uuid.UUID(text)))
FORMATS.checks("date-time", ValueError)(
    lambda text: datetime.fromisoformat(text).tzinfo is not None
)
FORMATS.checks("email")(lambda text: "@" in text)


@dataclass(frozen=True)
class Sent:
    """A request: fields as JSON values, or as the texts of a form (`files` are names)."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    content_type: str = ""
    fields: Any = None
    files: frozenset[str] = frozenset()


class Description:
    """All operations, each found by its method and its path."""

    def __init__(self, document: Mapping[str, Any] | None = None) -> None:
        self.document = yaml.load(TEXT, yaml.CSafeLoader) if document is None else document
        self.operations = {
            spec["operationId"]: Operation(self, method.upper(), path, spec)
            for path, methods in self.document["paths"].items()
            for method, spec in methods.items()
        }

    def find(self, method: str, path: str) -> Operation | None:
        return next((one for one in self.operations.values() if one.fits(method, path)), None)

    def resolved(self, value: Any) -> Any:
        """A value with every reference in it replaced by what it leads to."""
        if isinstance(value, list):
            return [self.resolved(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        if "$ref" in value:
            found: Any = self.document
            for name in value["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            return self.resolved(found)
        return {key: self.resolved(item) for key, item in value.items()}


@dataclass(frozen=True)
class Operation:
    """One method on one path."""

    description: Description
    method: str
    path: str
    raw: Mapping[str, Any]

    @cached_property
    def spec(self) -> Any:
        return self.description.resolved(self.raw)

    @property
    def success(self) -> str:
        return next(status for status in self.spec["responses"] if status < "300")

    @property
    def statuses(self) -> set[str]:
        return {*self.spec["responses"], *self.spec.get("x-statuses-in-words", ())}

    @property
    def content_types(self) -> list[str]:
        return list(self.spec.get("requestBody", {}).get("content", ()))

    @property
    def query(self) -> dict[str, Any]:
        return {
            one["name"]: one["schema"]
            for one in self.spec.get("parameters", ())
            if one["in"] == "query"
        }

    @property
    def body(self) -> Any:
        """The schema of the request; {} where there is none."""
        content = self.spec.get("requestBody", {}).get("content", {})
        return next(iter(content.values()))["schema"] if content else {}

    @property
    def answer(self) -> Any:
        """The schema of the success; None where it has no body."""
        content = self.spec["responses"][self.success].get("content")
        return content[JSON]["schema"] if content else None

    @property
    def is_list(self) -> bool:
        return "results" in ((self.answer or {}).get("properties") or {})

    def fits(self, method: str, path: str) -> bool:
        pattern = re.escape(self.path).replace(r"\{id\}", "[^/]+")
        return method == self.method and re.fullmatch(pattern, path) is not None

    def problems_of(self, sent: Sent) -> Iterator[str]:
        """Why the description does not allow a request."""
        for name, text in sent.query.items():
            if name not in self.query:
                yield f"there is no query parameter {name}"
            else:
                yield from wrong(self.query[name], typed(self.query[name], text), name)
        if not any(self._has(sent, one) for one in self._securities()):
            yield "no form of security is fulfilled"
        yield from self._problems_of_body(sent)

    def _problems_of_body(self, sent: Sent) -> Iterator[str]:
        if not self.content_types:
            if sent.fields:
                yield "it takes no body"
            return
        kind = sent.content_type.partition(";")[0]
        if kind not in self.content_types:
            yield f"it takes no {kind}"
            return
        fields = sent.fields or {}
        if kind != JSON:
            schemas = self.body["properties"]
            fields = {name: typed(schemas.get(name, {}), value) for name, value in fields.items()}
            fields |= dict.fromkeys(sent.files, "")
        yield from wrong(closed(self.body), fields, "body")

    def _securities(self) -> list[Mapping[str, Any]]:
        default: Any = self.description.document["security"]
        return list(self.spec.get("security", default))

    def _has(self, sent: Sent, needed: Mapping[str, Any]) -> bool:
        schemes = self.description.document["components"]["securitySchemes"]
        # A bearer's scheme names no header: it has one all the same.
        named = {schemes[name].get("name", "Authorization").lower() for name in needed}
        return named <= {name.lower() for name, value in sent.headers.items() if value}

    def problems_of_answer(self, status: int, body: Any) -> Iterator[str]:
        """Why the description does not promise an answer (its body without an envelope)."""
        word = str(status)
        if word not in self.statuses | ALWAYS_POSSIBLE:
            yield f"{status} is no status of {self.method} {self.path}"
        elif word == self.success:
            if self.answer is None:
                yield from ["there is a body"] if body is not None else []
            else:
                yield from wrong(closed(self.answer), body, "answer")
        else:
            yield from wrong(refusal(self.description), body, "refusal")


DESCRIPTION = Description()


def refusal(description: Description) -> Any:
    content = description.document["components"]["responses"]["Refusal"]["content"]
    schema = {**content[JSON]["schema"], "required": ["error", "meta"]}
    return {
        **schema,
        "properties": {
            **schema["properties"],
            "error": {**schema["properties"]["error"], "required": ["code", "message", "details"]},
        },
    }


def wrong(schema: Any, value: Any, where: str) -> Iterator[str]:
    """What of a value its schema does not allow."""
    validator = Draft202012Validator(as_json_schema(schema), format_checker=FORMATS)
    for error in validator.iter_errors(value):
        yield f"{where}{error.json_path.removeprefix('$')}: {error.message}"


def as_json_schema(schema: Any) -> Any:
    """OpenAPI 3.0 says null in a word of its own."""
    if isinstance(schema, list):
        return [as_json_schema(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    plain = {key: as_json_schema(value) for key, value in schema.items() if key != "nullable"}
    return {"anyOf": [{"type": "null"}, plain]} if schema.get("nullable") is True else plain


def closed(schema: Any) -> Any:
    """The same, and nothing but the properties that are named."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    return {**inner, "additionalProperties": False} if "properties" in schema else inner


def typed(schema: Mapping[str, Any], value: Any) -> Any:
    """The text of a form or a query as what the schema wants, where it can be that."""
    kind = schema.get("type")
    if kind == "array":
        return value if isinstance(value, list) else [value]
    if kind == "integer" and isinstance(value, str) and value.isdecimal():
        return int(value)
    if kind == "boolean" and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value


def example(schema: Mapping[str, Any]) -> Any:
    """A value the schema allows, with everything in it that can be."""
    if "allOf" in schema:
        return example(schema["allOf"][0])
    if "enum" in schema:
        return schema["enum"][0]
    if "properties" in schema:
        return {name: example(inner) for name, inner in schema["properties"].items()}
    if schema.get("type") == "array":
        return [example(schema["items"])]
    by_format = {
        "uuid": "0b6e57a1-0000-4000-8000-000000000001",
        "date-time": "2026-01-02T03:04:05.000006Z",
        "email": "someone@example.com",
    }
    by_type = {
        "integer": 7,
        "boolean": True,
        "string": by_format.get(schema.get("format", ""), "a"),
    }
    return by_type.get(schema.get("type", ""), {"any": 1})

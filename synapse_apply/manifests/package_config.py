"""A package's config.yaml as the platform reads it: what it would refuse, and what it ignores.

The shape is data: schemas/v1/package-config.schema.json names the rule that each of its keywords
stands for. What no schema can say is a row of `_FURTHER`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from synapse_apply.manifests import shapes
from synapse_apply.manifests.explain import Subject, explain
from synapse_apply.manifests.places import nearest
from synapse_apply.manifests.reader import Document, kind_of, more_than_one, read
from synapse_apply.manifests.specifiers import is_specifier
from synapse_apply.manifests.wording import dotted
from synapse_apply.model.diagnostic import Diagnostic, Path, Position, error
from synapse_apply.model.frozen import frozen
from synapse_apply.model.package_rules import Flaw

SCHEMA = "package-config"
# What YAML 1.1 reads as no text where it stands in one of these. `*` is any key or index.
_TEXTS: tuple[Path, ...] = (
    *((name,) for name in ("name", "code", "version", "variant", "category", "description")),
    *((name,) for name in ("readme", "wheels_dir", "package_manager", "data_type")),
    ("requires", "*"),
    ("dependencies", "*"),
    *((name, "*") for name in ("tasks", "tags", "package_manager_options")),
    *(("actions", "*", name) for name in ("entrypoint", "method", "description")),
)
_SPECIFIERS: tuple[Path, ...] = (("requires", "*"), ("dependencies", "*"))
_LONGEST_SHOWN = 80


@frozen
class PackageConfig:
    """What a config.yaml says and where; `findings` are those of its YAML, `flaws` of its fields.

    A value that is no map counts as an empty one.
    """

    value: Mapping[str, Any]
    positions: Mapping[Path, Position]
    findings: tuple[Diagnostic, ...] = ()
    flaws: tuple[Flaw, ...] = ()


def read_package_config(data: bytes | str, file: str) -> PackageConfig:
    """A config.yaml, whatever its bytes are; its flaws may quote what it holds."""
    reading = read(data, file)
    findings = [*reading.diagnostics, *more_than_one(reading, file)]
    if not reading.documents:
        return PackageConfig({}, {(): Position(file, 1, 1)}, tuple(findings), _of_nothing(file))
    document = reading.documents[0]
    if not isinstance(document.value, dict):
        detail = f"{file} holds {kind_of(document.value)} where KEY: VALUE lines are expected"
        findings.append(
            error("Not a mapping", detail, "begin with a key", position=document.position)
        )
    if findings:
        value = document.value if isinstance(document.value, dict) else {}
        return PackageConfig(value, document.positions, tuple(findings))
    flaws = dict.fromkeys((*_shape(document), *_further(document)))
    return PackageConfig(document.value, document.positions, (), tuple(sorted(flaws, key=by_place)))


def by_place(flaw: Flaw) -> tuple[str, int, int]:
    """The order of the file."""
    at = flaw.position
    return (at.file, at.line, at.column) if at else ("", 0, 0)


def _of_nothing(file: str) -> tuple[Flaw, ...]:
    return (Flaw("package:unreadable-config", f"{file} is empty", "", Position(file, 1, 1)),)


def _shape(document: Document) -> Iterator[Flaw]:
    """What does not fit the schema, each by the rule that the schema names."""
    value = document.value
    if shapes.validator(SCHEMA).is_valid(value):
        return
    subject = Subject(value, document.positions, scalar_text=document.source.scalar_text)
    for one in explain(SCHEMA, subject):
        yield Flaw(one.rule or "package:shape", one.detail, one.hint, one.position, one.path)


def _further(document: Document) -> Iterator[Flaw]:
    for rule, further in _FURTHER.items():
        for path, detail, hint in further(document):
            yield Flaw(f"package:{rule}", detail, hint, nearest(document.positions, path), path)


_Found = Iterator[tuple[Path, str, str]]


def _matching(value: Any, pattern: Path, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """The texts at the paths that fit a pattern."""
    if not pattern:
        if isinstance(value, str):
            yield path, value
        return
    head, rest = pattern[0], pattern[1:]
    if isinstance(value, dict):
        keys = value if head == "*" else [key for key in (head,) if key in value]
        for key in keys:
            yield from _matching(value[key], rest, (*path, key))
    elif isinstance(value, list) and head == "*":
        for index, item in enumerate(value):
            yield from _matching(item, rest, (*path, index))


def _not_specifiers(document: Document) -> _Found:
    for pattern in _SPECIFIERS:
        for path, text in _matching(document.value, pattern):
            if not is_specifier(text):
                shown = f' ("{text}")' if len(text) <= _LONGEST_SHOWN else ""
                detail = f"`{dotted(path)}` is no version specifier{shown}"
                yield path, detail, 'write, for example, ">=1.2,<2", or "==1.2.0" for one alone'


def _needs_itself(document: Document) -> _Found:
    code, needs = document.value.get("code"), document.value.get("dependencies")
    if isinstance(needs, dict) and isinstance(code, str) and code in needs:
        yield ("dependencies", code), f"`dependencies` of {code} names {code}", "take the line out"


def _refused_category(document: Document) -> _Found:
    if document.value.get("category") == "converter":
        detail = (
            "the backend knows `category: converter`, but the platform's SDK, with which its "
            "publisher and its agents read this file, refuses it"
        )
        yield (
            ("category",),
            detail,
            "write another category, unless your agents are known to run it",
        )


def _unread(document: Document) -> _Found:
    if "smart_tool_type" in document.value:
        detail = "`smart_tool_type` is written by the platform's templates and read by nothing"
        yield ("smart_tool_type",), detail, "write `smart_tool:`"


def _shared_dockerfile(document: Document) -> _Found:
    blocks = [document.value.get(name) for name in ("container", "code_server")]
    files = [
        one.get("dockerfile") for one in blocks if isinstance(one, dict) and one.get("enabled")
    ]
    if len(files) == 2 and isinstance(files[0], str) and files[0] and files[0] == files[1]:
        detail = f"`container` and `code_server` are both built from {files[0]}"
        yield ("code_server", "dockerfile"), detail, "give the code server a Dockerfile of its own"


def _read_otherwise(document: Document) -> _Found:
    """Unquoted texts that are none to YAML 1.1, in which the platform reads the file."""
    if not any(mark in document.source.text for mark in _traps()):
        return
    for pattern in _TEXTS:
        for path, text in _matching(document.value, pattern):
            kind = _kind_elsewhere(text)
            if kind and _is_plain(document, path, text):
                detail = f"`{dotted(path)}` is {kind} to the platform, which reads YAML 1.1"
                yield path, detail, f'quote it: "{text}"'


@cache
def _traps() -> tuple[str, ...]:
    return ("yes", "no", "on", "off", "Yes", "No", "On", "Off", "YES", "NO", "ON", "OFF",
            *(f"{digit}{mark}" for digit in "0123456789" for mark in "-:_"), " =")  # fmt: skip


_KINDS = {"bool": "a boolean", "int": "a number", "float": "a number", "timestamp": "a date"}


def _kind_elsewhere(text: str) -> str:
    if len(text) > _LONGEST_SHOWN:
        return ""
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], ())
    for tag, pattern in resolvers:
        if pattern.match(text):
            return _KINDS.get(tag.rpartition(":")[2], "")
    return ""


def _is_plain(document: Document, path: Path, text: str) -> bool:
    """Whether a text stands there without quotes."""
    at = document.positions.get(path)
    lines = document.source.text.split("\n")
    if at is None or at.line > len(lines):
        return False
    rest = lines[at.line - 1][at.column - 1 :]
    written = rest if isinstance(path[-1], int) else rest.partition(":")[2]
    return written.strip().startswith(text)


_FURTHER: dict[str, Callable[[Document], _Found]] = {
    "category-converter": _refused_category,
    "dependency-itself": _needs_itself,
    "specifier": _not_specifiers,
    "smart-tool-type": _unread,
    "dockerfile": _shared_dockerfile,
    "yaml-1.1": _read_otherwise,
}

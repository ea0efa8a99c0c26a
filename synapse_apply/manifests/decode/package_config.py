"""What the platform would refuse or ignore in a package's config.yaml.

The shape is data: schemas/v1/package-config.schema.json names the rule that each of its keywords
stands for. What no schema can say is a row of `_CHECKS_BEYOND_SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from synapse_apply.manifests.decode.specifiers import is_version_specifier
from synapse_apply.manifests.schema import schemas
from synapse_apply.manifests.schema.explain import ValueToCheck, build_schema_findings
from synapse_apply.manifests.yaml.reader import (
    Document,
    describe_value_kind,
    iter_one_error_of_extra_documents,
    read_documents,
)
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    find_position_at_or_nearest_above,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.packages.rules import PackageFlaw
from synapse_apply.model.phrases import format_field_path

SCHEMA_NAME = "package-config"
# What YAML 1.1 reads as no text where it stands in one of these. `*` is any key or index.
_TEXT_PATHS: tuple[FieldPath, ...] = (
    *((name,) for name in ("name", "code", "version", "variant", "category", "description")),
    *((name,) for name in ("readme", "wheels_dir", "package_manager", "data_type")),
    ("requires", "*"),
    ("dependencies", "*"),
    *((name, "*") for name in ("tasks", "tags", "package_manager_options")),
    *(("actions", "*", name) for name in ("entrypoint", "method", "description")),
)
_SPECIFIER_PATHS: tuple[FieldPath, ...] = (("requires", "*"), ("dependencies", "*"))
_MAX_SHOWN_LENGTH = 80


@frozen
class PackageConfig:
    """A parsed config.yaml; `findings` are about its YAML, `flaws` about its fields.

    `value` is empty where the file holds no mapping.
    """

    value: Mapping[str, Any]
    positions: Mapping[FieldPath, Position]
    findings: tuple[Diagnostic, ...] = ()
    flaws: tuple[PackageFlaw, ...] = ()


def parse_and_check_config(data: bytes | str, file: str) -> PackageConfig:
    """Parse a config.yaml and check its fields; raises nothing, whatever the bytes are.

    Flaws may quote values of the file.
    """
    reading = read_documents(data, file)
    findings = [*reading.diagnostics, *iter_one_error_of_extra_documents(reading, file)]
    if not reading.documents:
        return PackageConfig(
            {}, {(): Position(file, 1, 1)}, tuple(findings), _build_empty_config_flaws(file)
        )
    document = reading.documents[0]
    if not isinstance(document.value, dict):
        detail = (
            f"{file} holds {describe_value_kind(document.value)} where KEY: VALUE lines are "
            f"expected"
        )
        findings.append(
            error_finding("Not a mapping", detail, "begin with a key", position=document.position)
        )
    # Field checks on a half-read file would report what the YAML finding already explains.
    if findings:
        value = document.value if isinstance(document.value, dict) else {}
        return PackageConfig(value, document.positions, tuple(findings))
    flaws = dict.fromkeys((*_iter_schema_flaws(document), *_iter_flaws_beyond_schema(document)))
    return PackageConfig(
        document.value,
        document.positions,
        (),
        tuple(sorted(flaws, key=build_flaw_position_sort_key)),
    )


def build_flaw_position_sort_key(flaw: PackageFlaw) -> tuple[str, int, int]:
    """Sorts flaws by file, line and column."""
    position = flaw.position
    return (position.file, position.line, position.column) if position else ("", 0, 0)


def _build_empty_config_flaws(file: str) -> tuple[PackageFlaw, ...]:
    return (PackageFlaw("package:unreadable-config", f"{file} is empty", "", Position(file, 1, 1)),)


def _iter_schema_flaws(document: Document) -> Iterator[PackageFlaw]:
    """A flaw for each misfit, with the rule that the schema names in `x-lint`."""
    value = document.value
    if schemas.compile_validator(SCHEMA_NAME).is_valid(value):
        return
    value_to_check = ValueToCheck(
        value, document.positions, scalar_text=document.source.read_scalar_text_as_written_or_usual
    )
    for finding in build_schema_findings(SCHEMA_NAME, value_to_check):
        yield PackageFlaw(
            finding.rule or "package:shape",
            finding.detail,
            finding.hint,
            finding.position,
            finding.path,
        )


def _iter_flaws_beyond_schema(document: Document) -> Iterator[PackageFlaw]:
    for rule, iter_violations in _CHECKS_BEYOND_SCHEMA.items():
        for path, detail, hint in iter_violations(document):
            yield PackageFlaw(
                f"package:{rule}",
                detail,
                hint,
                find_position_at_or_nearest_above(document.positions, path),
                path,
            )


_PathDetailHints = Iterator[tuple[FieldPath, str, str]]


def _iter_texts_at_paths_matching(
    value: Any, pattern: FieldPath, path: FieldPath = ()
) -> Iterator[tuple[FieldPath, str]]:
    """The texts at the paths that match a pattern, with their paths; `*` is any key or index."""
    if not pattern:
        if isinstance(value, str):
            yield path, value
        return
    first_part, pattern_tail = pattern[0], pattern[1:]
    if isinstance(value, dict):
        keys = value if first_part == "*" else [key for key in (first_part,) if key in value]
        for key in keys:
            yield from _iter_texts_at_paths_matching(value[key], pattern_tail, (*path, key))
    elif isinstance(value, list) and first_part == "*":
        for index, item in enumerate(value):
            yield from _iter_texts_at_paths_matching(item, pattern_tail, (*path, index))


def _iter_bad_specifiers(document: Document) -> _PathDetailHints:
    for pattern in _SPECIFIER_PATHS:
        for path, text in _iter_texts_at_paths_matching(document.value, pattern):
            if not is_version_specifier(text):
                quoted_text = f' ("{text}")' if len(text) <= _MAX_SHOWN_LENGTH else ""
                detail = f"`{format_field_path(path)}` is not a version specifier{quoted_text}"
                yield path, detail, 'write, for example, ">=1.2,<2", or "==1.2.0" for one alone'


def _iter_self_dependency_violations(document: Document) -> _PathDetailHints:
    code, needs = document.value.get("code"), document.value.get("dependencies")
    if isinstance(needs, dict) and isinstance(code, str) and code in needs:
        yield ("dependencies", code), f"`dependencies` of {code} names {code}", "take the line out"


def _iter_converter_category_violation(document: Document) -> _PathDetailHints:
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


def _iter_smart_tool_type_uses(document: Document) -> _PathDetailHints:
    if "smart_tool_type" in document.value:
        detail = "`smart_tool_type` is written by the platform's templates and read by nothing"
        yield ("smart_tool_type",), detail, "write `smart_tool:`"


def _iter_shared_dockerfile_violation(document: Document) -> _PathDetailHints:
    blocks = [document.value.get(name) for name in ("container", "code_server")]
    files = [
        block.get("dockerfile")
        for block in blocks
        if isinstance(block, dict) and block.get("enabled")
    ]
    # A server that is not enabled builds nothing, so its Dockerfile may be the same.
    if len(files) == 2 and isinstance(files[0], str) and files[0] and files[0] == files[1]:
        detail = f"`container` and `code_server` are both built from {files[0]}"
        yield ("code_server", "dockerfile"), detail, "give the code server a Dockerfile of its own"


def _iter_yaml11_conflicts(document: Document) -> _PathDetailHints:
    """Unquoted texts that a YAML 1.1 reader, such as the platform's, reads as another type."""
    # A quick search of the raw text; the walk below is needed for few files.
    if not any(mark in document.source.text for mark in _list_marks_of_possible_yaml11_values()):
        return
    for pattern in _TEXT_PATHS:
        for path, text in _iter_texts_at_paths_matching(document.value, pattern):
            kind = _describe_yaml11_type_or_empty_for_text(text)
            if kind and _is_written_without_quotes(document, path, text):
                detail = (
                    f"`{format_field_path(path)}` is {kind} to the platform, which reads YAML 1.1"
                )
                yield path, detail, f'quote it: "{text}"'


@cache
def _list_marks_of_possible_yaml11_values() -> tuple[str, ...]:
    return ("yes", "no", "on", "off", "Yes", "No", "On", "Off", "YES", "NO", "ON", "OFF",
            *(f"{digit}{mark}" for digit in "0123456789" for mark in "-:_"), " =")  # fmt: skip


_YAML11_TYPE_LABELS = {
    "bool": "a boolean",
    "int": "a number",
    "float": "a number",
    "timestamp": "a date",
}


# PyYAML's implicit resolvers are those of YAML 1.1, keyed by a scalar's first character.
def _describe_yaml11_type_or_empty_for_text(text: str) -> str:
    if len(text) > _MAX_SHOWN_LENGTH:
        return ""
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], ())
    for tag, pattern in resolvers:
        if pattern.match(text):
            return _YAML11_TYPE_LABELS.get(tag.rpartition(":")[2], "")
    return ""


def _is_written_without_quotes(document: Document, path: FieldPath, text: str) -> bool:
    """Whether the text at a path is written without quotes."""
    position = document.positions.get(path)
    lines = document.source.text.split("\n")
    if position is None or position.line > len(lines):
        return False
    line_rest = lines[position.line - 1][position.column - 1 :]
    value_text = line_rest if isinstance(path[-1], int) else line_rest.partition(":")[2]
    return value_text.strip().startswith(text)


_CHECKS_BEYOND_SCHEMA: dict[str, Callable[[Document], _PathDetailHints]] = {
    "category-converter": _iter_converter_category_violation,
    "dependency-itself": _iter_self_dependency_violations,
    "specifier": _iter_bad_specifiers,
    "smart-tool-type": _iter_smart_tool_type_uses,
    "dockerfile": _iter_shared_dockerfile_violation,
    "yaml-1.1": _iter_yaml11_conflicts,
}

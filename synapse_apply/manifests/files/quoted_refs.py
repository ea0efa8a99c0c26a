"""Which `valueFrom` a project's files hold, found by searching their text without parsing it.

For commands that read no manifests and still must mask their secrets in what a server answers.
A reference too many does no harm: the allow-lists decide what is read, and a known value
is only masked. One that is written with escapes or through aliases is missed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from synapse_apply.files.checkout import read_regular_file
from synapse_apply.manifests.decode.variables import VariableValues, substitute_variables
from synapse_apply.manifests.files.manifest_files import ManifestPaths
from synapse_apply.manifests.phrases import VALUE_FROM
from synapse_apply.model.project import Project, Target
from synapse_apply.model.values import SecretRef
from synapse_apply.secret_sources.catalogue import SECRET_SOURCES
from synapse_apply.secret_sources.source import SecretSource, build_reference_or_none_if_malformed

# The name follows `valueFrom` closely; a bound keeps the search linear whatever a file holds.
_MAX_DISTANCE = 1000
_KEY = r"""(?:^|[\s{,"'])%s["']?[ \t]*:\s*"""
_PLAIN = r"""[^\s"',{}\[\]#](?:\{[^}\n]*\}|[^,}\]#\n])*"""
_SCALAR = rf"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\n]|'')*'|{_PLAIN})"""
_NAMED_SOURCES = [source for source in SECRET_SOURCES.values() if source.is_read]
_SCALAR_SOURCE = re.compile(
    _KEY % f"({'|'.join(source.name for source in _NAMED_SOURCES if not source.required_keys)})"
    + _SCALAR
)
_MAPPING_SOURCES = tuple(
    (source, re.compile(_KEY % source.name)) for source in _NAMED_SOURCES if source.required_keys
)
_AS_JSON = re.compile(_KEY % "format" + r"""["']?json\b""")


# For commands without manifests: reading 1,000 manifests takes 0.4 s, searching their text a tenth
# of it. One reference too many does no harm, because it only adds to what is masked.
def scan_secret_refs(project: Project, target: Target) -> set[SecretRef]:
    """The variables and files that the project's files seem to name for secrets of one target.

    Files that cannot be read are skipped. Without a project file there is the embedded backend
    alone, and nothing says which of the folder's files are manifests.
    """
    if project.file is None:
        return set()
    files = [project.file, *ManifestPaths(project, target).collect().files]
    values = VariableValues(project, target, {})
    return {
        ref
        for file in files
        for source, argument, form in _references_in(_read_text(file))
        if (
            ref := build_reference_or_none_if_malformed(
                source, _substitute_in_argument(argument, values), form
            )
        )
    }


def _read_text(file: Path) -> str:
    with suppress(OSError):
        content = read_regular_file(file)
        if VALUE_FROM.encode() in content:
            return content.decode(errors="replace")
    return ""


def _references_in(text: str) -> Iterator[tuple[SecretSource, Any, str]]:
    """(source, what stands below its key, format) of each reference of a text."""
    # Each piece begins right behind one `valueFrom`.
    for piece in text.split(VALUE_FROM)[1:]:
        following_text = piece[:_MAX_DISTANCE]
        # Both forms are given, as `format: json` may belong to a neighbour, and a value too
        # many is only masked.
        forms = ("text", "json") if _AS_JSON.search(following_text) else ("text",)
        for source, argument in _sources_with_arguments(following_text):
            yield from ((source, argument, form) for form in forms)


def _sources_with_arguments(following_text: str) -> Iterator[tuple[SecretSource, Any]]:
    """The sources that a text names, with what stands below their keys."""
    for source, pattern in _MAPPING_SOURCES:
        if match := pattern.search(following_text):
            keys = (*source.required_keys, *source.optional_keys)
            block, following_text = following_text[match.end() :], following_text[: match.end()]
            yield (
                source,
                {
                    key: _unquote_scalar(scalar[1])
                    for key in keys
                    if (scalar := re.search(_KEY % key + _SCALAR, block))
                },
            )
    if match := _SCALAR_SOURCE.search(following_text):
        yield SECRET_SOURCES[match[1]], _unquote_scalar(match[2])


def _unquote_scalar(scalar: str) -> str:
    """The text of a YAML scalar without its quotes; escapes as JSON has them."""
    if scalar.startswith('"'):
        with suppress(ValueError):
            return str(json.loads(scalar))
        return scalar[1:-1]
    return scalar[1:-1].replace("''", "'") if scalar.startswith("'") else scalar.strip()


def _substitute_in_argument(argument: Any, values: VariableValues) -> Any:
    if isinstance(argument, dict):
        return {key: _substitute_or_keep(text, values) for key, text in argument.items()}
    return _substitute_or_keep(argument, values)


def _substitute_or_keep(name: str, values: VariableValues) -> str:
    """A name with its variables replaced; unchanged where one has no value on this target."""
    if "${" not in name:
        return name
    expanded = substitute_variables(name, values, lambda *_finding: None, ())
    return expanded if isinstance(expanded, str) else name

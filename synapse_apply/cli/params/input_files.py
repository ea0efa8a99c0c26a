"""How a file that is given to a command as an option is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from synapse_apply.files.checkout import read_typed_file
from synapse_apply.manifests.yaml.reader import read_single_mapping
from synapse_apply.model.errors import InputError


def read_mapping_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; InputError with the position of an error in it."""
    try:
        mapping, _ = read_single_mapping(read_typed_file(path), str(path))
    except OSError as problem:
        raise InputError.from_summary(
            "The file cannot be read", f"{path}: {problem.strerror}."
        ) from None
    return dict(mapping)


def read_listed_lines(path: Path, option: str) -> tuple[str, ...]:
    """The lines of a file, without blank ones and those that begin with #; else a usage error."""
    try:
        lines = read_typed_file(path).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise click.UsageError(f"{option} {path} cannot be read as text, a code a line.") from None
    return tuple(code for line in lines if (code := line.strip()) and not code.startswith("#"))

"""Checks files of pipelines against the schemas that their forges publish, without network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from click.testing import CliRunner


def check_published_schema(name: str, files: Iterable[Path]) -> None:
    """Fail with what the program of the schemas says where a file does not fit the schema `name`."""
    from check_jsonschema import main  # a tenth of a second, for few tests

    words = ["--builtin-schema", name, "--data-transform", "gitlab-ci", "--no-cache"]
    done = CliRunner().invoke(main, [*words, *map(str, files)])
    assert done.exit_code == 0, done.output

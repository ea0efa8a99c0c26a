"""The entries for SchemaStore: what editors ask of its catalogue, and files that are there."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest
from installed import ROOT

ENTRIES = json.loads((ROOT / "docs" / "schemastore.json").read_text("utf-8"))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["url"].rpartition("/")[2])
def test_an_entry_names_a_schema_of_its_version(entry: dict[str, object]) -> None:
    """The fields that the catalogue takes; the address ends as the file's path does."""
    assert {"name", "description", "url", "versions"} <= set(entry)
    assert set(entry) <= {"name", "description", "fileMatch", "url", "versions"}
    url = str(entry["url"])
    assert url.startswith("https://")
    version, file = url.split("/")[-2:]
    assert entry["versions"] == {version: url}
    assert json.loads((ROOT / "schemas" / version / file).read_text("utf-8"))["title"]


def test_files_of_ours_are_known_by_their_names_and_those_of_others_are_not() -> None:
    """What is called `controller.yaml` elsewhere, or lies in a folder of manifests, is left alone."""

    def known(path: str) -> list[str]:
        """Patterns as editors take them: without a folder, for any folder."""
        file = PurePosixPath(path)
        return [
            one["url"].rpartition("/")[2]
            for one in ENTRIES
            for pattern in one.get("fileMatch", ())
            if file.match(pattern.removeprefix("**/"))
        ]

    assert known("examples/fleet/synapse-apply.yaml") == ["project.schema.json"]
    assert known("/etc/synapse-apply/controller.yaml") == ["controller.schema.json"]
    assert known("a/synapse-apply-controller.yaml") == ["controller.schema.json"]
    assert known("charts/app/controller.yaml") == known("manifests/plugin.yaml") == []

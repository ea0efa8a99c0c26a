"""Good manifests become Desired: the three kinds, their addresses, references and sources."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from unit.manifests.manifests_on_disk import HEAD, PLUGIN, load_of

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.resource import PackageSource

YOLO = Address("plugin", "yolo")


def release(body: str, plugin: str = "yolo") -> str:
    return f"{HEAD}kind: Release\nspec:\n  plugin: {plugin}\n{body}"


CONFIG = {"name": "Yolo", "code": "yolo", "version": "1.2.0", "category": "neural_net", "tasks": []}


def test_from_and_version_come_from_the_package(tmp_path: Path) -> None:
    """A bump is one line in one file; the package is read once."""
    asked: list[PackageSource] = []

    def config(source: PackageSource) -> tuple[dict[str, object], dict[object, object]]:
        asked.append(source)
        return CONFIG, {}

    loaded = load_of(
        tmp_path,
        HEAD + "kind: Plugin\nmetadata: {name: yolo}\nspec: {from: plugins/yolo, author: me}\n---\n"
        + release("  source: plugins/yolo\n"),
        package_config=config,  # type: ignore[arg-type]
    )  # fmt: skip
    assert not loaded.diagnostics
    assert loaded.desired[YOLO].spec == {
        "name": "Yolo", "code": "yolo", "category": "neural_net", "author": "me"
    }  # fmt: skip
    assert loaded.desired[Address("release", "yolo@1.2.0")].spec["version"] == "1.2.0"
    assert len(asked) == 1


@pytest.mark.parametrize("raises", [True, False])
def test_a_package_that_cannot_be_read_is_one_finding(tmp_path: Path, raises: bool) -> None:
    """Raised or returned, told once, at the source's place, with nothing that follows from it."""
    problem = error_finding("Package folder not found", "no such folder", "make it")

    def config(_source: PackageSource) -> Diagnostic:
        if raises:
            raise InputError(problem)
        return problem

    text = (
        HEAD + "kind: Plugin\nmetadata: {name: yolo}\nspec: {from: plugins/yolo}\n---\n"
        + release("  source: plugins/yolo\n")
    )  # fmt: skip
    found = load_of(tmp_path, text, package_config=config).diagnostics
    assert [one.summary for one in found] == ["Package folder not found"]
    assert found[0].position is not None


def test_a_link_out_of_the_project_is_not_followed(tmp_path: Path) -> None:
    """What it points to would be read, and shown in messages."""
    (tmp_path / "outside.yaml").write_text(PLUGIN)
    inside = tmp_path / "project" / "manifests"
    inside.mkdir(parents=True)
    (inside / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    loaded = load_of(tmp_path / "project", PLUGIN)
    assert [one.summary for one in loaded.diagnostics] == ["Path outside the project"]
    assert f"is a link to {tmp_path / 'outside.yaml'}" in loaded.diagnostics[0].detail


def test_a_linked_folder_among_the_manifests_is_an_error(tmp_path: Path) -> None:
    """What it declares must not be taken for removed."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "team").symlink_to(tmp_path / "elsewhere")
    loaded = load_of(tmp_path, PLUGIN)
    assert [one.summary for one in loaded.diagnostics] == ["A linked folder among the manifests"]
    assert f"is a link to a folder, {tmp_path / 'elsewhere'}" in loaded.diagnostics[0].detail


@pytest.mark.parametrize("to", ["nowhere", "link.yaml", "other.yaml"])
def test_a_link_to_nothing_or_in_a_circle_is_an_error_with_its_name(
    tmp_path: Path, to: str
) -> None:
    """As a file that cannot be read; what lies beside it and is no manifest does not count."""
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "link.yaml").symlink_to(to)
    (manifests / "other.yaml").symlink_to("link.yaml")
    (manifests / "notes").symlink_to("notes")
    loaded = load_of(tmp_path, PLUGIN)
    assert {one.summary for one in loaded.diagnostics} == {"Unreadable file"}
    assert [str(one.position) for one in loaded.diagnostics] == [
        f"{manifests}/link.yaml:1:1", f"{manifests}/other.yaml:1:1"
    ]  # fmt: skip


def test_a_folder_that_cannot_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it declares must not be taken for removed. Its path is too long: that stops root, too."""
    (tmp_path / "manifests").mkdir()
    monkeypatch.chdir(tmp_path / "manifests")
    for _ in range(17):
        Path("f" * 250).mkdir()
        os.chdir("f" * 250)
    monkeypatch.chdir(tmp_path)
    loaded = load_of(tmp_path, PLUGIN)
    assert [one.summary for one in loaded.diagnostics] == ["Unreadable folder"]
    assert "fff: File name too long" in loaded.diagnostics[0].detail


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_among_the_manifests_is_not_waited_for(tmp_path: Path, linked: bool) -> None:
    """Nobody would ever write into it."""
    (tmp_path / "manifests").mkdir()
    os.mkfifo(tmp_path / "pipe" if linked else tmp_path / "manifests" / "pipe.yaml")
    if linked:
        (tmp_path / "manifests" / "pipe.yaml").symlink_to(tmp_path / "pipe")
    loaded = load_of(tmp_path, PLUGIN)
    assert [one.summary for one in loaded.diagnostics] == ["Unreadable file"]
    assert "pipe.yaml: it is a pipe" in loaded.diagnostics[0].detail

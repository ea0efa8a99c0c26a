"""Somebody's first hour: from an empty folder to a plugin, its release and a storage."""

from __future__ import annotations

from pathlib import Path

import pytest
from e2e.scenarios.workplace import Workplace

SECRETS = {"RAW_DATA_ACCESS_KEY": "AKIA-first", "RAW_DATA_SECRET_KEY": "first-secret"}


@pytest.fixture
def desk(tmp_path: Path) -> Workplace:
    """A folder with a plugin in it, and nothing of ours."""
    made = Workplace(tmp_path / "desk")
    made.write("plugins/yolo/config.yaml", 'name: Yolo\ncode: yolo\nversion: "0.1.0"\n')
    made.write("plugins/yolo/plugin/main.py", "print('yolo')\n")
    return made


def test_the_first_hour(desk: Workplace) -> None:
    """Each message leads to the next command; mistakes are caught before anything is sent."""
    begin(desk)
    add_a_storage(desk)
    go_on(desk)
    written = b"".join(path.read_bytes() for path in desk.root.rglob("*") if path.is_file()
                       and "embedded" not in path.parts)  # fmt: skip
    assert not any(value.encode() in written for value in SECRETS.values())


def begin(desk: Workplace) -> None:
    """A plugin folder becomes a project, and the project is applied."""
    lost = desk.plan(code=1)
    assert "--target embedded" in lost.err
    begun = desk.run("init", "--from", "plugins/yolo", code=0)
    assert "Next: `synapse-apply plan`" in begun.out
    assert desk.run("validate", code=0).out == "Valid: 2 resources for embedded.\n"
    seen = desk.plan(code=0).out
    assert "# plugin/yolo will be created" in seen
    assert "(package plugins/yolo, 2 files, " in seen
    assert "Plan: 2 to add, 0 to change, 0 to destroy." in seen
    unasked = desk.run("apply", code=1)
    assert "Review with `synapse-apply plan`, then add --auto-approve." in unasked.err
    assert "Apply complete! Resources: 2 added, 0 changed, 0 destroyed." in desk.apply().out
    desk.unchanged()


def add_a_storage(desk: Workplace) -> None:
    """The template says what is open, and an open one is never sent."""
    desk.run("init", "storage", "raw-data", "--out", "manifests/raw-data.yaml", code=0)
    open_ = desk.apply(code=1)
    assert "manifests/raw-data.yaml:10:5" in open_.err
    assert "`spec.configuration.bucket_name` is still CHANGE-ME" in open_.err
    desk.edit("manifests/raw-data.yaml", "bucket_name: CHANGE-ME", "bucket_nmae: raw")
    assert "did you mean `bucket_name`?" in desk.run("validate", code=1).err
    desk.edit("manifests/raw-data.yaml", "bucket_nmae", "bucket_name")
    unset = desk.plan(code=0).out
    assert "(sensitive, not checked: RAW_DATA_SECRET_KEY is not set)" in unset
    missing = desk.apply(code=1)
    assert all(name in missing.err for name in SECRETS)
    desk.environ.update(SECRETS)
    assert "Apply complete! Resources: 1 added" in desk.apply().out
    desk.unchanged()


def go_on(desk: Workplace) -> None:
    """A change in Git, a change that cannot be, and a look from all sides."""
    desk.edit("plugins/yolo/config.yaml", "name: Yolo", "name: Yolo 2")
    assert '~ name     = "Yolo" -> "Yolo 2"' in desk.plan(code=0).out.replace(
        "name =", "name     ="
    )
    desk.apply()
    desk.edit("manifests/raw-data.yaml", "bucket_name: raw", "bucket_name: other")
    refused = desk.apply(code=5).out
    assert "Apply incomplete! Resources: 0 added, 0 changed, 0 destroyed; 1 refused." in refused
    assert "`synapse-apply state accept storage/raw-data`" in refused
    desk.edit("manifests/raw-data.yaml", "bucket_name: other", "bucket_name: raw")
    desk.unchanged()
    listed = desk.run("state", "show", code=0).out
    assert [word for word in ("plugin/yolo", "release/yolo@0.1.0", "storage/raw-data")
            if word not in listed] == []  # fmt: skip
    assert "Yolo 2" in desk.run("show", "plugin/yolo", code=0).out

"""A saved plan without its packages, after an edit of their sources: exit 4, and words for each."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from e2e.scenarios.workplace import Workplace


@pytest.fixture
def saved(ready: Workplace) -> Workplace:
    """The sample, nothing of it applied, planned in the file `next`."""
    ready.plan("--out", "next", code=0)
    return ready


EDITS: list[tuple[Callable[[Workplace], object], str]] = [
    (lambda place: shutil.rmtree(place.root / "plugins"), "plugins/yolo does not exist"),
    (lambda place: shutil.rmtree(place.root / "plugins/yolo/plugin") or
     (place.root / "plugins/yolo/config.yaml").unlink(), "plugins/yolo contains no file"),
    (lambda place: place.edit("plugins/yolo/config.yaml", "1.0.0", "1.0.1"),
     "`spec.version` is 1.0.0, but `version` is 1.0.1"),
    (lambda place: place.write("plugins/yolo/config.yaml", "version: [\n"), "config.yaml:2:1"),
    (lambda place: (place.root / "plugins/yolo/link").symlink_to("/etc/hostname"),
     "link points outside the package"),
    (lambda place: place.edit("manifests/plugin.yaml", "kind: Plugin", "kind: Plug"), "Plug"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("edit", "why"), EDITS, ids=["gone", "empty", "version", "config", "link", "manifest"]
)
def test_what_cannot_be_used_any_more(saved, server, edit, why):
    """It could be when the plan was made: stale, with every reason, and the way out."""
    edit(saved)
    ran = saved.run("apply", "next", code=4)
    assert "Error: The planned manifests or packages are no longer here" in ran.err
    assert why in ran.err
    document = saved.run("apply", "next", "--json", code=4).document
    assert document["exit_code"] == 4
    assert server.writes == []
    assert (
        "Warning: The planned manifests or packages are no longer here"
        in saved.run("show", "next", code=0).err
    )
    saved.run("apply", "--reviewed", "next", code=1)
    assert server.writes == []


def test_a_file_of_a_package_it_uploads(saved, server):
    """That row is refused; `show` names it before; put back, the plan would have been true."""
    saved.write("plugins/yolo/plugin/main.py", "print('other')\n")
    shown = saved.run("show", "next", code=0)
    assert "Warning: A package changed since this plan was made" in shown.err
    assert (
        "plugins/yolo no longer contains the files that the plan uploads for release/yolo"
        in shown.err
    )
    ran = saved.run("apply", "next", "--all-or-nothing", code=4)
    assert "the content of its package differs" in ran.out
    assert server.writes == []
    saved.write("plugins/yolo/plugin/main.py", "print('yolo')\n")
    assert "changed" not in saved.run("show", "next", code=0).err
    saved.run("apply", "next", code=0)


@pytest.mark.parametrize("policy", ["note", "refuse"])
def test_a_file_of_a_package_it_does_not_touch(planned, server, policy):
    """A release that is published: the plan goes, whatever the policy says of the other row."""
    planned.edit("synapse-apply.yaml", '"kind"', f'"policy": {{"unreleased_source": "{policy}"}}, "kind"')  # fmt: skip
    planned.write("plugins/yolo/plugin/main.py", "print('other')\n")
    ran = planned.run("apply", "next", code=0)
    assert "0 added, 1 changed" in ran.out
    assert ". release/yolo@1.0.0" in ran.out
    assert server.counts == (2, 1, 1)

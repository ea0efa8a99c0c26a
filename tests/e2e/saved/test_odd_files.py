"""Files that no version of ours wrote: shown, or told to be none, never a traceback."""

from __future__ import annotations

import copy
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.saved.test_as_apply_does import SECRETS
from e2e.scenarios.workplace import PLUGIN, RELEASE, Server, Workplace
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort

ODD: list[Any] = [
    None, True, -1, 0, 10**400, 1e308, 1.5, float("nan"), "", "x" * 300, "\ud800", "\x1b[31m",
    [], [[]], [1], {}, {"a": {"b": 1}}, {"$mac": 1}, {"$absent": True}, {"$float": "inf"},
    {"$int": "0x" + "f" * 5000}, {"$int": "-1"}, {"$known_after_apply": "a/b"}, {"$map": {"$": 1}},
]  # fmt: skip


def places(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a JSON document."""
    yield at
    if isinstance(node, dict | list):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield from places(node[key], (*at, key))


def changed(document: Any, at: tuple[Any, ...], value: Any, *, drop: bool) -> Any:
    """A copy with another value at a place, or without that place."""
    if not at:
        return value
    made = node = copy.deepcopy(document)
    for key in at[:-1]:
        node = node[key]
    if drop:
        del node[at[-1]]
    else:
        node[at[-1]] = value
    return made


@pytest.fixture
def rich(two: Workplace, server: Server) -> Workplace:
    """A plan of every kind of row in the file `rich`; unsigned."""
    two.environ.update(RAW_ID="an-id-of-tests", RAW_KEY="a-key-of-tests")
    two.write("manifests/secret.yaml", SECRETS)
    two.apply()
    two.edit("manifests/secret.yaml", "bucket_name: b", "bucket_name: c")
    two.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    two.edit("manifests/plugin.yaml", "default: 0.8", "default: 0.9, many: [1, {a: b}]")
    two.write("manifests/eve.yaml", PLUGIN.replace("yolo", "eve").replace("Yolo", "Eve"))
    two.write("manifests/release.yaml", RELEASE.replace("yolo", "eve"))
    two.write("plugins/eve/config.yaml", 'name: Eve\ncode: eve\nversion: "1.0.0"\n')
    (two.root / "manifests/sam.yaml").unlink()
    server.call("PATCH", "_emulator/objects/plugin/1/", {"name": "By hand"})
    (two.root / ".synapse-apply/state/prod.key").unlink()
    two.plan("--out", "rich", code=0)
    two.edit("manifests/plugin.yaml", "Finds more", "Finds all")
    return two


@effort(10, 1000)
@given(data=st.data())
def test_odd_values_in_a_plan(rich: Workplace, data: st.DataObject) -> None:
    """At any place: shown, or refused with a message; and nothing of it is applied."""
    with zipfile.ZipFile(rich.root / "rich") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(entries["plan.json"])
    at = data.draw(st.sampled_from(list(places(document))), "place")
    value, drop = data.draw(st.sampled_from(ODD), "value"), data.draw(st.booleans(), "drop")
    entries["plan.json"] = json.dumps(changed(document, at, value, drop=drop)).encode()
    with zipfile.ZipFile(rich.root / "odd", "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    text, shown = rich.run("show", "odd"), rich.run("show", "odd", "--json")
    assert text.code == shown.code
    assert text.code in {0, 1}
    assert "\x1b" not in text.text
    assert isinstance(shown.document, dict)
    ran = rich.run("apply", "odd", "--allow-unsigned")
    assert ran.code in {1, 4}
    reviewed = ("--reviewed", "odd", "--allow-unsigned", "--all-or-nothing")
    assert rich.run("apply", *reviewed).code in {1, 4, 5}


def cut(path: Path, at: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(at * len(whole))])


@pytest.mark.parametrize("at", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file(planned: Workplace, at: float) -> None:
    """As a broken download leaves it."""
    shutil.copy(planned.root / "next", planned.root / "cut")
    cut(planned.root / "cut", at)
    for typed in (("show", "cut"), ("apply", "cut"), ("apply", "--reviewed", "cut")):
        assert "it is not a plan, or it is damaged" in planned.run(*typed, code=1).err
    assert planned.run("show", "cut", "--json", code=1).document["valid"] is False


def lzma(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("plan.json", "{}" * 100)
    cut(path, 1)
    whole = bytearray(path.read_bytes())
    whole[60] ^= 0xFF
    path.write_bytes(whole)


def bomb(path: Path) -> None:
    """150 MiB of spaces in 150 KiB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("plan.json", b" " * (150 * 1024**2))


def doubled(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("plan.json", "{}")
        archive.writestr("plan_json", "{}")
    path.write_bytes(path.read_bytes().replace(b"plan_json", b"plan.json"))


def deep(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("plan.json", '{"format": 1, "plan": ' + "[" * 10**6)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lzma, "its plan is compressed by method 14"),
        (bomb, "its plan is too large"),
        (doubled, "two of its entries have the same name"),
        (deep, "plan.json in it nests too deeply"),
        (lambda path: path.write_bytes(b""), "it is not a plan, or it is damaged"),
        (lambda path: path.mkdir(), "Is a directory"),
    ],
    ids=["another compression", "a bomb", "two plans", "nested too deeply", "empty", "a folder"],
)
def test_zips_that_are_no_plan(ready: Workplace, make: Any, why: str) -> None:
    """Each told in words, nothing of it unpacked."""
    make(ready.root / "odd")
    assert why in ready.run("apply", "odd", code=1).err
    assert "Traceback" not in ready.run("show", "odd").err

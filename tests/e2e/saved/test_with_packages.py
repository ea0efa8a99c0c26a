"""`plan --out F --with-packages`: planned in one place, applied in another that lacks the sources."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from e2e.scenarios.workplace import CONFIG, PLUGIN, RELEASE, Server, Workplace

from synapse_apply.cli.flows import plan_destination

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/v1/plan.schema.json").read_text())


def carried(file: Path) -> dict[str, str]:
    """The packages of a plan's file: the SHA-256 of each by its name."""
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name != "plan.json"]
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names}


def received(server: Server) -> list[str]:
    """The SHA-256 of what was uploaded for each release."""
    return [row["body"]["package"]["sha256"] for row in server.objects("release")]


@pytest.fixture
def saved(place: Workplace) -> Workplace:
    """The sample, nothing of it applied, planned with its package in the file `next`."""
    place.run("state", "init", code=0)
    place.plan("--out", "next", "--with-packages", code=0)
    return place


def test_without_its_source(saved, server):
    """The folder is gone: the very bytes that were planned go."""
    shutil.rmtree(saved.root / "plugins")
    assert "3 added" in saved.run("apply", "next", code=0).out
    assert received(server) == list(carried(saved.root / "next").values())
    record = saved.run("state", "show", "release/yolo@1.0.0", "--json", code=0).document
    assert record["digest"].removeprefix("pkg1:sha256:") in next(iter(carried(saved.root / "next")))
    assert sorted(record["files"]) == ["config.yaml", "plugin/main.py"]


def test_its_source_changed(saved, server):
    """Also to what would not pass: it is not looked at."""
    saved.write("plugins/yolo/plugin/main.py", "print('other')\n")
    (saved.root / "plugins/yolo/config.yaml").write_text("version: [\n")
    saved.run("apply", "next", code=0)
    assert received(server) == list(carried(saved.root / "next").values())


def test_in_another_checkout(saved, server, tmp_path):
    """Planned by one job, applied by the next: manifests, the state and the file are there."""
    saved.edit("manifests/plugin.yaml", "  code: yolo\n", "  from: ./plugins/yolo\n")
    saved.edit("manifests/plugin.yaml", '  version: "1.0.0"\n  changelog', "  changelog")
    saved.plan("--out", "second", "--with-packages", code=0)
    there = Workplace(tmp_path / "job", dict(saved.environ))
    for name in ("manifests", ".synapse-apply"):
        shutil.copytree(saved.root / name, there.root / name)
    shutil.copy(saved.root / "synapse-apply.yaml", there.root)
    ran = there.run("apply", str(saved.root / "second"), code=0)
    assert "release/yolo@1.0.0 created" in ran.out
    assert [row["body"]["code"] for row in server.objects("plugin")] == ["yolo"]


def git(place: Workplace, *typed: str) -> None:
    who = ("-c", "user.name=T", "-c", "user.email=t@example.com")
    subprocess.run(["git", *who, *typed], cwd=place.root, capture_output=True, check=True)


def test_its_ref_is_gone(place, server):
    """With the repository."""
    place.edit("manifests/plugin.yaml", "source: ./plugins/yolo",
               "source: {path: ./plugins/yolo, ref: yolo-v1}")  # fmt: skip
    git(place, "init", "-q")
    git(place, "add", "plugins")
    git(place, "commit", "-q", "-m", "First")
    git(place, "tag", "yolo-v1")
    place.run("state", "init", code=0)
    place.plan("--out", "without", code=0)
    place.plan("--out", "next", "--with-packages", code=0)
    git(place, "tag", "-d", "yolo-v1")
    ran = place.run("apply", "without", code=4)
    assert "Error: The planned manifests or packages are no longer here" in ran.err
    assert "yolo-v1" in ran.err
    shutil.rmtree(place.root / ".git")
    place.run("apply", "next", code=0)
    assert received(server) == list(carried(place.root / "next").values())


def test_its_zip_is_gone(place, server):
    """A zip built elsewhere is carried byte for byte."""
    place.edit("manifests/plugin.yaml", "source: ./plugins/yolo", "file: dist/yolo.zip")
    (place.root / "dist").mkdir()
    with zipfile.ZipFile(place.root / "dist/yolo.zip", "w") as archive:
        archive.writestr("config.yaml", CONFIG)
    built = hashlib.sha256((place.root / "dist/yolo.zip").read_bytes()).hexdigest()
    place.run("state", "init", code=0)
    place.plan("--out", "next", "--with-packages", code=0)
    shutil.rmtree(place.root / "dist")
    place.run("apply", "next", code=0)
    assert received(server) == [built]


def test_only_what_is_uploaded_is_carried_and_no_source_is_needed(applied, server):
    """A release that is published already: its source may be gone, too."""
    applied.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    ran = applied.plan("--out", "next", "--with-packages", code=0)
    assert "Saved the plan to next with no packages.\n" in ran.err
    assert carried(applied.root / "next") == {}
    shutil.rmtree(applied.root / "plugins")
    assert "It carries no packages: it uploads none." in applied.run("show", "next", code=0).err
    assert "0 added, 1 changed" in applied.run("apply", "next", code=0).out
    assert server.counts == (1, 1, 1)


def test_what_is_not_selected_is_not_carried(place, server):
    """The release of another plugin."""
    place.write("manifests/sam.yaml", PLUGIN.replace("yolo", "sam").replace("Yolo", "Sam"),
                RELEASE.replace("yolo", "sam"))  # fmt: skip
    place.write("plugins/sam/config.yaml", CONFIG.replace("yolo", "sam"))
    place.run("state", "init", code=0)
    place.plan("--out", "one", "--with-packages", "--exclude", "release/sam@1.0.0", code=0)
    place.plan("--out", "all", "--with-packages", code=0)
    assert len(carried(place.root / "one")) == 1
    assert len(carried(place.root / "all")) == 2
    shutil.rmtree(place.root / "plugins")
    assert "4 added" in place.run("apply", "one", code=0).out
    assert server.counts == (2, 1, 1)


def test_one_content_is_carried_once(place, server):
    """Two releases of one package."""
    place.write("manifests/b.yaml", PLUGIN.replace("yolo", "b").replace("Yolo", "B"),
                RELEASE.replace("plugin: yolo", "plugin: b"))  # fmt: skip
    place.write("plugins/yolo/config.yaml", 'version: "1.0.0"\n')
    place.run("state", "init", code=0)
    place.plan("--out", "next", "--with-packages", code=0)
    (package,) = carried(place.root / "next").values()
    shown = place.run("show", "next", "--json", code=0).document
    assert shown["packages"][0]["addresses"] == ["release/b@1.0.0", "release/yolo@1.0.0"]
    place.run("apply", "next", code=0)
    assert received(server) == [package, package]


def test_the_file_and_what_is_said_of_it(saved, monkeypatch):
    """Private; `show` lists each package with its size; a large one is warned of."""
    assert stat.S_IMODE((saved.root / "next").stat().st_mode) == 0o600
    ((name, _),) = carried(saved.root / "next").items()
    with zipfile.ZipFile(saved.root / "next") as archive:
        size = archive.getinfo(name).file_size
    digest = f"pkg1:sha256:{Path(name).stem}"
    ran = saved.run("show", "next", code=0)
    assert f"It carries 1 package ({size} B):\n" in ran.err
    assert f"release/yolo@1.0.0  {size} B  {digest}\n" in ran.err
    shown = saved.run("show", "next", "--json", code=0).document
    jsonschema.validate(shown, SCHEMA)
    assert shown["packages"] == [
        {"digest": digest, "size": size, "addresses": ["release/yolo@1.0.0"]}
    ]
    saved.plan("--out", "without", code=0)
    assert "packages" not in saved.run("show", "without", "--json", code=0).document
    monkeypatch.setattr(plan_destination, "_LARGE", size)
    ran = saved.plan("--out", "large", "--with-packages", code=0)
    assert f"Saved the plan to large with 1 package ({size} B)." in ran.err
    assert "Warning: This plan's file is large" in ran.err


def test_it_goes_with_out(place):
    """Alone it is a mistake, exit 64."""
    place.run("state", "init", code=0)
    assert "--with-packages goes with --out" in place.plan("--with-packages", code=64).err


def test_it_is_bound_like_any_plan(saved, server):
    """An edited manifest, a new source, an object that is there now; and it is used once."""
    before = (saved.root / "manifests/plugin.yaml").read_text()
    saved.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    assert "The manifests changed since" in saved.run("apply", "next", code=4).err
    saved.write("manifests/plugin.yaml", before.replace("./plugins/yolo", "./plugins/new"))
    ran = saved.run("apply", "next", code=4)
    assert "The planned manifests or packages are no longer here" in ran.err
    assert "plugins/new does not exist" in ran.err
    assert server.writes == []
    saved.write("manifests/plugin.yaml", before)
    saved.run("apply", "next", code=0)
    sent = server.writes
    assert "This plan was applied already" in saved.run("apply", "next", code=4).err
    assert server.writes == sent


def test_unsigned(saved, server):
    """It needs the same word as any plan."""
    (saved.root / ".synapse-apply/state/prod.key").unlink()
    (saved.root / "next").unlink()
    saved.plan("--out", "next", "--with-packages", code=0)
    shutil.rmtree(saved.root / "plugins")
    assert "This plan is not signed" in saved.run("apply", "next", code=4).err
    saved.run("apply", "next", "--allow-unsigned", code=0)
    assert server.counts == (1, 1, 1)


def rewrite(file: Path, change: Callable[[dict[str, bytes]], Any]) -> None:
    """Change what is in a plan's file, by name."""
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def put(content: bytes) -> Callable[[dict[str, bytes]], None]:
    """Other bytes in the place of the package."""
    return lambda entries: entries.update({name: content for name in entries if "/" in name})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put(b""), "it is no zip"),
        (lambda entries: entries.pop(max(entries, key=len)), "it is not there"),
        (
            lambda entries: entries.update({f"packages/{'0' * 64}.zip": b""}),
            f"packages/{'0' * 64}.zip is named by no row of the plan",
        ),
    ],
    ids=["cut", "missing", "foreign"],
)
def test_a_tampered_package(saved, server, change, said):
    """The signature is good, the digest tells: exit 4, nothing sent; the true file still goes."""
    shutil.copy(saved.root / "next", saved.root / "true")
    rewrite(saved.root / "next", change)
    ran = saved.run("apply", "next", "--allow-unsigned", code=4)
    assert said in ran.err
    assert "Nothing was sent" in ran.err
    assert server.writes == []
    saved.run("show", "next", code=0)
    saved.run("apply", "true", code=0)


def test_another_package_under_its_name(saved, server):
    """Of the same size, well formed."""
    saved.write("plugins/yolo/plugin/main.py", "print('oloy')\n")
    saved.plan("--out", "other", "--with-packages", code=0)
    with zipfile.ZipFile(saved.root / "other") as archive:
        (name,) = set(archive.namelist()) - {"plan.json"}
        rewrite(saved.root / "next", put(archive.read(name)))
    ran = saved.run("apply", "next", code=4)
    assert "it has other content than its name says" in ran.err
    assert "with release/yolo@1.0.0" in ran.err
    assert saved.run("apply", "next", "--json", code=4).document["exit_code"] == 4
    assert server.writes == []


def test_a_package_and_its_name_in_the_plan(saved, server):
    """Whoever changes both breaks the signature."""
    saved.write("plugins/yolo/plugin/main.py", "print('olo')\n")
    saved.plan("--out", "other", "--with-packages", code=0)
    names = [Path(next(iter(carried(saved.root / file)))).stem for file in ("next", "other")]

    def change(entries: dict[str, bytes]) -> None:
        entries.pop(f"packages/{names[0]}.zip")
        with zipfile.ZipFile(saved.root / "other") as archive:
            entries[f"packages/{names[1]}.zip"] = archive.read(f"packages/{names[1]}.zip")
        entries["plan.json"] = entries["plan.json"].replace(names[0].encode(), names[1].encode())

    rewrite(saved.root / "next", change)
    ran = saved.run("apply", "next", "--allow-unsigned", code=4)
    assert "The signature of this plan is wrong" in ran.err
    assert server.writes == []


def test_what_show_says_of_a_tampered_file(saved):
    """Without reading the packages: what is missing, and what is too much."""
    rewrite(saved.root / "next", lambda entries: entries.pop(max(entries, key=len)))
    foreign = f"packages/{'0' * 64}.zip"
    rewrite(saved.root / "next", lambda entries: entries.update({foreign: b""}))
    ran = saved.run("show", "next", code=0)
    assert "release/yolo@1.0.0  missing  pkg1:sha256:" in ran.err
    assert "Warning: The plan file has an entry that the plan does not name" in ran.err
    shown = saved.run("show", "next", "--json", code=0).document
    jsonschema.validate(shown, SCHEMA)
    assert shown["packages"][0]["size"] is None


def test_reviewed(saved, server):
    """The packages are the checkout's: what has the reviewed content goes, whatever is carried."""
    rewrite(saved.root / "next", put(b""))
    (saved.root / "plugins").rename(saved.root / "away")
    assert "Package folder not found" in saved.run("apply", "--reviewed", "next", code=1).err
    (saved.root / "away").rename(saved.root / "plugins")
    saved.write("plugins/yolo/plugin/main.py", "print('other')\n")
    ran = saved.run("apply", "--reviewed", "next", code=4)
    assert "! release/yolo@1.0.0 cannot be created: it is not what was reviewed" in ran.out
    assert server.counts == (1, 0, 1)
    saved.write("plugins/yolo/plugin/main.py", "print('yolo')\n")
    saved.run("apply", "--reviewed", "next", code=0)
    assert server.counts == (1, 1, 1)

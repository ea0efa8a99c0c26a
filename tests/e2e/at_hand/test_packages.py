"""`package`: what goes into a zip, what stays out and why, its digest, and what moved since."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from pathlib import Path

import pytest
from e2e.at_hand.conftest import PROJECT
from e2e.scenarios.workplace import Workplace
from git_repositories import commit, git
from in_process import run
from installed import run as run_installed

FOLDER = "plugins/yolo"
CONFIG, MAIN = f"{FOLDER}/config.yaml", f"{FOLDER}/plugin/main.py"


def commit_and_tag(place: Workplace, tag: str) -> None:
    commit(place.root)
    git(place.root, "tag", tag)


def digest(place: Workplace, *typed: str) -> str:
    return place.run("package", "show", "--digest", *typed, code=0).out


def test_one_digest_however_it_is_named(place: Workplace, tmp_path: Path) -> None:
    """Folder, release, Git ref, zip: the installed command prints the digest and nothing else."""
    printed = run_installed(f"package show --digest {FOLDER}", place.root, {}).stdout
    assert re.fullmatch(r"pkg1:sha256:[0-9a-f]{64}\n", printed)
    commit_and_tag(place, "v1")
    place.run("package", "build", FOLDER, code=0)
    place.edit("plugins/yolo/plugin/main.py", "yolo", "yolo again")
    assert digest(place, FOLDER, "--ref", "v1") == printed
    assert digest(place, "yolo-1.0.0.zip") == printed
    assert digest(place, str(place.root / "yolo-1.0.0.zip"), "-C", str(tmp_path)) == printed
    changed = digest(place, FOLDER)
    assert changed != printed
    for name in (
        "release/yolo@1.0.0",
        "release/yolo",
        "yolo@1.0.0",
        "yolo",
        f"../project/{FOLDER}",
    ):
        assert digest(place, name) == changed
    assert place.run("-C", str(tmp_path), code=64)
    (place.root / FOLDER).rename(place.root / "elsewhere")
    assert digest(place, FOLDER, "--ref", "v1") == printed


def test_a_digest_with_its_files(place: Workplace) -> None:
    """--json has the SHA-256, the size and the executable bit of each."""
    (place.root / MAIN).chmod(0o755)
    made = place.run("package", "show", "--digest", "release/yolo", "--json", code=0).document
    content = (place.root / MAIN).read_bytes()
    assert made["files"][1] == {
        "path": "plugin/main.py",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "executable": True,
    }
    assert made["address"] == "release/yolo@1.0.0"
    assert made["source"] == {"kind": "folder", "path": FOLDER}
    assert made["size"] == sum(one["size"] for one in made["files"])
    assert made["digest"] == digest(place, FOLDER).strip()


def test_the_zip_is_what_an_upload_sends(place: Workplace) -> None:
    """Byte for byte, wherever and whenever it is built; its digest is that of the state."""
    place.apply()
    said = run("package build yolo -o one.zip", place.root, {}).stdout
    one = (place.root / "one.zip").read_bytes()
    (place.root / MAIN).touch()
    made = place.run("package", "build", FOLDER, "-o", "two.zip", "--json", code=0).document
    assert (place.root / "two.zip").read_bytes() == one
    (sent,) = (place.root / ".synapse-apply").glob("embedded/packages/*")
    assert sent.read_bytes() == one
    assert made["zip"] == {"path": "two.zip", "size": len(one)}
    assert said.startswith("Wrote one.zip (")
    assert said.endswith(f": 2 files, 63 B\n{made['digest']}\n")
    assert made["digest"] in place.run("state", "show", "release/yolo@1.0.0", "--json").out


def test_what_is_left_out_and_by_which_rule(place: Workplace) -> None:
    """The ignore file and its line, or that it is built in; a folder stands for all below it."""
    place.write(f"{FOLDER}/.synapseignore", "# weights are fetched\n*.pt\n")
    place.write(f"{FOLDER}/plugin/.gitignore", "/local*\n")
    place.write(f"{FOLDER}/plugin/local.py", "")
    place.write(f"{FOLDER}/plugin/__pycache__/main.pyc", "")
    place.write(f"{FOLDER}/big.pt", "")
    place.write(f"{FOLDER}/data.bin", "x" * 3000)
    done = run(f"package show {FOLDER}", place.root, {}).stdout
    expected = """\
plugins/yolo: 3 files, 3.0 KiB

   SIZE  FILE
   49 B  config.yaml
2.9 KiB  data.bin
   14 B  plugin/main.py

Left out:

PATH                 RULE
.synapseignore       built in: .synapseignore
big.pt               .synapseignore:2: *.pt
plugin/.gitignore    built in: .gitignore
plugin/__pycache__/  built in: __pycache__
plugin/local.py      plugin/.gitignore:1: /local*
"""
    assert done == expected
    made = place.run("package", "show", "yolo", "--by-size", "--json", code=0).document
    assert [one["path"] for one in made["files"]] == ["data.bin", "config.yaml", "plugin/main.py"]
    assert {"path": "big.pt", "rule": ".synapseignore:2: *.pt"} in made["left_out"]
    with zipfile.ZipFile(place.root / "dist.zip", "w") as archive:
        archive.writestr("a", "")
    assert place.run("package", "show", "dist.zip", code=0).out.startswith("dist.zip: 1 file, 0 B")


def test_what_moved_since_it_was_published(place: Workplace) -> None:
    """Added, removed, changed, made executable; 2 with --detailed-exitcode, 0 when nothing did."""
    place.write(f"{FOLDER}/run.sh", "a")
    place.write(f"{FOLDER}/old.py", "a")
    place.apply()
    same = place.run("package", "diff", "yolo", "--detailed-exitcode", code=0)
    assert same.out == "No file differs: release/yolo@1.0.0 matches the published package.\n"
    (place.root / FOLDER / "run.sh").chmod(0o755)
    (place.root / FOLDER / "old.py").unlink()
    place.edit(MAIN, "yolo", "more")
    place.write(f"{FOLDER}/new.py", "")
    done = run("package diff release/yolo@1.0.0 --detailed-exitcode", place.root, {}, code=2)
    expected = """\
release/yolo@1.0.0 differs from the published package: 1 added, 1 removed, 2 changed.

  + new.py
  - old.py
  ~ plugin/main.py
  ~ run.sh (now executable; same bytes)

Published bytes never change. Next: `synapse-apply bump yolo patch` declares this as a new version.
"""
    assert done.stdout == expected
    made = place.run("package", "diff", "yolo", "--json", code=0).document
    assert made["differs"]
    assert made["files_known"]
    assert made["changes"][3] == {
        "path": "run.sh", "change": "changed", "content": False, "executable": True,
    }  # fmt: skip


def test_before_a_new_version_is_published(place: Workplace) -> None:
    """It is compared with the newest that was, or with the one that is named."""
    place.apply()
    place.edit(MAIN, "yolo", "two")
    place.run("bump", "yolo", "minor", code=0)
    place.apply()
    place.edit(MAIN, "two", "three")
    place.run("bump", "yolo", "patch", code=0)
    made = place.run("package", "diff", "yolo", code=0).out
    expected = """\
release/yolo@1.1.1 differs from release/yolo@1.1.0 as it was published: 2 changed.

  ~ config.yaml
  ~ plugin/main.py
"""
    assert made == expected
    for name in ("1.0.0", "release/yolo@1.0.0"):
        made = place.run("package", "diff", "yolo", "--against", name, "--json", code=0).document
        assert made["against"] == "release/yolo@1.0.0"
    said = place.run("package", "diff", "yolo", "--against", "3.0.0", code=1).err
    assert "has no 3.0.0 of the series" in said


def test_a_state_that_does_not_know_the_bytes(place: Workplace) -> None:
    """Nothing published, nothing recorded of an imported one, no state: said, never guessed."""
    assert "Nothing has been published yet" in place.run("package", "diff", "yolo", code=1).err
    place.apply()
    place.run("state", "rm", "release/yolo@1.0.0", code=0)
    place.run("import", "release/yolo@1.0.0", "1", code=0)
    said = place.run("package", "diff", "yolo", code=1).err
    assert "The state does not record the published bytes" in said
    target = "targets: {prod: {url: 'http://127.0.0.1:1', token: {env: T}}}\n"
    place.write("synapse-apply.yaml", PROJECT + target)
    assert "There is no state" in place.run("package", "diff", "yolo", "-t", "prod", code=1).err


def test_bytes_that_are_not_ours(place: Workplace) -> None:
    """A release published by somebody else has no package to look at."""
    place.edit("manifests/release.yaml", "./plugins/yolo", "published")
    for command in ("show --digest", "show", "build", "diff"):
        place.run("package", *command.split(), "release/yolo@1.0.0", code=1)
    assert (
        "Somebody else publishes this release"
        in place.run("package", "show", "--digest", "yolo", code=1).err
    )


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (f"{FOLDER}/out.zip", "would become a part of the package"),
        (MAIN, "another file exists there"),
        (FOLDER, "it is a folder"),
        ("nowhere/out.zip", "No such file or directory"),
    ],
)
def test_places_where_no_zip_is_written(place: Workplace, out: str, words: str) -> None:
    """Nothing is overwritten that is no zip, and a package does not hold itself."""
    before = digest(place, FOLDER)
    assert words in place.run("package", "build", FOLDER, "-o", out, code=1).err
    assert digest(place, FOLDER) == before
    assert not list(place.root.rglob("*.part"))


def test_a_place_inside_that_a_rule_leaves_out(place: Workplace) -> None:
    """dist/ is built in, and a line of one's own will do; an old zip is replaced."""
    before = digest(place, FOLDER)
    place.write(f"{FOLDER}/.synapseignore", "/out.zip\n")
    (place.root / FOLDER / "dist").mkdir()
    for out in (f"{FOLDER}/dist/a.zip", f"{FOLDER}/out.zip", f"{FOLDER}/out.zip"):
        place.run("package", "build", FOLDER, "-o", out, code=0)
    assert digest(place, FOLDER) == before


def test_what_no_package_can_be(place: Workplace) -> None:
    """All that is wrong with a folder is told, and no zip is left."""
    (place.root / FOLDER / "a\\b").write_text("")
    (place.root / FOLDER / "to").symlink_to("/etc/passwd")
    for command in ("show --digest", "show", "build"):
        said = place.run("package", *command.split(), FOLDER, code=1).err
        assert "Unsafe name in the package" in said
        assert "Link cannot be followed" in said
    assert not list(place.root.glob("*.zip"))


def test_a_package_without_config(place: Workplace) -> None:
    """A warning beside the digest, which scripts still read alone."""
    place.write("bare/a.py", "")
    ran = place.run("package", "show", "--digest", "bare", code=0)
    assert ran.out.startswith("pkg1:sha256:")
    assert "Warning: Package without config.yaml" in ran.err
    assert "Wrote bare.zip" in place.run("package", "build", "bare", code=0).out


def test_names_of_nothing(place: Workplace) -> None:
    """A mistyped name gets the nearest one; several releases of one plugin ask which."""
    said = place.run("package", "show", "--digest", "release/yolo@1.0.1", code=1).err
    assert "does not exist, and no manifest declares a release of this name." in said
    assert "Did you mean `release/yolo@1.0.0`?" in said
    place.write(
        "manifests/b.yaml",
        "apiVersion: synapse-apply/v1\nkind: Release\n"
        "spec: {plugin: yolo, version: 0.9.0, source: published}\n",
    )
    said = place.run("package", "show", "--digest", "yolo", "--json", code=1).out
    assert "release/yolo@0.9.0, release/yolo@1.0.0" in json.loads(said)["diagnostics"][0]["detail"]

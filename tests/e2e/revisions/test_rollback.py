"""`--ref REF`: manifests, packages and all as a commit has them, against what is live."""

from __future__ import annotations

import json
from typing import Any

import pytest
from e2e.revisions.conftest import Repository
from e2e.scenarios.workplace import PLUGIN, Server


def test_an_edit_is_taken_back(repo: Repository) -> None:
    """What main declares is made so again, whatever the checkout says; nothing is checked out."""
    repo.place.edit("manifests/plugin.yaml", "Finds things", "Finds trouble")
    (repo.root / "manifests/storage.yaml").unlink()
    repo.commit("trouble")
    repo.place.apply("--override-guard", "mass-missing")
    status = repo.git("status", "--porcelain=v2", "--branch")
    main = repo.git("rev-parse", "--short=7", "main")
    planned = repo.place.plan("--ref", "main", "--detailed-exitcode", code=2)
    assert f"manifests as of main ({main})" in planned.out
    assert '"Finds trouble" -> "Finds things"' in planned.out
    repo.place.apply("--ref", "main", "--adopt")
    assert "No changes." in repo.place.plan("--ref", "main", "--detailed-exitcode", code=0).out
    assert "Finds trouble" in repo.place.plan(code=0).out
    assert repo.git("status", "--porcelain=v2", "--branch") == status


def test_the_commit_is_the_label(repo: Repository) -> None:
    """Plan, report and history name the commit that was gone back to."""
    main = repo.git("rev-parse", "main")
    repo.place.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    repo.commit("more")
    repo.place.apply()
    planned = repo.place.plan("--ref", "main", "--json", code=0).document
    assert planned["base"]["commit"] == main
    assert planned["base"]["revision"] == f"main ({main[:7]})"
    report = repo.place.apply("--ref", main[:10], "--json").document
    assert report["plan"]["base"]["commit"] == main
    assert main in repo.place.run("state", "history", "--json", code=0).out


def test_a_package_is_that_of_the_commit(repo: Repository) -> None:
    """Sources are read from the commit: what the folder holds now is neither seen nor sent."""
    repo.place.edit("manifests/plugin.yaml", 'version: "1.0.0"\n  changelog: First',
                    'version: "1.1.0"\n  changelog: Second')  # fmt: skip
    repo.place.edit("plugins/yolo/config.yaml", "1.0.0", "1.1.0")
    repo.place.edit("manifests/plugin.yaml", 'version: "1.0.0"', 'version: "1.1.0"')
    at = repo.commit("1.1.0")
    repo.place.write("plugins/yolo/plugin/main.py", "print('broken')\n")
    (repo.root / "plugins/yolo/config.yaml").unlink()
    planned = repo.place.plan("--ref", "HEAD", code=0)
    assert f"package plugins/yolo at {at[:7]}, 2 files" in planned.out
    repo.place.apply("--ref", "HEAD")
    repo.git("checkout", "-q", "--", ".")
    repo.place.unchanged()


def test_published_releases_stay(repo: Repository) -> None:
    """Going back to a lower version takes nothing back, and says so."""
    repo.place.edit("manifests/plugin.yaml", 'version: "1.0.0"', 'version: "1.1.0"')
    repo.place.edit("plugins/yolo/config.yaml", "1.0.0", "1.1.0")
    repo.commit("1.1.0")
    repo.place.apply()
    ran = repo.place.plan("--ref", "main", code=0)
    assert "release/yolo@1.0.0 is declared, but release/yolo@1.1.0 is already published" in ran.text
    assert "main:manifests/plugin.yaml:" in ran.text


def test_other_content_under_a_published_version_is_no_upload(repo: Repository) -> None:
    """A commit whose package differs from what was published is told, or refused by policy."""
    repo.place.write("plugins/yolo/plugin/main.py", "print('never published')\n")
    repo.commit("never published")
    repo.git("tag", "odd")
    repo.git("checkout", "-q", "main")
    ran = repo.place.plan("--ref", "odd", code=0)
    assert "release/yolo@1.0.0 has unreleased changes (1 file; next version 1.0.1)" in ran.out


def test_named_files_are_those_of_the_commit(repo: Repository) -> None:
    """-f and -C mean the same places in the commit."""
    repo.place.write("manifests/storage.yaml", "not: [valid")
    ran = repo.place.plan("--ref", "main", "-f", "manifests/storage.yaml", code=0)
    assert "No changes." in ran.out
    ran = repo.place.run("plan", "-C", "manifests", "--ref", "main", "-f", "plugin.yaml", code=0)
    assert "No changes." in ran.out
    ran = repo.place.plan("--ref", "main", "-f", "manifests/new.yaml", code=1)
    assert "`manifests/new.yaml` is not in main" in ran.text
    ran = repo.place.plan("--ref", "main", "-f", "../else.yaml", code=1)
    assert "`../else.yaml` is outside the repository" in ran.text


def test_a_list_that_has_grown_since(repo: Repository) -> None:
    """A folder that came later declared nothing then; that all is gone is for the guards."""
    text = (repo.root / "synapse-apply.yaml").read_text()
    more = text.replace('["manifests/"]', '["manifests/", "more/"]')
    repo.place.write("synapse-apply.yaml", more)
    repo.place.write("more/sam.yaml", PLUGIN.replace("yolo", "sam").replace("Yolo", "Sam"))
    repo.commit("more")
    repo.place.apply()
    ran = repo.place.plan("--ref", "main", code=0)
    assert "`more/` is not in main, so it declared nothing there" in ran.text
    assert ". plugin/sam will be forgotten" in ran.out
    repo.place.write("synapse-apply.yaml", text.replace('["manifests/"]', '["more/"]'))
    ran = repo.place.run("apply", "--auto-approve", "--ref", "main", code=5)
    assert "No manifests" in ran.text


def test_links_are_followed_inside_and_no_further(repo: Repository) -> None:
    """A link to a manifest is read; one to a folder, or out of the project, is an error."""
    (repo.root / "manifests/storage.yaml").rename(repo.root / "storage.yaml")
    (repo.root / "manifests/storage.yaml").symlink_to("../storage.yaml")
    repo.commit("linked")
    repo.git("tag", "file")
    (repo.root / "manifests/out.yaml").symlink_to("/etc/passwd")
    (repo.root / "manifests/folder").symlink_to("../plugins")
    repo.commit("bad")
    repo.git("checkout", "-q", "main")
    assert "No changes." in repo.place.plan("--ref", "file", code=0).out
    ran = repo.place.plan("--ref", "change", code=1)
    assert "manifests/folder in change is a link to a folder" in ran.text
    assert "manifests/out.yaml in change is a link that does not point to a file" in ran.text
    assert "change:manifests/out.yaml:1:1" in ran.text


def test_a_zip_that_was_never_committed(repo: Repository) -> None:
    """What is published already is compared by its fields; what would be uploaded is refused."""
    repo.place.edit("manifests/plugin.yaml", "source: ./plugins/yolo", "file: dist/yolo.zip")
    (repo.root / "dist").mkdir()
    repo.place.run("package", "build", "plugins/yolo", "--out", "dist/yolo.zip", code=0)
    repo.place.write(".gitignore", ".synapse-apply/\ndist/\n")
    repo.git("add", "-A")
    repo.git("commit", "-q", "-m", "built elsewhere")
    repo.place.unchanged()
    ran = repo.place.plan("--ref", "HEAD", code=0)
    assert "No changes." in ran.out
    assert "dist/yolo.zip is not in " in ran.text
    repo.git("add", "-f", "dist")
    repo.git("commit", "-q", "-m", "kept")
    (repo.root / "dist/yolo.zip").unlink()
    ran = repo.place.plan("--ref", "HEAD", code=0)
    assert "dist/yolo.zip" not in ran.text


@pytest.mark.parametrize(
    ("ref", "said"),
    [("nowhere", "'nowhere' names no commit here."), ("--all", "'--all' is not a ref.")],
)
def test_a_ref_that_is_none(repo: Repository, ref: str, said: str) -> None:
    """Nothing is done for a ref that names no commit."""
    assert said in repo.place.run("apply", "--auto-approve", f"--ref={ref}", code=1).text


def test_settings_are_those_of_the_checkout(repo: Repository) -> None:
    """The url and the state of a year ago are not gone back to."""
    repo.place.edit("synapse-apply.yaml", '"tenant": "acme"', '"tenant": "acme", "settle_after": 1')
    repo.commit("settings")
    assert "No changes." in repo.place.plan("--ref", "main", code=0).out


def test_a_saved_plan_of_a_ref_is_applied_with_it(repo: Repository) -> None:
    """The command that is printed says the ref; without it the manifests are other ones."""
    repo.place.edit("manifests/plugin.yaml", "Finds things", "Finds trouble")
    repo.commit("trouble")
    repo.place.apply()
    ran = repo.place.plan("--ref", "main", "--out", "back.plan", code=0)
    assert "`synapse-apply apply --ref main back.plan`" in ran.err
    assert "--ref as for the plan" in repo.place.run("apply", "back.plan", "--allow-unsigned",
                                                     code=4).text  # fmt: skip
    repo.place.run("apply", "--ref", "main", "back.plan", "--allow-unsigned", code=0)
    assert "No changes." in repo.place.plan("--ref", "main", code=0).out


def test_an_empty_ref_is_no_ref(repo: Repository) -> None:
    """A variable of CI that is not set must not plan the checkout in its place."""
    assert "expected a tag, a branch or a commit" in repo.place.plan("--ref", "", code=64).err


def says(repo: Repository, *, overlays: dict[str, Any] | None = None, **more: Any) -> None:
    """Adds to the project file, overlays to its target."""
    path = repo.root / "synapse-apply.yaml"
    project = json.loads(path.read_text()) | more
    project["targets"]["prod"]["overlays"] = overlays or {}
    path.write_text(json.dumps(project))


MOVE = {"from": "plugin/yolo", "to": "plugin/detector"}


def rename(repo: Repository) -> None:
    """The plugin gets another name in Git, and the change is applied."""
    repo.place.edit("manifests/plugin.yaml", "name: yolo}", "name: detector}")
    repo.place.edit("manifests/plugin.yaml", "plugin: yolo", "plugin: detector")
    repo.place.edit("manifests/plugin.yaml", "Finds things", "Finds trouble")
    says(repo, moved=[MOVE], overlays={"plugin/detector": {"spec": {"author": "Platform"}}})
    repo.commit("renamed")
    repo.place.apply()


def test_a_move_that_came_later_goes_back(repo: Repository, server: Server) -> None:
    """Record, releases and overlay follow what the tag declares, and come back afterwards."""
    rename(repo)
    planned = repo.place.plan("--ref", "main", code=0).out
    assert "# plugin/detector has moved to plugin/yolo" in planned
    assert "# release/detector@1.0.0 has moved to release/yolo@1.0.0" in planned
    assert '"Finds trouble" -> "Finds things"' in planned
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in planned
    repo.place.apply("--ref", "main")
    assert "No changes." in repo.place.plan("--ref", "main", "--detailed-exitcode", code=0).out
    assert server.objects("plugin")[0]["body"]["author"] == "Platform"
    assert "# plugin/yolo has moved to plugin/detector" in repo.place.apply().out
    repo.place.unchanged()
    assert server.counts == (1, 1, 1)


def test_a_move_that_was_never_carried_out_is_not_made(repo: Repository) -> None:
    """The record has the address of the tag already."""
    says(repo, moved=[MOVE])
    assert "No changes." in repo.place.plan("--ref", "main", "--detailed-exitcode", code=0).out


def test_both_ends_of_a_move_are_declared(repo: Repository) -> None:
    """Nobody knows which is meant; the way out is in the project file, which is the checkout's."""
    more = PLUGIN.replace("yolo", "detector").replace("Yolo", "Detector")
    repo.place.write("manifests/detector.yaml", more)
    repo.commit("both")
    repo.git("tag", "both")
    repo.place.apply()
    (repo.root / "manifests/plugin.yaml").unlink()
    says(repo, moved=[MOVE])
    ran = repo.place.plan("--ref", "both", code=1)
    assert "the manifests of both declare both" in ran.err
    assert "remove that move from the project file" in ran.err
    says(repo, moved=[])
    assert "No changes." in repo.place.plan("--ref", "both", code=0).out


def test_what_was_removed_is_declared_again(repo: Repository, server: Server) -> None:
    """It counts as not removed; what the hint says takes the object that is still there."""
    (repo.root / "manifests/storage.yaml").unlink()
    (repo.root / "manifests/plugin.yaml").unlink()
    says(repo, removed=[{"address": "storage/raw-data"}, {"address": "plugin/yolo"}])
    repo.commit("removed")
    before = repo.place.plan("--ref", "main", "--detailed-exitcode", code=0)
    assert "the manifests of main declare storage/raw-data, so `removed:` has no" in before.text
    assert "synapse-apply.yaml:1:" in before.text
    repo.place.apply("--override-guard", "no-manifests")
    assert server.counts == (1, 1, 1)
    told = repo.place.plan("--ref", "main", code=0).text
    assert "`synapse-apply import plugin/yolo ID` records the existing object" in told
    plugin = server.objects("plugin")[0]["id"]
    repo.place.run("import", "plugin/yolo", str(plugin), code=0)
    repo.place.apply("--ref", "main", "--adopt")
    assert "No changes." in repo.place.plan("--ref", "main", "--detailed-exitcode", code=0).out
    assert server.counts == (1, 1, 1)


def test_an_overlay_that_came_later(repo: Repository) -> None:
    """It is passed over with a warning, and is the error that it was without `--ref`."""
    says(repo, overlays={"storage/later": {"spec": {"category": "internal"}}})
    ran = repo.place.plan("--ref", "main", "--detailed-exitcode", code=0)
    assert (
        "no manifest of target prod declares storage/later in main: the overlay is ignored"
        in ran.text
    )
    assert "Overlay matches no resource" in repo.place.plan(code=1).err

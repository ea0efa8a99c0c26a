"""Editing manifests: the plan names exactly what was edited, and exits say what became of it."""

from __future__ import annotations

import json
import zipfile

from e2e.scenarios.workplace import CONFIG, PLUGIN, RELEASE, STORAGE, Workplace, project
from git_repositories import commit, git


def paths(place: Workplace, *more: str) -> dict[str, list[str]]:
    """The differing fields of a plan by address, as the JSON document lists them."""
    document = place.plan("--json", *more).document
    found = {}
    for change in document["resource_changes"]:
        differs = differing(change["change"]["before"], change["change"]["after"])
        if change["change"]["actions"] != ["no-op"] or differs:
            found[change["address"]] = sorted(differs)
    return found


def differing(before, after, at: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            path
            for name in {**before, **after}
            for path in differing(before.get(name), after.get(name), f"{at}.{name}".lstrip("."))
        ]
    return [] if before == after else [at]


def test_a_plugin_edit_names_its_path_and_is_applied(applied, server):
    """One field of a nested map."""
    applied.edit("manifests/plugin.yaml", "default: 0.8", "default: 0.9")
    assert paths(applied) == {"plugin/yolo": ["configuration.parameters.quality.default"]}
    applied.plan("--detailed-exitcode", code=2)
    assert "1 changed" in applied.apply().out
    (plugin,) = server.objects("plugin")
    assert plugin["body"]["configuration"]["parameters"]["quality"]["default"] == 0.9
    applied.unchanged()


def test_a_live_only_field_survives_an_update(applied, server):
    """What nobody declared is sent back as it is."""
    server.call("PATCH", "_emulator/objects/plugin/1/", {"author": "Somebody"})
    server.switch(put="full")
    applied.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    assert paths(applied) == {"plugin/yolo": ["description"]}
    applied.apply()
    (plugin,) = server.objects("plugin")
    assert plugin["body"]["author"] == "Somebody"
    assert plugin["body"]["description"] == "Finds more"


def test_a_storage_edit_is_refused_and_the_rest_applies(applied, server):
    """A row with every way out, exit 5, and the plugin is updated all the same."""
    applied.edit("manifests/storage.yaml", "/data/raw", "/data/new")
    applied.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    assert paths(applied) == {
        "plugin/yolo": ["description"],
        "storage/raw-data": ["configuration.base_path"],
    }
    applied.plan("--detailed-exitcode", code=2)
    ran = applied.apply(code=5)
    assert "! storage/raw-data cannot be updated: configuration.base_path" in ran.out
    assert "`synapse-apply state accept storage/raw-data`" in ran.out
    assert "lifecycle.ignore_changes: [/configuration/base_path]" in ran.out
    assert "1 changed" in ran.out
    assert applied.apply("--all-or-nothing", code=5).err


def test_the_way_out_of_a_storage_edit_works(applied, server):
    """Change it in Synapse, then `state accept`."""
    applied.edit("manifests/storage.yaml", "/data/raw", "/data/new")
    applied.apply(code=5)
    server.call(
        "PATCH", "_emulator/objects/storage/1/", {"configuration": {"base_path": "/data/new"}}
    )
    applied.run("state", "accept", "storage/raw-data", "--auto-approve", code=0)
    applied.unchanged()


def test_ignoring_the_field_is_the_other_way_out(applied):
    """lifecycle.ignore_changes as the refusal prints it."""
    applied.edit("manifests/storage.yaml", "/data/raw", "/data/new")
    applied.edit(
        "manifests/storage.yaml",
        "spec:",
        "lifecycle: {ignore_changes: [/configuration/base_path]}\nspec:",
    )
    applied.apply()
    applied.unchanged()


def test_drift_is_named_with_its_cause_and_put_right(applied, server):
    """Edited in Synapse: planned back, then nothing is left."""
    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "Edited by hand"})
    assert paths(applied) == {"plugin/yolo": ["description"]}
    assert "drift" in applied.plan("--json").out
    applied.apply()
    (plugin,) = server.objects("plugin")
    assert plugin["body"]["description"] == "Finds things"
    applied.unchanged()


def test_drift_of_what_cannot_be_changed(applied, server):
    """A release edited in Synapse: refused with its ways out; `state accept` settles it."""
    server.call("PATCH", "_emulator/objects/release/1/", {"changelog": "Edited by hand"})
    assert paths(applied) == {"release/yolo@1.0.0": ["changelog"]}
    ran = applied.apply(code=5)
    assert "published releases never change" in ran.out
    applied.run("state", "accept", "release/yolo@1.0.0", "--auto-approve", code=0)
    applied.unchanged()
    server.call("PATCH", "_emulator/objects/release/1/", {"changelog": "Edited once more"})
    applied.apply(code=5)


def test_all_rows_of_one_plan_stand_in_dependency_order(applied):
    """Whatever the files are called and however the documents stand in them."""
    applied.write("plugins/b/config.yaml", 'name: B\ncode: b\nversion: "1.0.0"\n')
    applied.write("manifests/0.yaml", *reversed([PLUGIN_B, RELEASE_B, STORAGE_B]))
    text = applied.plan(code=0).out
    at = [text.index(f"# {name}") for name in ("storage/b", "plugin/b", "release/b@1.0.0")]
    assert at == sorted(at)
    applied.apply()
    applied.unchanged()


def test_changed_bytes_under_a_published_version_are_a_note(applied, server):
    """Nothing is sent; the note says how many files and the next version."""
    applied.write("plugins/yolo/plugin/main.py", "print('other')\n")
    ran = applied.plan("--detailed-exitcode", code=0)
    assert ". release/yolo@1.0.0 has unreleased changes (1 file; next version 1.0.1)" in ran.out
    sent = server.writes
    applied.apply()
    assert server.writes == sent


def test_by_policy_they_are_a_refusal(make, server):
    """policy: {unreleased_source: refuse}."""
    place = make(server)
    file = json.loads(project(server.url))
    file["policy"] = {"unreleased_source": "refuse"}
    place.write("synapse-apply.yaml", json.dumps(file))
    place.run("state", "init", code=0)
    place.apply()
    place.write("plugins/yolo/plugin/main.py", "print('other')\n")
    ran = place.apply(code=5)
    assert "! release/yolo@1.0.0" in ran.out
    assert "release it under a higher version" in ran.out


def test_a_version_bump_publishes_a_release_and_lets_the_old_one_be(applied, server):
    """The older release is history: no row, no note, ever."""
    applied.write("plugins/yolo/plugin/main.py", "print('other')\n")
    applied.edit("plugins/yolo/config.yaml", "1.0.0", "1.1.0")
    applied.write("manifests/plugin.yaml", PLUGIN_1_1, RELEASE.replace("1.0.0", "1.1.0"))
    ran = applied.apply()
    assert "1 added, 1 changed, 0 destroyed" in ran.out
    assert "1.0.0" not in ran.out.partition("Plan:")[2]
    assert server.counts == (1, 2, 1)
    applied.unchanged()
    assert applied.plan().out == "No changes. Live state matches the configuration.\n"


def test_a_lower_version_warns(applied, server):
    """Going back publishes nothing that is there already and says what is odd."""
    test_a_version_bump_publishes_a_release_and_lets_the_old_one_be(applied, server)
    applied.edit("plugins/yolo/config.yaml", "1.1.0", "1.0.0")
    applied.write("manifests/plugin.yaml", PLUGIN_1_1.replace("1.1.0", "1.0.0"), RELEASE)
    assert "Declared version is lower than a published one" in applied.plan().text
    applied.apply()
    assert server.counts == (1, 2, 1)


def test_a_published_source(applied, server):
    """Bytes that are not ours: adopted where they are, refused where they are not."""
    applied.write(
        "manifests/plugin.yaml",
        PLUGIN_1_1.replace("1.1.0", "1.0.0"),
        RELEASE.replace("source: ./plugins/yolo", "source: published"),
    )
    applied.unchanged()
    applied.edit("manifests/plugin.yaml", '"1.0.0"\n  changelog', '"2.0.0"\n  changelog')
    ran = applied.apply(code=5)
    assert "! release/yolo@2.0.0" in ran.out
    assert "provides no bytes to publish" in ran.out
    assert server.counts == (1, 1, 1)


def test_a_release_without_any_source(applied):
    """An error of the manifest, with its place."""
    applied.edit("manifests/plugin.yaml", "  source: ./plugins/yolo\n", "")
    ran = applied.apply(code=1)
    assert "manifests/plugin.yaml" in ran.err
    assert "source" in ran.err


def test_a_zip_as_source(applied, server):
    """`file:` names a package that was built elsewhere; its content counts, not its bytes."""
    for name, stored in (("a.zip", zipfile.ZIP_DEFLATED), ("b.zip", zipfile.ZIP_STORED)):
        with zipfile.ZipFile(applied.root / name, "w", stored) as archive:
            archive.writestr("config.yaml", CONFIG.replace("1.0.0", "3.0.0"))
            archive.writestr("plugin/main.py", "print('zip')\n")
    release = RELEASE.replace("1.0.0", "3.0.0").replace("source: ./plugins/yolo", "file: a.zip")
    applied.write("manifests/plugin.yaml", PLUGIN_1_1.replace("1.1.0", "3.0.0"), release)
    applied.apply()
    assert server.counts == (1, 2, 1)
    applied.unchanged()
    applied.edit("manifests/plugin.yaml", "a.zip", "b.zip")
    applied.unchanged()


def test_a_git_ref_as_source(applied, server):
    """The tag's content is published, whatever the working folder holds."""
    commit(applied.root, with_ignored=False)
    git(applied.root, "tag", "yolo-1")
    applied.edit(
        "manifests/plugin.yaml",
        "source: ./plugins/yolo",
        "source: {path: plugins/yolo, ref: yolo-1}",
    )
    applied.write("plugins/yolo/plugin/main.py", "print('work in progress')\n")
    applied.unchanged()
    assert "unreleased" not in applied.plan().out


def test_forgetting_and_its_exit_codes(applied, server):
    """What is no longer declared stays on a server that cannot delete, and is forgotten once."""
    (applied.root / "manifests" / "storage.yaml").unlink()
    ran = applied.plan("--detailed-exitcode", code=2)
    assert ". storage/raw-data" in ran.out
    applied.apply()
    assert server.counts == (1, 1, 1)
    applied.unchanged()


def test_no_manifests_at_all(applied, server):
    """A guard: an empty folder is a mistake more often than a wish."""
    for file in (applied.root / "manifests").iterdir():
        file.unlink()
    ran = applied.apply(code=5)
    assert "--override-guard no-manifests" in ran.err
    assert server.counts == (1, 1, 1)


def test_overlays_per_target(make, serve):
    """Merge patches of one target; null deletes; the address never changes."""
    one, two = serve("one"), serve("two")
    place = make(one)
    file = json.loads(project(one.url))
    file["targets"]["other"] = {
        "url": two.url,
        "tenant": "acme",
        "token": {"env": "PROD_TOKEN"},
        "overlays": {
            "plugin/yolo": {"spec": {"author": "Platform", "description": None}},
            "storage/*": {"spec": {"configuration": {"base_path": "/other"}}},
        },
    }
    place.write("synapse-apply.yaml", json.dumps(file))
    for target in ("prod", "other"):
        place.run("state", "init", "-t", target, code=0)
        place.apply("-t", target)
    (plain,), (laid,) = one.objects("plugin"), two.objects("plugin")
    assert plain["body"].get("author") in (None, "")
    assert laid["body"]["author"] == "Platform"
    assert laid["body"].get("description") in (None, "")
    (storage,) = two.objects("storage")
    assert storage["body"]["configuration"]["base_path"] == "/other"
    assert "No changes." in place.plan("-t", "other").out


PLUGIN_B = PLUGIN.replace("yolo", "b").replace("Yolo", "B")
RELEASE_B = RELEASE.replace("plugin: yolo", "plugin: b").replace("./plugins/yolo", "./plugins/b")
STORAGE_B = STORAGE.replace("raw-data", "b").replace("Raw data", "B")
PLUGIN_1_1 = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec:
  name: Yolo
  code: yolo
  description: Finds things
  version: "1.1.0"
  category: pre_annotation
  configuration: {parameters: {quality: {type: float, default: 0.8}}}
"""

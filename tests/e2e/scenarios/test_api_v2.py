"""Plugins and releases on API v2, storages and runs on v1: one target, one plan, one apply."""

from __future__ import annotations

import pytest
from e2e.scenarios.workplace import CONFIG, OTHER_TOKEN, Server, Workplace, project

PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec: {name: Yolo, code: yolo, description: Finds things, category: smart_tool}
"""
RELEASE = """\
apiVersion: synapse-apply/v1
kind: Release
spec: {plugin: yolo, version: "1.0.0", source: ./plugins/yolo}
"""
NEWER = RELEASE.replace("1.0.0", "1.1.0").replace("plugins/yolo", "plugins/newer")
VERIFY = """\
  verify: {parameters: {emulator: {seconds: 0.1}}, poll_interval: 0.05}
"""
VERIFIED = RELEASE.replace("spec: {plugin: yolo, version:", "spec:\n  plugin: yolo\n  version:")
VERIFIED = VERIFIED.replace(", source", "\n  source").replace("yolo}", "yolo") + VERIFY


def declare(there: Workplace, *documents: str) -> None:
    there.write("manifests/plugin.yaml", *documents)
    for folder in ("yolo", "newer"):
        there.write(f"plugins/{folder}/config.yaml", CONFIG.replace('version: "1.0.0"\n', ""))


@pytest.fixture
def there(ready: Workplace, server: Server) -> Workplace:
    """A plugin, its release and a storage on a target that says `api: v2`; nothing is applied."""
    ready.write("synapse-apply.yaml", project(server.url, api="v2"))
    declare(ready, PLUGIN, RELEASE)
    return ready


def test_one_plan_one_apply_and_nothing_left(there: Workplace, server: Server) -> None:
    """Also where a version is said for each kind; the first release needs no call of its own."""
    declare(there, PLUGIN, VERIFIED)
    there.edit("synapse-apply.yaml", '"api": "v2"', '"api": {"plugin": "v2", "release": "v2"}')
    plan = there.plan(code=0).out
    assert "(the same call creates its first release release/yolo@1.0.0)" in plan
    assert "(created by the call that creates plugin/yolo)" in plan
    assert "Plan: 3 to add, 0 to change, 0 to destroy." in plan
    told = there.apply().out
    assert "  + plugin/yolo created (id 1, " in told
    assert "  + release/yolo@1.0.0 created (id 1, " in told
    assert "release/yolo@1.0.0 was verified (job 1, " in told
    # A storage and a plugin are made side by side: which call comes first is not promised.
    assert sorted(server.writes[:2]) == ["POST /storages/", "POST /v2/plugins/"]
    assert server.writes[2:] == ["POST /plugins/{lookup}/run/"]
    assert server.counts == (1, 1, 1)
    there.unchanged()


def test_an_empty_list_is_asked_for_once(there: Workplace, server: Server) -> None:
    """What is recorded and gone is searched for in it; a duplicate is not looked for in another."""
    there.apply()
    for kind in ("release", "plugin"):
        server.call("DELETE", f"_emulator/objects/{kind}/")
    server.call("DELETE", "_emulator/requests/")
    assert "will be recreated" in there.plan(code=0).out
    assert server.call("GET", "_emulator/requests/")["counts"]["GET /v2/plugins/"] == 1


def test_a_record_says_its_api_version(there: Workplace) -> None:
    """What was made on v2 is recorded so, the first release with its digest like any other."""
    there.apply()
    listed = there.run("state", "show", "--json", code=0).out
    assert listed.count('"v2"') == 2
    there.write("plugins/yolo/more.txt", "new")
    assert "release/yolo@1.0.0 has unreleased changes (1 file; " in there.plan(code=0).out


def test_what_config_yaml_gives_is_refused_there(there: Workplace) -> None:
    """Not at the manifest, which does not say it."""
    manifest = PLUGIN.partition("spec:")[0] + "spec: {from: ./plugins/yolo}\n"
    there.write("manifests/plugin.yaml", manifest, RELEASE)
    config = "name: Yolo\ncode: yolo\ncategory: smart_tool\n"
    there.write("plugins/yolo/config.yaml", config)
    there.apply()
    there.write("plugins/yolo/config.yaml", config.replace("smart_tool", "neural_net"))
    refused = there.plan().out
    assert "category" in refused.partition("! plugin/yolo")[2].partition("\n")[0]
    assert "on plugins/yolo/config.yaml:3:1" in refused


def test_a_later_release_is_a_call_of_its_own(there: Workplace, server: Server) -> None:
    """Of two that are declared at first the lower goes along; one that comes later goes alone."""
    declare(there, PLUGIN, NEWER, RELEASE)
    assert "(the same call creates its first release release/yolo@1.0.0)" in there.plan(code=0).out
    there.apply()
    declare(there, PLUGIN, RELEASE, NEWER, NEWER.replace("1.1.0", "1.2.0"))
    there.apply()
    assert sorted(server.writes[:2]) == ["POST /storages/", "POST /v2/plugins/"]
    assert server.writes[2:] == ["POST /v2/plugin-releases/"]
    assert server.counts == (1, 3, 1)
    there.unchanged()


def test_a_plugin_without_a_release_is_refused(there: Workplace, server: Server) -> None:
    """v2 would make a release nobody declared; the row says what to do, the rest is applied."""
    declare(there, PLUGIN)
    said = there.apply(code=5)
    assert (
        "API v2 creates a plugin together with its first release, but the manifests declare none"
    ) in said.out
    assert "declare a Release of yolo" in said.out
    assert server.counts == (0, 0, 1)
    declare(there, PLUGIN, RELEASE.replace("./plugins/yolo", "published"))
    said = there.plan(code=0)
    assert "no declared one can be created with it: release/yolo@1.0.0 (" in said.out


def test_a_plugin_is_selected_with_its_release(there: Workplace, server: Server) -> None:
    """Alone it would make a release that was not selected."""
    said = there.apply("--only", "plugin/yolo", code=5)
    assert "release/yolo@1.0.0 (it is not selected" in said.out
    assert server.counts == (0, 0, 0)
    there.apply("--only", "plugin/yolo", "--only", "release/yolo")
    assert server.counts == (1, 1, 0)


def test_an_update_sends_what_changed(there: Workplace, server: Server) -> None:
    """Name and description change; a category does not, and the row says so."""
    there.apply()
    there.edit("manifests/plugin.yaml", "Finds things", "Finds all things")
    there.apply()
    assert server.objects("plugin")[0]["body"]["description"] == "Finds all things"
    there.edit("manifests/plugin.yaml", "smart_tool", "export")
    said = there.apply(code=5)
    assert "API v2 changes only name and description of a plugin" in said.out
    assert server.writes.count("PATCH /v2/plugins/{id}/") == 1


def test_fields_that_v2_lacks_are_never_dropped_in_silence(
    there: Workplace, server: Server
) -> None:
    """An error that names them, or a warning when the target asks for that: then they stay out."""
    there.edit("manifests/plugin.yaml", "name: Yolo,", 'name: Yolo, author: Team, version: "1",')
    lacks = "target prod: api v2 lacks version, author (1 plugin)"
    for command in ("validate", "plan"):
        assert lacks in there.run(command, code=1).text
    there.edit("synapse-apply.yaml", '"api"', '"unsupported_fields": "warning", "api"')
    assert lacks in there.run("validate", code=0).text
    told = there.apply()
    assert lacks in told.text
    assert "author" not in told.out.split("Plan:")[0].split("will perform")[1]
    assert server.objects("plugin")[0]["body"]["author"] == ""
    there.unchanged()


def test_values_that_v2_does_not_take_are_refused_only_where_they_are_made(
    there: Workplace, server: Server
) -> None:
    """A code of v1 may have an underscore; such a plugin can be kept, and none can be made."""
    there.edit("manifests/plugin.yaml", "code: yolo", "code: yolo_1")
    for folder in ("yolo", "newer"):
        there.write(f"plugins/{folder}/config.yaml", "name: Yolo\ncode: yolo_1\n")
    assert "creates no plugin with code yolo_1" in there.run("validate", code=0).text
    said = there.apply(code=5)
    assert "It accepts code: lower-case letters, digits and `-` between them" in said.out
    server.call("POST", "plugins/", {"name": "Yolo", "code": "yolo_1", "category": "smart_tool"})
    there.apply("--adopt")
    there.apply()
    assert server.counts == (1, 1, 1)
    there.unchanged()


def test_a_code_of_another_tenant_is_said_to_be_taken(there: Workplace, server: Server) -> None:
    """It cannot be seen, so nothing is adopted; the release is not tried."""
    foreign = Server(server.url, OTHER_TOKEN)
    foreign.call("POST", "plugins/", {"name": "Theirs", "code": "yolo"})
    said = there.apply(code=3)
    assert "The object already exists, but this token cannot see it" in said.text
    assert "release/yolo@1.0.0" in said.out
    assert server.counts == (1, 0, 1)
    assert there.run("state", "show", code=0).out.count("plugin/") == 0


def test_prune_deletes_a_release_that_is_not_superseded(there: Workplace, server: Server) -> None:
    """Only with --prune, and never one that is protected."""
    declare(there, PLUGIN, RELEASE, NEWER)
    there.apply()
    declare(there, PLUGIN)
    assert "--prune deletes it" in there.plan(code=0).out
    there.apply()
    assert server.counts == (1, 2, 1)
    there.apply("--prune")
    assert server.counts == (1, 0, 1)
    there.unchanged()


def test_prune_needs_all_manifests(there: Workplace, server: Server) -> None:
    """What the files named do not declare may be declared in others: nothing is deleted."""
    declare(there, PLUGIN, RELEASE, NEWER)
    there.apply()
    only = there.write("other/plugin.yaml", PLUGIN)
    for command in (["plan"], ["apply", "--auto-approve"]):
        refused = there.run(*command, "--prune", "-f", str(only), code=64)
        assert "--prune needs all manifests" in refused.err
    there.apply("-f", str(only))
    assert server.counts == (1, 2, 1)
    there.unchanged()


def test_a_saved_plan_makes_both_or_neither(there: Workplace, server: Server) -> None:
    """A release that is not what was planned stops the plugin, too."""
    there.plan("--out", "one.plan", code=0)
    there.write("plugins/yolo/more.txt", "new")
    there.run("apply", "--allow-unsigned", "one.plan", code=4)
    assert server.counts[:2] == (0, 0)
    there.plan("--out", "two.plan", code=0)
    there.run("apply", "--allow-unsigned", "two.plan", code=0)
    assert server.counts == (1, 1, 1)
    there.unchanged()


def test_commands_by_hand_know_both_versions(there: Workplace, server: Server) -> None:
    """Plugins and releases are shown as v2 has them; runs and jobs are v1's, by the code."""
    declare(there, PLUGIN, RELEASE, NEWER)
    there.apply()
    listed = there.run("get", "releases", "--plugin", "yolo", "--json", code=0).document
    assert [one["values"]["version"] for one in listed["releases"]] == ["1.1.0", "1.0.0"]
    assert "API v2" in there.run("get", "plugin", "plugin/yolo", code=0).out
    there.run("run", "plugin/yolo", code=0)
    assert server.call("GET", "_emulator/requests/")["last"][-1]["path"] == "/plugins/yolo/run/"
    assert "1.1.0" in there.run("get", "jobs", "--plugin", "plugin/yolo", code=0).out


def test_a_job_is_shown_by_its_uuid_of_v2(there: Workplace, server: Server) -> None:
    """Read by the version whose id it is, log and tail as well; started and listed on v1."""
    there.apply()
    there.run("run", "plugin/yolo", "--follow", code=0)
    (job,) = server.call("GET", "v2/jobs/")["data"]
    assert "completed" in there.run("get", "job", job["id"], code=0).out
    logs = [there.run("jobs", "logs", *more, job["id"], code=0).out for more in ((), ("--follow",))]
    assert all("step 5 of 5" in log for log in logs)
    gone = "0b6e57a1-0000-4000-8000-000000000001"
    for command in (("get", "job"), ("jobs", "logs")):
        assert gone in there.run(*command, gone, code=1).text


def test_a_target_moves_from_v1_to_v2(there: Workplace, server: Server) -> None:
    """What v1 made is found by its code, whatever its id is on v2, and nothing is made anew."""
    there.edit("synapse-apply.yaml", '"api": "v2"', '"api": "v1"')
    there.edit("manifests/plugin.yaml", "name: Yolo,", "name: Yolo, author: Team,")
    there.apply()
    there.edit("synapse-apply.yaml", '"api": "v1"', '"api": "v2", "unsupported_fields": "warning"')
    assert "No changes." in there.plan("--detailed-exitcode", code=0).out
    there.apply()
    assert server.counts == (1, 1, 1)
    assert there.run("state", "show", "--json", code=0).out.count('"v2"') == 2
    assert server.objects("plugin")[0]["body"]["author"] == "Team"
    there.edit("manifests/plugin.yaml", "Finds things", "Finds all things")
    there.apply()
    there.unchanged()


def test_a_release_of_a_plugin_named_by_its_id(there: Workplace, server: Server) -> None:
    """Its plugin is declared nowhere; a verification runs it by its code."""
    there.apply()
    later = VERIFIED.replace("plugin: yolo", "plugin: {id: 1}").replace("1.0.0", "2.0.0")
    declare(there, PLUGIN, RELEASE, later.replace("plugins/yolo", "plugins/newer"))
    told = there.apply().out
    assert "  + release/id=1@2.0.0 created (id 2, " in told
    assert "release/id=1@2.0.0 was verified (job 1, " in told
    there.unchanged()


def release(version: str, more: str = "") -> str:
    return RELEASE.replace("1.0.0", version) + more


def test_only_the_newest_releases_are_retained(there: Workplace, server: Server) -> None:
    """With --prune, once the new one is there; never a protected one, nor one in use."""
    protected = "lifecycle: {prevent_destroy: true}\n"
    declare(there, PLUGIN, release("1.0.0", protected))
    there.apply()
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        declare(there, PLUGIN, release(version))
        there.apply()
    there.edit("manifests/plugin.yaml", "name: Yolo,", "name: Yolo, retain: 2,")
    there.unchanged()
    assert server.counts == (1, 4, 1)
    said = there.plan("--prune", code=0).out
    assert "# release/yolo@1.1.0 will be destroyed" in said
    assert "older than the retained versions" in said
    assert "release/yolo@1.0.0 cannot be destroyed" in said
    assert "Plan: 0 to add, 0 to change, 1 to destroy." in said
    ids = {row["body"]["version"]: row["id"] for row in server.objects("release")}
    server.call("PATCH", f"_emulator/objects/release/{ids['1.1.0']}/", {"in_use": True})
    said = there.apply("--prune", code=3)
    assert "The release is used by an active serve application" in said.text
    server.call("PATCH", f"_emulator/objects/release/{ids['1.1.0']}/", {"in_use": False})
    there.apply("--prune", code=5)
    versions = {row["body"]["version"] for row in server.objects("release")}
    assert versions == {"1.0.0", "1.2.0", "1.3.0"}


def test_what_is_retained_goes_only_when_the_new_one_is_there(
    there: Workplace, server: Server
) -> None:
    """A release that cannot be made takes no older one with it."""
    declare(there, PLUGIN.replace("name: Yolo,", "name: Yolo, retain: 1,"), RELEASE)
    there.apply()
    there.edit("manifests/plugin.yaml", 'version: "1.0.0"', 'version: "1.1.0"')
    faults = {"match": {"path": "/v2/plugin-releases/", "method": "POST"}, "do": {"status": 400}}
    server.call("PUT", "_emulator/faults/", {"rules": [faults]})
    there.apply("--prune", code=3)
    assert [row["body"]["version"] for row in server.objects("release")] == ["1.0.0"]
    server.call("PUT", "_emulator/faults/", {"rules": []})
    there.apply("--prune")
    assert [row["body"]["version"] for row in server.objects("release")] == ["1.1.0"]
    there.plan("--prune", "--detailed-exitcode", code=0)

"""What is printed as the next command can be run as it stands: the same target, the same place."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from e2e.scenarios.test_export_files import one_storage
from e2e.scenarios.workplace import TOKEN, Workplace, project

PLACE = ("-C", "it's here", "--project", "project.yaml", "-t", "prod")


def commands(out: str) -> list[list[str]]:
    """The commands that are printed as what comes next, as a shell takes them."""
    return [shlex.split(text)[1:] for text in re.findall(r"`(synapse-apply [^`]+)`", out)]


@pytest.fixture
def away(applied: Workplace, server) -> Workplace:
    """The sample project, applied, from beside its folder; another target is the default."""
    settings = json.loads(project(server.url))
    settings["targets"]["other"] = settings["targets"]["prod"] | {"url": "http://127.0.0.1:9"}
    settings["default_target"] = "other"
    applied.write("project.yaml", json.dumps(settings))
    applied.root.rename(applied.root.with_name("it's here"))
    return Workplace(applied.root.parent, {"PROD_TOKEN": TOKEN})


def test_what_comes_next_can_be_run_as_it_is_printed(bare, server):
    """With the target and the place that were given, and a state where there is none yet."""
    one_storage(server)
    home = bare(server)
    settings = json.loads(project(server.url))
    settings["targets"]["other"] = settings["targets"]["prod"] | {"url": "http://127.0.0.1:9"}
    settings["default_target"] = "other"
    home.write("it's here/project.yaml", json.dumps(settings))
    away = Workplace(home.root, {"PROD_TOKEN": TOKEN})
    place = ("-C", "it's here", "--project", "project.yaml", "-t", "prod")
    ran = away.run("export", *place, code=0)
    told = commands(ran.out)
    assert [words[0] for words in told] == ["state", "import", "plan"]
    for words in told:
        assert words[-6:] == list(place)
        ended = away.run(*words, code=0)
    assert "No changes." in ended.out
    assert [words[0] for words in commands(away.run("export", *place, code=0).out)] == [
        "import",
        "plan",
    ]


def test_a_pinned_state_is_brought_back_first(bare, server):
    """An empty one is made only by saying its lineage."""
    one_storage(server)
    place = bare(server)
    lineage = "5f1c2d60-0000-4000-8000-0123456789ab"
    place.write("synapse-apply.yaml", project(server.url, state={"lineage": lineage}))
    told = commands(place.run("export", code=0).out)
    assert told[0] == ["state", "restore", "FILE"]
    for words in told[1:]:
        ended = place.run(*words, code=0)
    assert "No changes." in ended.out


def test_drift_names_where_it_looked(away, server):
    """What undoes it, what takes it over, and what comes after that."""
    (plugin,) = server.objects("plugin")
    server.call("PUT", "plugins/1/", {**plugin["body"], "description": "by hand"})
    told = commands(away.run("drift", *PLACE, code=0).out)
    assert [words[0] for words in told] == ["apply", "drift"]
    assert all(words[-6:] == list(PLACE) for words in told)
    ran = away.run("drift", "--write", "plugin/yolo", *PLACE, code=0)
    told = commands(ran.out)
    assert [words[0] for words in told] == ["plan", "apply"]
    for words in told:
        assert words[-6:] == list(PLACE)
        approved = ("--auto-approve",) if words[0] == "apply" else ()
        assert "No changes." in away.run(*words, *approved, code=0).out


def test_a_restored_state_is_planned_on(away):
    """The target whose state it is."""
    away.run("state", "backup", "copy", *PLACE, code=0)
    ran = away.run("state", "restore", "copy", "--auto-approve", *PLACE, code=0)
    (plan,) = commands(ran.out)
    assert plan == ["plan", *PLACE]
    assert "No changes." in away.run(*plan, code=0).out


def test_a_saved_plan_is_applied_there(away):
    """With the folder, the project file and the target."""
    ran = away.run("plan", "--out", "p.plan", *PLACE, code=0)
    (apply,) = commands(ran.text)
    assert apply[:7] == ["apply", *PLACE]
    away.run(*apply, code=0)


def test_a_new_project_is_planned_where_it_is(tmp_path):
    """After `init` in another folder."""
    (tmp_path / "new").mkdir()
    ran = Workplace(tmp_path).run("init", "-C", "new", code=0)
    assert commands(ran.out) == [["plan", "-C", "new"]]


def test_a_bumped_release_is_planned_where_it_is(away):
    """After `bump` in another folder."""
    there = ("-C", "it's here", "--project", "project.yaml")
    assert commands(away.run("bump", "yolo", "patch", *there, code=0).out) == [["plan", *there]]

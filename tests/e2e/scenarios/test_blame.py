"""`blame` says of each live value where it comes from."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from e2e.scenarios.canaries import CANARIES, leaks
from e2e.scenarios.test_drift import SECRET, outside
from e2e.scenarios.workplace import STORAGE, Server, Workplace
from installed import ROOT
from jsonschema import Draft202012Validator

SCHEMA = json.loads((ROOT / "schemas" / "v1" / "blame.schema.json").read_text(encoding="utf-8"))


def commit(place: Workplace, author: str) -> str:
    """Commit everything; gives the commit."""
    names = {"GIT_AUTHOR_NAME": author, "GIT_AUTHOR_EMAIL": "a@x", "GIT_COMMITTER_NAME": "Bot",
             "GIT_COMMITTER_EMAIL": "b@x", "GIT_CONFIG_GLOBAL": os.devnull}  # fmt: skip
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "change"), ("rev-parse", "HEAD")):
        done = subprocess.run(["git", *words], cwd=place.root, env={**os.environ, **names},
                              check=True, capture_output=True, text=True)  # fmt: skip
    return done.stdout.strip()


def fields(place: Workplace, *typed: str) -> dict[str, dict[str, object]]:
    document = place.run("blame", *typed, "--json", code=0).document
    Draft202012Validator(SCHEMA).validate(document)
    return {field["path"]: field for field in document["fields"]}


def test_a_value_of_a_commit_that_somebody_changed(applied: Workplace, server: Server) -> None:
    """Commit and author, the call and its plan; between which times, and that it was put back."""
    commit(applied, "Ann Author")
    applied.edit("manifests/plugin.yaml", "Finds things", "Finds cars")
    ours = commit(applied, "Bob Author")
    applied.apply()
    outside(server, description="Finds trees")
    text = applied.run("blame", "plugin/yolo", "description", code=0).out
    assert text.startswith('# plugin/yolo (live as id 1)\ndescription = "Finds trees"\n')
    assert "changed outside between 20" in text
    assert "Author" not in text
    applied.apply()
    one = fields(applied, "plugin/yolo", "description")["/description"]
    assert (one["origin"], one["value"], one["put_back_this_week"]) == ("sent", "Finds cars", 1)
    assert (one["changed_by"], one["author"]) == (ours, "Bob Author")
    assert (one["file"], one["verb"]) == ("manifests/plugin.yaml", "update")
    sentence = applied.run("blame", "plugin/yolo", "description", code=0).out
    assert (
        f"declared by commit {ours[:12]} of Bob Author (manifests/plugin.yaml:7); sent" in sentence
    )
    assert ", restored 20" in sentence
    outside(server, description="Finds trees")
    assert "; restored once this week\n" in applied.run("blame", "plugin/yolo", code=0).out


@pytest.mark.parametrize("checkout", ["shallow", "told to skip the commit"])
def test_what_a_checkout_lacks_or_skips_names_nobody_else(
    applied: Workplace, checkout: str
) -> None:
    """A shallow clone gives older lines to its oldest commit, `blame.ignoreRevsFile` to others."""
    commit(applied, "Ann Author")
    applied.edit("manifests/plugin.yaml", "Finds things", "Finds cars")
    ours = commit(applied, "Bob Author")
    applied.apply()
    if checkout == "shallow":
        (applied.root / ".git" / "shallow").write_text(f"{ours}\n")
    else:
        applied.write(".git/revs", ours)
        settings = ["git", "config", "blame.ignoreRevsFile", ".git/revs"]
        subprocess.run(settings, cwd=applied.root, check=True)
    one = fields(applied, "plugin/yolo", "description")["/description"]
    author = None if checkout == "shallow" else "Bob Author"
    assert (one["commit"], one["author"]) == (ours, author)


def test_a_value_from_elsewhere_has_no_author(applied: Workplace) -> None:
    """The commit of a line with an alias is not that of its value."""
    applied.edit("manifests/plugin.yaml", "name: Yolo", "name: &name Yolo")
    applied.edit("manifests/plugin.yaml", "description: Finds things", "description: *name")
    commit(applied, "Ann Author")
    applied.apply()
    one = fields(applied, "plugin/yolo", "description")["/description"]
    assert (one["value"], one["author"], one["changed_by"]) == ("Yolo", None, None)
    assert one["file"] == "manifests/plugin.yaml"


def test_a_map_and_an_unknown_field(applied: Workplace) -> None:
    """FIELD is one field, or a map of some; a wrong one is named with one that it resembles."""
    assert [*fields(applied, "plugin/yolo", "configuration.parameters")] == [
        "/configuration/parameters/quality/default",
        "/configuration/parameters/quality/type",
    ]
    ran = applied.run("blame", "plugin/yolo", "descripton", code=1)
    assert "There is no such field" in ran.err
    assert "description" in ran.err


def test_no_secret_is_shown(applied: Workplace) -> None:
    """A secret shows as sensitive, with what sent it."""
    applied.environ["RAW_KEY"] = CANARIES["env"]
    applied.write("manifests/storage.yaml", STORAGE, SECRET)
    applied.apply()
    ran = applied.run("blame", "storage/s3", code=0)
    assert "configuration.secret_access_key = (sensitive)" in ran.out
    one = fields(applied, "storage/s3")["/configuration/secret_access_key"]
    assert (one["value"], one["sensitive"]) == (None, True)
    assert not leaks(ran.text.encode())
    assert "sha256" not in ran.text


def test_an_object_that_is_not_there(applied: Workplace) -> None:
    """What is declared and not applied has no live value."""
    applied.write("manifests/more.yaml", STORAGE.replace("raw-data", "more").replace("Raw", "More"))
    assert "There is no live object" in applied.run("blame", "storage/more", code=1).err


def test_a_value_of_an_overlay_that_is_gone_has_no_author(applied: Workplace) -> None:
    """The commit of the apply declares another value in the place that is read now."""
    project = (applied.root / "synapse-apply.yaml").read_text()
    document = json.loads(project)
    (target,) = document["targets"].values()
    target["overlays"] = {"plugin/yolo": {"spec": {"description": "By an overlay"}}}
    applied.write("synapse-apply.yaml", json.dumps(document))
    head = commit(applied, "Ann Author")
    applied.apply()
    applied.write("synapse-apply.yaml", project)
    one = fields(applied, "plugin/yolo", "description")["/description"]
    assert (one["value"], one["commit"], one["author"]) == ("By an overlay", head, None)


@pytest.mark.parametrize(
    ("by", "author"),
    [("the commit", "Ann Author"), ("an overlay", None), ("one of many changed files", None)],
)
def test_a_secret_has_the_author_of_the_variable_that_was_sent(
    applied: Workplace, by: str, author: str | None
) -> None:
    """None where what was sent came from another, which nothing names any more."""
    applied.environ |= {"RAW_KEY": CANARIES["env"], "RAW_OTHER": "another-secret-of-tests"}
    lines = "\n      valueFrom:\n        env: RAW_KEY"
    applied.write("manifests/z.yaml", SECRET.replace(" {valueFrom: {env: RAW_KEY}}", lines))
    for number in range(25):
        name = f"more-{number:02}"
        text = STORAGE.replace("raw-data", name).replace("Raw data", name)
        applied.write(f"manifests/{name}.yaml", text)
    document = json.loads((applied.root / "synapse-apply.yaml").read_text())
    (target,) = document["targets"].values()
    other = {"valueFrom": {"env": "RAW_OTHER"}}
    overlay = {"storage/s3": {"spec": {"configuration": {"secret_access_key": other}}}}
    if by == "an overlay":
        applied.write(
            "synapse-apply.yaml",
            json.dumps({**document, "targets": {"prod": {**target, "overlays": overlay}}}),
        )
    head = commit(applied, "Ann Author")
    if by == "one of many changed files":
        applied.edit("manifests/z.yaml", "RAW_KEY", "RAW_OTHER")
        for file in sorted((applied.root / "manifests").glob("more-*")):
            file.write_text(f"# changed\n{file.read_text()}")
    applied.apply()
    applied.write("synapse-apply.yaml", json.dumps(document))
    one = fields(applied, "storage/s3")["/configuration/secret_access_key"]
    assert str(one["commit"]).startswith(head)
    assert one["author"] == author

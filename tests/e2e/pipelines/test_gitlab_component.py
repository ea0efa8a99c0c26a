"""The component of GitLab's catalogue, with inputs put in as GitLab does, and its job as a runner runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e.pipelines.conftest import SECRETS, World
from e2e.pipelines.gitlab import Pipeline, Ran
from e2e.pipelines.schemas import check_published_schema
from installed import ROOT

COMPONENT = ROOT / "templates" / "synapse-apply.yml"
HERE = "synapse-apply-reports"
INPUT = re.compile(r"\$\[\[ inputs\.([a-z-]+) \]\]")


def read_parts() -> tuple[dict[str, Any], dict[str, Any]]:
    """The header, and the jobs before anything is put in."""
    header, jobs = yaml.safe_load_all(COMPONENT.read_text("utf-8"))
    return header, jobs


def include(**inputs: Any) -> dict[str, Any]:
    """The jobs that an `include` with these inputs gives; an input that is all of a value keeps its type."""
    header, jobs = read_parts()
    given = {name: one["default"] for name, one in header["spec"]["inputs"].items()}
    given |= {name.replace("_", "-"): value for name, value in inputs.items()}
    assert set(given) == set(header["spec"]["inputs"])

    def put(part: Any) -> Any:
        if isinstance(part, dict):
            return {put(key): put(value) for key, value in part.items()}
        if isinstance(part, list):
            return [put(one) for one in part]
        if not isinstance(part, str):
            return part
        if whole := INPUT.fullmatch(part):
            return given[whole[1]]
        return INPUT.sub(lambda found: str(given[found[1]]), part)

    found: dict[str, Any] = put(jobs)
    return found


def run_job(world: World, secrets: dict[str, str] | None = None, **inputs: Any) -> Ran:
    """The job `synapse-apply` of a pipeline that includes the component, but for what pip does."""
    [(name, job)] = include(**inputs).items()
    parts = {"variables": job["variables"], "default": {"before_script": job["before_script"]}}
    text = yaml.safe_dump({**parts, name: job})
    (world.checkout / ".gitlab-ci.yml").write_text(text, encoding="utf-8")
    return Pipeline(world, "0" * 40).merge_request("x").job(name, secrets)


@pytest.mark.published
def test_it_fits_the_published_schema(tmp_path: Path) -> None:
    """The header, and what comes of it: with its defaults, and with all that may be given."""
    header, _ = read_parts()
    every = include(
        command="apply", job="prod", stage="deploy", tags=["deploy"], args="--lock-timeout 60",
        rules=[{"if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"}], image="python:3.12",
        target="prod", working_directory="synapse", version="synapse-apply==9", requirements="a",
    )  # fmt: skip
    for number, document in enumerate((header, include(), every)):
        file = tmp_path / f"{number}.yml"
        file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        check_published_schema("vendor.gitlab-ci", [file])
    assert list(every) == ["prod"]
    assert every["prod"]["tags"] == ["deploy"]


def test_the_catalogue_finds_it() -> None:
    """Below templates/, in a project with a README; each input is described, used, and has a default."""
    assert [path.name for path in COMPONENT.parent.iterdir()] == ["synapse-apply.yml"]
    assert (ROOT / "README.md").is_file()
    header, jobs = read_parts()
    inputs = header["spec"]["inputs"]
    assert len(header["spec"]["description"]) <= 256
    assert [
        name for name, one in inputs.items() if not {"description", "default"} <= set(one)
    ] == []
    assert set(INPUT.findall(yaml.safe_dump(jobs))) == set(inputs)
    section = (ROOT / "docs" / "ci.md").read_text("utf-8").partition("\n## The GitLab component\n")
    text = section[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([\w-]+)` \|\s*`?([^|`]*?)`?\s*\|", text, re.MULTILINE))
    assert set(rows) == set(inputs)
    for name, one in inputs.items():
        if isinstance(one["default"], str):
            assert rows[name] == one["default"], name


def test_no_text_of_others_becomes_part_of_a_script(world: World) -> None:
    """An input is a value, also one that would be a command; nothing is begun that is none of ours."""
    [job] = include().values()
    assert not INPUT.search(yaml.safe_dump([read_parts()[1]["$[[ inputs.job ]]"]["script"]]))
    assert "$[[" not in yaml.safe_dump([job["before_script"], job["script"]])
    hostile = "--only $(touch${IFS}stolen) `touch stolen`; touch stolen"
    done = run_job(world, command="plan", target="prod", args=hostile)
    assert done.code == 64, done.log
    assert not (world.checkout / "stolen").exists()
    done = run_job(world, command="plan", target='prod"; touch stolen; "')
    assert done.code != 0
    assert not (world.checkout / "stolen").exists()


def test_a_plan_is_told_to_the_merge_request(world: World) -> None:
    """With the counts and the findings of the widgets, and a page; nothing is applied."""
    world.change()
    done = run_job(world, command="plan", target="prod", args="--detailed-exitcode")
    assert done.code == 2, done.log
    assert sorted(done.kept) == [
        f"{HERE}/{n}" for n in ("counts.json", "findings.json", "report.html")
    ]
    counts = json.loads((world.checkout / HERE / "counts.json").read_text())
    assert counts == {"create": 0, "update": 1, "delete": 0}
    assert world.types() == ["float"]


@pytest.mark.parametrize("command", ["apply", "drift"])
def test_the_other_commands_keep_their_page(world: World, command: str) -> None:
    """An apply of what stands there changes prod; drift finds none."""
    world.change()
    args = {"apply": "--auto-approve --lock-timeout 60", "drift": "--detailed-exitcode"}[command]
    done = run_job(world, command=command, target="prod", args=args)
    assert (done.code, done.kept) == (0, [f"{HERE}/report.html"]), done.log
    assert world.types() == [{"apply": "number", "drift": "float"}[command]]


def test_a_check_needs_no_secret(fresh: World) -> None:
    """Manifests of a fork are validated, in a folder of the repository."""
    folder = fresh.checkout / "synapse"
    folder.mkdir()
    for path in [path for path in fresh.checkout.iterdir() if path.name not in {".git", "synapse"}]:
        path.rename(folder / path.name)
    done = run_job(
        fresh, secrets={}, command="validate", working_directory="synapse", args="--strict"
    )
    assert (done.code, done.kept) == (0, [f"{HERE}/findings.json"]), done.log
    assert not set(SECRETS) & set(done.log.split())

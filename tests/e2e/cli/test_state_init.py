"""`state init` says what the backend offers, where it can be asked, and makes the state anyway."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from answering import Asked, answering
from e2e.scenarios.workplace import TOKEN, Workplace, project

from synapse_apply import EmbeddedServer


@contextmanager
def backend(data: Path, **switches: str) -> Iterator[str]:
    with EmbeddedServer(data, tokens={TOKEN: "acme"}, tenant="acme", switches=switches) as up:
        yield up.url


def place_for(folder: Path, url: str, *, api: str = "v1", token: str = TOKEN) -> Workplace:
    folder.mkdir(exist_ok=True)
    text = json.loads(project(url))
    text["targets"]["prod"] |= {"api": api, "tenant": "acme"}
    (folder / "synapse-apply.yaml").write_text(json.dumps(text), encoding="utf-8")
    return Workplace(folder, {"PROD_TOKEN": token})


LISTS = "This backend lists plugins, so `plan` finds existing objects"
LISTS_NOT = (
    "This backend does not list plugins: import those that exist and that `plan` would create"
)
UNKNOWN = "plugins if the backend lists them"


@pytest.mark.parametrize(
    ("switch", "api", "row", "protection"),
    [
        ("list", "v1", "plugin.list: yes", LISTS),
        ("none", "v1", "plugin.list: no: import each plugin that exists", LISTS_NOT),
        ("none", "v2", "v1 for storage; v2 for plugin, release", LISTS),
    ],
)
def test_what_it_offers_is_said_as_doctor_says_it(
    tmp_path: Path, switch: str, api: str, row: str, protection: str
) -> None:
    """The same rows, and what an empty state cannot protect of this very backend."""
    with backend(tmp_path / "data", plugin_list=switch) as url:
        place = place_for(tmp_path / "p", url, api=api)
        out = place.run("state", "init", code=0).out
        doctor = place.run("doctor").out
    (offered,) = [line for line in out.splitlines() if line.startswith("Backend: ")]
    told = offered.removeprefix("Backend: ").partition(". An empty state records no objects. ")
    assert told[2].startswith(protection)
    assert [one for one in told[0].split("; ") if one not in doctor] == []
    assert row in offered
    assert len(out.splitlines()) == 3
    assert protection in out
    assert UNKNOWN not in out


PIN = "3d2c6f0e-5b1f-4c9a-9d57-0a6f6f2d8c11"
SECRET = "words of the server with a-secret-value-1234"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((401, {"detail": SECRET}), "The backend does not accept the token"),
        ((403, {"detail": SECRET}), "The backend refuses this token"),
        ((500, {"detail": SECRET}), "The backend reports a server error"),
        ((404, b"<html>" + SECRET.encode()), "The answer is not from this API"),
        ((200, {"results": SECRET}), "The answer is not from this API"),
    ],
)
def test_a_backend_that_says_no_is_one_line(tmp_path: Path, answer: Any, why: str) -> None:
    """Nothing of what it says is shown, since no manifest was read that tells of secrets."""
    with answering(lambda _asked: answer) as at:
        ran = place_for(tmp_path, at.url).run("state", "init", code=0)
    (line,) = [
        line
        for line in ran.out.splitlines()
        if line.startswith("The backend's features could not be read: ")
    ]
    assert why in line
    assert UNKNOWN in ran.out
    assert "a-secret-value" not in ran.text


def answer_jobs_alone(asked: Asked) -> Any:
    return (200, {"count": 0, "results": []}) if "jobs" in asked.path else (403, {"detail": "no"})


def test_a_list_that_is_forbidden_tells_nothing(tmp_path: Path) -> None:
    """403 is neither yes nor no."""
    with answering(answer_jobs_alone) as at:
        ran = place_for(tmp_path, at.url).run("state", "init", code=0)
    assert "It is unknown what this backend can do" in ran.out
    assert UNKNOWN in ran.out


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "environ", "why"),
    [
        (lambda target: target.update(url="http://127.0.0.1:9"), {}, "cannot be reached"),
        (lambda _target: None, {"PROD_TOKEN": ""}, "no token"),
        (lambda _target: None, {"SYNAPSE_APPLY_HOSTS": "other.example"}, "may not go to this host"),
    ],
)
def test_one_that_is_not_asked_is_one_line(
    tmp_path: Path, change: Change, environ: dict[str, str], why: str
) -> None:
    """No network, no credentials, a host where none may go: the state is made."""
    asked: list[Asked] = []
    with answering(lambda one: (asked.append(one), (200, {}))[1]) as at:
        place = place_for(tmp_path, at.url)
        file = tmp_path / "synapse-apply.yaml"
        document = json.loads(file.read_text())
        change(document["targets"]["prod"])
        file.write_text(json.dumps(document))
        place.environ.update(environ)
        ran = place.run("state", "init", "--json", code=0)
        assert place.run("state", "show", code=0).err == "The state has no records.\n"
    assert asked == []
    found = ran.document["backend"]
    assert (found["asked"], found["checks"]) == (False, [])
    assert why in found["why_not"]
    assert "\n" not in found["why_not"]


def test_a_lineage_that_is_pinned_needs_no_pin(tmp_path: Path) -> None:
    """It is said where there is none alone."""
    with backend(tmp_path / "data") as url:
        place = place_for(tmp_path / "p", url)
        out = place.run("state", "init", code=0).out
        assert "Pin the lineage in the project file: targets.prod.state.lineage: " in out
        document = json.loads((place.root / "synapse-apply.yaml").read_text())
        document["targets"]["prod"]["state"] = {"url": "other.db", "lineage": PIN}
        (place.root / "synapse-apply.yaml").write_text(json.dumps(document))
        out = place.run("state", "init", "--lineage", PIN, code=0).out
        assert f"lineage {PIN}." in out
        assert "Pin the lineage" not in out


def test_manifests_that_are_broken_are_no_matter(tmp_path: Path) -> None:
    """They are not read."""
    with backend(tmp_path / "data") as url:
        place = place_for(tmp_path / "p", url)
        (place.root / "manifests").mkdir()
        (place.root / "manifests" / "x.yaml").write_text("{", encoding="utf-8")
        assert "\nBackend: v1 for " in place.run("state", "init", code=0).out


def test_a_fleet_is_begun_at_once(tmp_path: Path) -> None:
    """One command makes the states of all targets, and leaves alone those that are there."""
    with backend(tmp_path / "data") as url:
        place = place_for(tmp_path / "p", url)
        document = json.loads((place.root / "synapse-apply.yaml").read_text())
        prod = document["targets"]["prod"]
        document["targets"] = {f"prod-{number}": prod for number in range(3)}
        document["default_target"] = "prod-0"
        (place.root / "synapse-apply.yaml").write_text(json.dumps(document))
        place.run("state", "init", "-t", "prod-1", code=0)
        refused = place.run("state", "init", "-t", "prod-*", "--lineage", PIN, code=64)
        assert "--lineage works only with one target" in refused.err
        out = place.run("state", "init", "-t", "prod-*", code=0).out
        assert out.count("Created an empty state") == 2
        assert out.count("\nBackend: v1 for ") == 1
        assert "Target prod-1 already has a state." in out
        again = place.run("state", "init", "-t", "prod-*", "--json", code=0).document
        assert [one["document"]["made"] for one in again["targets"]] == [False] * 3

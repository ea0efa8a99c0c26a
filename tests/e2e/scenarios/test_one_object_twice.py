"""Two manifests that declare one object: `validate` says what every plan says of them."""

from __future__ import annotations

import json

import pytest
from e2e.scenarios.workplace import CONFIG, PLUGIN, RELEASE, STORAGE, Workplace, project

SUMMARY = "Two resources declare one object"
SECOND = STORAGE.replace("name: raw-data", "name: other")
STORAGES = (
    "storage/other (manifests/other.yaml:1:1), storage/raw-data (manifests/storage.yaml:1:1) all "
    "have name=Raw data."
)


def write_project(place: Workplace, **changes: object) -> None:
    document = json.loads(project("http://127.0.0.1:9"))
    place.write("synapse-apply.yaml", json.dumps({**document, **changes}))


def two_storages(place: Workplace) -> str:
    place.write("manifests/other.yaml", SECOND)
    return STORAGES


def two_plugins(place: Workplace) -> str:
    place.write("manifests/other.yaml", PLUGIN.replace("name: yolo", "name: other", 1))
    return (
        "plugin/other (manifests/other.yaml:1:1), plugin/yolo (manifests/plugin.yaml:1:1) all have "
        "code=yolo."
    )


def two_releases(place: Workplace) -> str:
    """Of two plugins with one code, which their manifests do not have but their packages."""
    for name in ("one", "two"):
        place.write(f"plugins/{name}/config.yaml", CONFIG)
        place.write(
            f"manifests/{name}.yaml",
            PLUGIN.replace("name: yolo", f"name: {name}", 1)
            .replace("  code: yolo\n", "")
            .replace("spec:\n", f"spec:\n  from: ./plugins/{name}\n"),
            RELEASE.replace("yolo", name),
        )
    (place.root / "manifests/plugin.yaml").unlink()
    return (
        "release/one@1.0.0 (manifests/one.yaml:12:1), release/two@1.0.0 (manifests/two.yaml:12:1) "
        "all have code=yolo@1.0.0."
    )


def by_an_overlay(place: Workplace) -> str:
    place.write("manifests/other.yaml", SECOND.replace("Raw data", "Other data"))
    overlay = {"overlays": {"storage/other": {"spec": {"name": "Raw data"}}}}
    document = json.loads(project("http://127.0.0.1:9", **overlay))
    place.write("synapse-apply.yaml", json.dumps(document))
    return STORAGES


def by_a_variable(place: Workplace) -> str:
    place.write("manifests/other.yaml", SECOND.replace("Raw data", "${var.title} data"))
    write_project(place, variables={"title": {"default": "Raw"}})
    return STORAGES


def by_a_list_of_targets(place: Workplace) -> str:
    """One row of three gives two storages one name."""
    place.write("manifests/other.yaml", SECOND.replace("Raw data", "${var.title} data"))
    rows = "".join(
        f"- {{name: t-{title.lower()}, title: {title}}}\n" for title in ("A", "Raw", "B")
    )
    place.write("targets.yaml", rows)
    template = {
        "url": "http://127.0.0.1:9",
        "tenant": "acme",
        "token": {"env": "PROD_TOKEN"},
        "variables": {"title": "${row.title}"},
    }
    write_project(
        place,
        variables={"title": {}},
        targets={},
        default_target="t-raw",
        targets_from=[{"file": "targets.yaml", "template": template}],
    )
    return STORAGES


@pytest.mark.parametrize(
    "declare",
    [two_storages, two_plugins, two_releases, by_an_overlay, by_a_variable, by_a_list_of_targets],
    ids=lambda declare: declare.__name__,
)
def test_validate_finds_one_object_that_two_declare(place, declare):
    """Exit 1, once, with the file, line and column of both: the words of a plan, which asks nobody."""
    detail = declare(place)
    ran = place.run("validate", code=1)
    assert f"Error: {SUMMARY}" in ran.err
    assert ran.err.count(detail) == 1, ran.text
    place.write("inventory.yaml", "inventory:\n- {address: storage/gone, id: '7'}\n")
    planned = place.plan("--offline", "--against", "state:inventory.yaml", code=1)
    assert f"Error: {SUMMARY}" in planned.text
    assert detail in planned.text


def test_objects_that_differ_are_two(place):
    """One name of a storage and a plugin, and one name in two targets, are no conflict."""
    place.write("manifests/other.yaml", SECOND.replace("Raw data", "Yolo"))
    assert SUMMARY not in place.run("validate", code=0).text

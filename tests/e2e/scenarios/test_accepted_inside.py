"""`drift --write` below lists and of last keys: what live did not change keeps its lines."""

from __future__ import annotations

from typing import Any

import pytest
from e2e.scenarios.workplace import Server, Workplace

HEAD = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: lk1}
spec:
  name: lk1
  code: lk1
"""
LISTS = """\
  configuration:
    classes:
    - car      # id 0, do not reorder
    # people are labelled twice
    - person   # id 1
    - bus      # id 2
    steps:
    - name: a  # the first
      run: |   # keep in sync with ops/run.sh
        echo a
        echo b
      retries: 1  # see INC-42
    - name: b
    sizes: [
      1,  # small
      2   # large
    ]
"""
PROJECT = """\
apiVersion: synapse-apply/v1
kind: Project
manifests: [manifests/]
default_target: prod
targets:
  prod:
    url: URL
    tenant: acme
    token: {env: PROD_TOKEN}
"""


@pytest.fixture
def site(ready: Workplace, server: Server) -> Workplace:
    """A project without a plugin yet, on one target."""
    for name in ("manifests/plugin.yaml", "manifests/storage.yaml"):
        (ready.root / name).unlink()
    ready.write("synapse-apply.yaml", PROJECT.replace("URL", server.url))
    return ready


def accepted(place: Workplace, server: Server, declared: str, live: Any) -> str:
    """What the manifest says below its head, once this was applied and live was taken over."""
    path = "manifests/all.yaml"
    place.write(path, HEAD + declared)
    place.apply()
    server.call("PATCH", "_emulator/objects/plugin/1/", {"configuration": live})
    place.run("drift", "-t", "prod", "--write", "plugin/lk1", code=0)
    text = (place.root / path).read_text(encoding="utf-8")
    place.unchanged()
    place.apply()
    assert server.objects("plugin")[0]["body"]["configuration"] == live
    assert text.startswith(HEAD)
    return text.removeprefix(HEAD)


@pytest.mark.parametrize("live", [{}, {"new": 1}, {"a": None}], ids=str)
@pytest.mark.parametrize("declared", ["    a: 1\n", "    a: 1  # one\n    b: {c: 2}\n"])
def test_the_last_keys_of_a_map(site: Workplace, server: Server, declared: str, live: Any) -> None:
    """Nothing of it is live any more, but the map is: it is written as an empty one."""
    text = accepted(site, server, "  configuration:\n" + declared, live)
    assert text == "  configuration: {}\n"


@pytest.mark.parametrize("live", [{"m": {}, "n": 1}, {"m": {"c": 1}, "n": 1}], ids=str)
def test_the_last_key_of_a_map_in_a_map(site: Workplace, server: Server, live: Any) -> None:
    """The comments around it stay."""
    before = "  configuration:\n    m:  # ours\n      # of a\n      a: 1  # one\n    n: 1\n"
    after = "  configuration:\n    m: {}  # ours\n      # of a\n    n: 1\n"
    assert accepted(site, server, before, live) == after


def test_items_and_what_is_in_them(site: Workplace, server: Server) -> None:
    """Only what live has changed is written; comments, texts of several lines and order stay."""
    live = {
        "classes": ["cars", "person", "buses", "tram"],
        "steps": [{"retries": 2, "run": "echo a\necho b\n", "name": "a"}, {"name": "b"}],
        "sizes": [1, 3],
    }
    after = LISTS.replace("- car ", "- cars ").replace("- bus      # id 2\n",
        "- buses      # id 2\n    - tram\n").replace("retries: 1", "retries: 2")  # fmt: skip
    assert accepted(site, server, LISTS, live) == after.replace("2   # large", "3   # large")


def test_items_that_are_gone(site: Workplace, server: Server) -> None:
    """They take their own comments along, and no other."""
    live = {"classes": ["car", "bus"], "steps": [{"name": "b"}], "sizes": [1]}
    after = LISTS.replace("    # people are labelled twice\n    - person   # id 1\n", "")
    start, end = after.index("    - name: a"), after.index("    - name: b")
    after = after[:start] + after[end:]
    assert accepted(site, server, LISTS, live) == after.replace(
        "      1,  # small\n      2   # large\n", "      1  # small\n"
    )

"""What there is to apply: everything, or changes to what is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault.site import COUNTS, SEPARATOR, Site


def first_apply(site: Site) -> None:
    """Nothing is there yet."""


def changes(site: Site) -> None:
    """All is there; two plugins are changed and have new versions."""
    assert site.apply().code == 0
    for number in (0, 1):
        path = site.root / "manifests" / f"group-{number}.yaml"
        path.write_text(path.read_text().replace('"description": "a"', '"description": "b"'))
        _raise_version(site.root, number)


def _raise_version(root: Path, number: int) -> None:
    path = root / "manifests" / f"group-{number}.yaml"
    documents = [json.loads(text) for text in path.read_text().split(SEPARATOR)]
    newer = json.loads(json.dumps(documents[1]))
    newer["spec"] |= {"version": "1.1.0", "source": f"./plugins/newer-{number}"}
    package = root / "plugins" / f"newer-{number}"
    package.mkdir()
    code = documents[0]["spec"]["code"]
    (package / "config.yaml").write_text(f'name: {code}\ncode: {code}\nversion: "1.1.0"\n')
    path.write_text(SEPARATOR.join(map(json.dumps, [*documents, newer])))


def lock_and_prune(site: Site) -> None:
    """All is there (API v2): one release is to be locked, one goes as a newer one takes its place."""
    assert site.apply().code == 0
    _rewrite(site.root, 0, lambda documents: documents[1]["spec"].update(locked=True))
    _raise_version(site.root, 1)

    def retain_one(documents: list[dict[str, Any]]) -> None:
        documents[0]["spec"]["retain"] = 1
        del documents[1]

    _rewrite(site.root, 1, retain_one)


def _rewrite(root: Path, number: int, change: Callable[[list[dict[str, Any]]], object]) -> None:
    path = root / "manifests" / f"group-{number}.yaml"
    documents = [json.loads(text) for text in path.read_text().split(SEPARATOR)]
    change(documents)
    path.write_text(SEPARATOR.join(map(json.dumps, documents)))


SCENARIOS: dict[str, Callable[[Site], None]] = {
    "first-apply": first_apply,
    "changes": changes,
    "lock-and-prune": lock_and_prune,
}
ON_V1 = ("first-apply", "changes")
ON_V2 = tuple(SCENARIOS)
_COUNTS: dict[tuple[str, int, str, str], int] = {}


def requests_of(
    make_site: Callable[..., Site], scenario: str, api: str, profile: str, groups: int = 4
) -> int:
    """How many requests an apply makes on an API version and a profile when nothing goes wrong."""
    case = (scenario, groups, api, profile)
    if case not in _COUNTS:
        site = make_site(groups=groups)
        assert (site.api, site.server.profile) == (api, profile)
        SCENARIOS[scenario](site)
        site.server.faults(COUNTS)
        assert site.apply().code == 0
        _COUNTS[case] = site.server.counts()[0]["seen"]
    return _COUNTS[case]

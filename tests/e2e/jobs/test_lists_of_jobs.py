"""Lists of jobs from servers that know other words, pass filters over, or move while they answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from answering import Answer, Answering, Asked, answering
from failing import fails

from synapse_apply import OpenTarget, open_target

JOBS = [
    {"id": "c3", "status": "SUCCEEDED", "plugin": 1, "user": 1, "created": "2026-03-03T00:00:00Z"},
    {"id": "b2", "status": "FAILED", "plugin": 2, "user": 2, "created": "2026-03-02T00:00:00"},
    {"id": "a1", "status": "SUCCEEDED", "plugin": {"id": 1}, "created": "2026-03-01T00:00:00Z"},
]
NEWEST_FIRST = {"ordering": "-created"}
Lists = Callable[[dict[str, str]], Any]


@contextmanager
def listing(
    folder: Path, answer: Lists, width: int = 100, releases: Any = None, plugins: Any = None
) -> Iterator[tuple[OpenTarget, Answering]]:
    """A target whose jobs are listed by a rule, in pages of so many; and what it was asked."""

    def respond(asked: Asked) -> Answer:
        kind, *rest = asked.path.strip("/").split("/")
        if kind != "jobs":
            known = {"plugin_releases": releases, "plugins": plugins}[kind] or {}
            found = known.get(rest[0]) if rest else None
            return (200, found) if found else (404, {"detail": "Not found."})
        query = {name: text for name, text in asked.query.items() if name != "page"}
        items = answer(query)
        if not isinstance(items, list):
            return items
        first = width * (int(asked.query.get("page", "1")) - 1)
        more = urlencode({**query, "page": first // width + 2})
        url = f"{backend.url}/jobs/?{more}" if first + width < len(items) else None
        return 200, {"count": len(items), "next": url, "results": items[first : first + width]}

    with answering(respond) as backend:
        target = {"url": backend.url, "token": {"env": "TOKEN"}}
        text = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": {"prod": target}}
        (folder / "synapse-apply.yaml").write_text(json.dumps(text), encoding="utf-8")
        with open_target("prod", folder=folder, environ={"TOKEN": "a-token"}) as opened:
            yield opened, backend


def list_ids(target: OpenTarget, **wanted: Any) -> list[str]:
    return [job.id for job in target.jobs.iter_jobs(**wanted)]


def list_queries(backend: Answering) -> list[dict[str, str]]:
    """What lists of jobs were asked for, and no later page of one."""
    return [
        {name: text for name, text in asked.query.items() if name != "page_size"}
        for asked in backend.asked
        if asked.path == "/jobs/" and "page" not in asked.query
    ]


def find_status(folder: Path, word: str) -> Any:
    """A status as jobs have it."""
    with listing(folder, lambda _query: [{**JOBS[0], "status": word}]) as (target, _):
        (job,) = target.jobs.iter_jobs()
    return job.status


def test_filters_that_a_server_passes_over(tmp_path: Path) -> None:
    """What it lists all the same is left out here."""
    completed, since = find_status(tmp_path, "SUCCEEDED"), datetime(2026, 3, 2, tzinfo=UTC)
    with listing(tmp_path, lambda _query: JOBS) as (target, backend):
        assert list_ids(target, status=completed) == ["c3", "a1"]
        assert list_ids(target, plugin="id=1") == ["c3", "a1"]
        assert list_ids(target, user="2") == ["b2", "a1"]
        assert list_ids(target, created_after=since) == ["c3", "b2"]
        told = "2026-03-02T00:00:00.000000Z"
        assert list_queries(backend)[1:] == [
            {"plugin": "1", **NEWEST_FIRST},
            {"user": "2", **NEWEST_FIRST},
            {"created_after": told, "created__gte": told, **NEWEST_FIRST},
        ]


@pytest.mark.parametrize("refuses", [True, False])
def test_a_server_with_words_of_its_own(tmp_path: Path, refuses: bool) -> None:
    """It refuses the page's word, or finds nothing by it: the platform's are asked for."""
    completed = find_status(tmp_path, "SUCCEEDED")

    def answer(query: dict[str, str]) -> Any:
        if query["status"] == "SUCCEEDED":
            return [JOBS[0]]
        return (400, {"status": ["Unknown."]}) if refuses else []

    with listing(tmp_path, answer) as (target, backend):
        assert list_ids(target, status=completed) == ["c3"]
        asked = [query["status"] for query in list_queries(backend)]
    assert asked == ["completed", "succeeded", "SUCCEEDED"]


@pytest.mark.parametrize(("status", "times"), [(400, 3), (403, 1)])
def test_a_server_that_refuses_every_word(tmp_path: Path, status: int, times: int) -> None:
    """Its refusal is the answer; another failure is so at once."""
    completed = find_status(tmp_path, "SUCCEEDED")
    with listing(tmp_path, lambda _query: (status, {})) as (target, backend):
        with fails("BackendError") as caught:
            list_ids(target, status=completed)
        assert caught.value.__cause__.status_code == status
        assert len(list_queries(backend)) == times


@pytest.mark.parametrize(
    ("item", "why"),
    [({"status": "x"}, "names no job"), ("text", "not objects"), (None, "not objects")],
)
def test_an_item_that_is_no_job(tmp_path: Path, item: Any, why: str) -> None:
    """A failed call, not a crash."""
    with (
        listing(tmp_path, lambda _query: [item]) as (target, _),
        fails("BackendError") as caught,
    ):
        list_ids(target)
    assert why in str(caught.value.__cause__)


def test_a_code_that_the_server_does_not_filter_by(tmp_path: Path) -> None:
    """Jobs of several plugins are not passed off as those of one."""
    with (
        listing(tmp_path, lambda _query: JOBS) as (target, _),
        fails("InputError", match="by the code of their plugin"),
    ):
        list_ids(target, plugin="yolo")
    with listing(tmp_path, lambda _query: JOBS[:1]) as (target, _):
        assert list_ids(target, plugin="yolo") == ["c3"]


RELEASES = {
    "11": {"id": 11, "plugin": 1, "version": "1.0.0", "config": {"code": "yolo"}},
    "12": {"id": 12, "plugin": {"id": 1, "code": "yolo"}, "version": "1.1.0"},
    "21": {"id": 21, "plugin": 2, "version": "3.0.0"},
}


def job(number: int, release: Any, created: str = "2026-03-01T00:00:00+09:00") -> dict[str, Any]:
    return {"id": number, "status": "SUCCEEDED", "plugin_release": release, "created": created}


PLATFORM = [
    job(9, 11),
    job(8, 21),
    job(7, {"plugin": {"code": "yolo"}, "version": "1.2.0"}),
    job(6, 12),
    job(5, 11),
    job(4, 99),
    job(3, {"id": 21}),
    job(2, {"plugin": {"code": "sam"}, "version": "3.0.0"}),
    job(1, 11),
]


def test_the_plugin_of_a_job_is_that_of_its_release(tmp_path: Path) -> None:
    """By number, by object, by what the object has; each release is read once."""
    with listing(tmp_path, lambda _query: PLATFORM, releases=RELEASES) as (target, backend):
        found = [
            (one.id, one.plugin or one.plugin_code, one.version) for one in target.jobs.iter_jobs()
        ]
        reads = sorted(path for path in backend.paths() if path.startswith("/plugin_releases/"))
    assert found == [
        ("9", "1", "1.0.0"),
        ("8", "2", "3.0.0"),
        ("7", "yolo", "1.2.0"),
        ("6", "1", "1.1.0"),
        ("5", "1", "1.0.0"),
        ("4", "", ""),
        ("3", "2", "3.0.0"),
        ("2", "sam", "3.0.0"),
        ("1", "1", "1.0.0"),
    ]
    assert reads == [f"/plugin_releases/{number}/" for number in (11, 12, 21, 99)]


@pytest.mark.parametrize("plugin", ["id=1", "yolo"])
def test_jobs_of_a_plugin_where_the_server_passes_the_filter_over(
    tmp_path: Path, plugin: str
) -> None:
    """By its id and by its code; what shows nothing is not left out."""
    codes = {"11": "yolo", "12": "yolo", "21": "sam"}
    releases = {
        number: {**one, "config": {"code": codes[number]}} if plugin == "yolo" else one
        for number, one in RELEASES.items()
    }
    shown = [one for one in PLATFORM if one["id"] != 4]
    plugins = {"1": {"id": 1, "code": "yolo"}, "2": {"id": 2, "code": "sam"}}
    with listing(tmp_path, lambda _query: shown, releases=releases, plugins=plugins) as (target, _):
        assert list_ids(target, plugin=plugin) == ["9", "7", "6", "5", "1"]


@pytest.mark.parametrize(
    ("days", "pages"),
    [
        (range(28, 0, -1), 2),
        # Too few to be an order, and one page out of order: no page is passed over.
        ([28, 27, 1, 26, 25, 24, 23, 22, 21, 20, 19, 18], 3),
        ([9, 9, 9, 9, 9, 9, 9, 9, 9, 9], 2),
        (range(1, 29), 6),
    ],
)
def test_older_pages_are_not_asked_for_once_the_order_is_shown(
    tmp_path: Path, days: Any, pages: int
) -> None:
    """No job is missed where the list has no order."""
    items = [job(40 - at, 11, f"2026-03-{day:02d}T00:00:00+09:00") for at, day in enumerate(days)]
    since = datetime(2026, 3, 20, tzinfo=UTC)
    late = [str(one["id"]) for one in items if datetime.fromisoformat(one["created"]) >= since]
    with listing(tmp_path, lambda _query: items, width=5, releases=RELEASES) as (target, backend):
        assert list_ids(target, created_after=since) == late
        assert backend.paths().count("/jobs/") == pages

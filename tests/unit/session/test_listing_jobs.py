"""Lists of jobs from servers that know other words, pass filters over, or move while they answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from synapse_apply import RemoteError
from synapse_apply.kinds.release import RELEASE
from synapse_apply.live.live_backend import LiveBackend
from synapse_apply.model.errors import Forbidden, InputError, Invalid, NotFound
from synapse_apply.model.job import Job, JobStatus
from synapse_apply.operations.jobs import JobFilter, iter_matching_jobs

JOBS = [
    {"id": "c3", "status": "SUCCEEDED", "plugin": 1, "user": 1, "created": "2026-03-03T00:00:00Z"},
    {"id": "b2", "status": "FAILED", "plugin": 2, "user": 2, "created": "2026-03-02T00:00:00"},
    {"id": "a1", "status": "SUCCEEDED", "plugin": {"id": 1}, "created": "2026-03-01T00:00:00Z"},
]


NEWEST_FIRST = {"ordering": "-created"}


class Api:
    """Answers a list by a rule, in pages of so many, and remembers what it was asked."""

    def __init__(self, answer: Any, width: int = 100, releases: Any = None) -> None:
        self.answer = answer
        self.width = width
        self.releases = releases or {}
        self.asked: list[dict[str, Any]] = []
        self.reads: list[str] = []
        self.pages = 0

    def iterate_jobs(self, params: Any = None, *, is_last_page: Any = None) -> Iterator[Any]:
        self.asked.append(dict(params or {}))
        items = list(self.answer(dict(params or {})))
        for first in range(0, len(items), self.width):
            self.pages += 1
            page = items[first : first + self.width]
            yield from page
            if is_last_page is not None and is_last_page(page):
                return

    def get_plugin_release(self, pk: Any, params: Any = None) -> Any:
        self.reads.append(f"release {pk}")
        if pk not in self.releases:
            raise NotFound("404", status_code=404)
        return self.releases[pk]

    def get_plugin(self, pk: Any) -> Any:
        self.reads.append(f"plugin {pk}")
        return {"id": pk, "code": {1: "yolo", 2: "sam"}[pk]}


def jobs(api: Api, wanted: JobFilter) -> list[Job]:
    """Those of a target of which nothing is known but the calls."""
    reach: Any = LiveBackend.__new__(LiveBackend)
    reach.api, reach.select_binding = api, lambda _prefix: RELEASE.bindings["v1"]
    return list(iter_matching_jobs(reach, wanted))


def ids(api: Api, wanted: JobFilter) -> list[str]:
    return [job.id for job in jobs(api, wanted)]


def test_filters_that_a_server_passes_over() -> None:
    """What it lists all the same is left out here."""
    api = Api(lambda _params: JOBS)
    assert ids(api, JobFilter(status=JobStatus.COMPLETED)) == ["c3", "a1"]
    assert ids(api, JobFilter(plugin="id=1")) == ["c3", "a1"]
    assert ids(api, JobFilter(user="2")) == ["b2", "a1"]
    since = datetime(2026, 3, 2, tzinfo=UTC)
    assert ids(api, JobFilter(created_after=since)) == ["c3", "b2"]
    assert api.asked[1:] == [
        {"plugin": "1", **NEWEST_FIRST},
        {"user": "2", **NEWEST_FIRST},
        {
            "created_after": "2026-03-02T00:00:00.000000Z",
            "created__gte": "2026-03-02T00:00:00.000000Z",
            **NEWEST_FIRST,
        },
    ]


@pytest.mark.parametrize("refuses", [True, False])
def test_a_server_with_words_of_its_own(refuses: bool) -> None:
    """It refuses the page's word, or finds nothing by it: the platform's are asked for."""

    def answer(params: dict[str, Any]) -> list[Any]:
        if params["status"] == "SUCCEEDED":
            return [JOBS[0]]
        if refuses:
            raise Invalid("400", status_code=400)
        return []

    api = Api(answer)
    assert ids(api, JobFilter(status=JobStatus.COMPLETED)) == ["c3"]
    assert [asked["status"] for asked in api.asked] == ["completed", "succeeded", "SUCCEEDED"]


def test_a_server_that_refuses_every_word() -> None:
    """Its refusal is the answer; another failure is so at once."""

    def refuse(_params: dict[str, Any]) -> list[Any]:
        raise Invalid("400", status_code=400)

    with pytest.raises(Invalid):
        ids(Api(refuse), JobFilter(status=JobStatus.QUEUED))

    def forbid(_params: dict[str, Any]) -> list[Any]:
        raise Forbidden("403", status_code=403)

    api = Api(forbid)
    with pytest.raises(Forbidden):
        ids(api, JobFilter(status=JobStatus.QUEUED))
    assert len(api.asked) == 1


@pytest.mark.parametrize("item", [{"status": "x"}, "text", None])
def test_an_item_that_is_no_job(item: Any) -> None:
    """A failed call, not a crash."""
    with pytest.raises(RemoteError, match="names no job"):
        ids(Api(lambda _params: [item]), JobFilter())


def test_a_code_that_the_server_does_not_filter_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of several plugins are not passed off as those of one."""
    monkeypatch.setattr("synapse_apply.operations.jobs._find_plugin_id", lambda _reach, _text: None)
    with pytest.raises(InputError, match="by the code of their plugin"):
        ids(Api(lambda _params: JOBS), JobFilter(plugin="yolo"))
    assert ids(Api(lambda _params: JOBS[:1]), JobFilter(plugin="yolo")) == ["c3"]


RELEASES = {
    11: {"id": 11, "plugin": 1, "version": "1.0.0", "config": {"code": "yolo"}},
    12: {"id": 12, "plugin": {"id": 1, "code": "yolo"}, "version": "1.1.0"},
    21: {"id": 21, "plugin": 2, "version": "3.0.0"},
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


def rows(api: Api, wanted: JobFilter) -> list[tuple[str, str, str]]:
    return [(one.id, one.plugin or one.plugin_code, one.version) for one in jobs(api, wanted)]


def test_the_plugin_of_a_job_is_that_of_its_release() -> None:
    """By number, by object, by what the object has; each release is read once."""
    api = Api(lambda _params: PLATFORM, releases=RELEASES)
    assert rows(api, JobFilter()) == [
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
    assert sorted(api.reads) == ["release 11", "release 12", "release 21", "release 99"]


@pytest.mark.parametrize("plugin", ["id=1", "yolo"])
def test_jobs_of_a_plugin_where_the_server_passes_the_filter_over(
    plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its id and by its code; what shows nothing is not left out."""
    if plugin == "yolo":
        monkeypatch.setattr(
            "synapse_apply.operations.jobs._find_plugin_id",
            lambda _reach, _text: None,
        )
        releases = {at: {**one, "config": {"code": code}} for (at, one), code in zip(
            RELEASES.items(), ("yolo", "yolo", "sam"), strict=True)}  # fmt: skip
    else:
        releases = RELEASES
    api = Api(lambda _params: [one for one in PLATFORM if one["id"] != 4], releases=releases)
    assert ids(api, JobFilter(plugin=plugin)) == ["9", "7", "6", "5", "1"]


def dated(*days: int) -> list[dict[str, Any]]:
    return [job(40 - at, 11, f"2026-03-{day:02d}T00:00:00+09:00") for at, day in enumerate(days)]


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
def test_older_pages_are_not_asked_for_once_the_order_is_shown(days: Any, pages: int) -> None:
    """No job is missed where the list has no order."""
    items = dated(*days)
    since = datetime(2026, 3, 20, tzinfo=UTC)
    api = Api(lambda _params: items, width=5, releases=RELEASES)
    late = [str(one["id"]) for one in items if datetime.fromisoformat(one["created"]) >= since]
    assert ids(api, JobFilter(created_after=since)) == late
    assert api.pages == pages

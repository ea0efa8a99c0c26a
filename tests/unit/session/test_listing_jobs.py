"""Lists of jobs from servers that know other words, pass filters over, or move while they answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from synapse_apply.kinds.release import RELEASE
from synapse_apply.model.errors import Forbidden, InputError, Invalid, RemoteError
from synapse_apply.model.job import JobStatus
from synapse_apply.session.jobs import Filter, listed
from synapse_apply.session.reach import Reach

JOBS = [
    {"id": "c3", "status": "SUCCEEDED", "plugin": 1, "user": 1, "created": "2026-03-03T00:00:00Z"},
    {"id": "b2", "status": "FAILED", "plugin": 2, "user": 2, "created": "2026-03-02T00:00:00"},
    {"id": "a1", "status": "SUCCEEDED", "plugin": {"id": 1}, "created": "2026-03-01T00:00:00Z"},
]


class Api:
    """Answers a list by a rule, and remembers what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    def iterate_jobs(self, params: Any = None) -> Iterator[Any]:
        self.asked.append(dict(params or {}))
        yield from self.answer(dict(params or {}))


def ids(api: Api, wanted: Filter) -> list[str]:
    reach: Any = SimpleNamespace(api=api, kind=lambda _prefix: (RELEASE, RELEASE.bindings["v1"]))
    found: Reach = reach
    return [job.id for job in listed(found, wanted)]


def test_filters_that_a_server_passes_over() -> None:
    """What it lists all the same is left out here."""
    api = Api(lambda _params: JOBS)
    assert ids(api, Filter(status=JobStatus.COMPLETED)) == ["c3", "a1"]
    assert ids(api, Filter(plugin="id=1")) == ["c3", "a1"]
    assert ids(api, Filter(user="2")) == ["b2", "a1"]
    since = datetime(2026, 3, 2, tzinfo=UTC)
    assert ids(api, Filter(created_after=since)) == ["c3", "b2"]
    assert api.asked[1:] == [
        {"plugin": "1"},
        {"user": "2"},
        {"created_after": "2026-03-02T00:00:00.000000Z"},
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
    assert ids(api, Filter(status=JobStatus.COMPLETED)) == ["c3"]
    assert [asked["status"] for asked in api.asked] == ["completed", "succeeded", "SUCCEEDED"]


def test_a_server_that_refuses_every_word() -> None:
    """Its refusal is the answer; another failure is so at once."""

    def refuse(_params: dict[str, Any]) -> list[Any]:
        raise Invalid("400", status_code=400)

    with pytest.raises(Invalid):
        ids(Api(refuse), Filter(status=JobStatus.QUEUED))

    def forbid(_params: dict[str, Any]) -> list[Any]:
        raise Forbidden("403", status_code=403)

    api = Api(forbid)
    with pytest.raises(Forbidden):
        ids(api, Filter(status=JobStatus.QUEUED))
    assert len(api.asked) == 1


def test_a_list_that_moves_shows_no_job_twice() -> None:
    """A job that slid to the next page is known again."""
    assert ids(Api(lambda _params: [*JOBS, JOBS[2]]), Filter()) == ["c3", "b2", "a1"]


@pytest.mark.parametrize("item", [{"status": "x"}, "text", None])
def test_an_item_that_is_no_job(item: Any) -> None:
    """A failed call, not a crash."""
    with pytest.raises(RemoteError, match="names no job"):
        ids(Api(lambda _params: [item]), Filter())


def test_a_code_that_the_server_does_not_filter_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of several plugins are not passed off as those of one."""
    monkeypatch.setattr("synapse_apply.session.jobs._plugin_id", lambda _reach, _text: None)
    with pytest.raises(InputError, match="by the code of their plugin"):
        ids(Api(lambda _params: JOBS), Filter(plugin="yolo"))
    assert ids(Api(lambda _params: JOBS[:1]), Filter(plugin="yolo")) == ["c3"]

"""Plugins that jobs name: by their id, their release, or the code beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from synapse_apply import RemoteError
from synapse_apply.kinds.plugin import V1
from synapse_apply.model.errors import NotFound


class Api:
    """A backend with two plugins and their releases."""

    def __init__(self, *jobs: Any) -> None:
        self.jobs = jobs
        self.tenant = ""
        self.reads: list[Any] = []

    def iterate_jobs(self, _params: Any = None) -> Iterator[Any]:
        yield from self.jobs

    def get_plugin_release(self, pk: Any) -> Any:
        self.reads.append(pk)
        if pk not in {11, 21}:
            raise NotFound("404", status_code=404)
        return {"id": pk, "plugin": pk // 10, "version": "1.0.0"}

    def list_plugin_releases(self, code: str) -> list[Any]:
        self.reads.append(code)
        return [{"id": 21, "plugin": 2}] if code == "sam" else []

    def get_plugin(self, pk: Any) -> Any:
        return {"id": pk, "code": "sam"}


def named(api: Any) -> list[str]:
    assert V1.iter_ids_named_by_jobs is not None
    return sorted(set(V1.iter_ids_named_by_jobs(api)))


def test_plugins_are_found_by_the_releases_of_jobs() -> None:
    """Each release and each code is looked up once; what is not there names none."""
    api = Api(
        {"id": 1, "plugin_release": 11},
        {"id": 2, "plugin_release": 11},
        {"id": 3, "plugin_release": {"plugin": {"code": "sam"}, "version": "1.0.0"}},
        {"id": 4, "plugin_release": {"plugin": {"code": "sam"}, "version": "1.0.0"}},
        {"id": 5, "plugin_release": {"plugin": {"code": "gone"}}},
        {"id": 6, "plugin_release": 99},
        {"id": 7, "plugin_release": "../plugins/1"},
        {"id": 8, "plugin": 7},
        {"id": 9},
    )
    assert named(api) == ["1", "2", "7"]
    assert api.reads == [11, "sam", "gone", 99]


def test_an_item_that_is_no_job_is_a_failed_call() -> None:
    """Not a crash."""
    with pytest.raises(RemoteError, match="not a job"):
        named(Api({"status": "x"}))

"""Use case: jobs as the backend has them. Both vocabularies of servers are understood."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from synapse_apply.applying.following import POLL_INTERVAL, Pace
from synapse_apply.applying.tailing import Tailer, Watcher
from synapse_apply.kinds.job_lists import JobOwners, list_jobs_since
from synapse_apply.kinds.wire import remote_id
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import (
    Effect,
    InputError,
    Invalid,
    NotFound,
    OutcomeUnknown,
    RemoteError,
    words,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import PLATFORM_WORDS, Job, JobStatus, job_of, words_of
from synapse_apply.model.ports import JobCalls
from synapse_apply.session.reach import (
    Reach,
    absent,
    by_key,
    given_id,
    note,
    recorded_id,
    run_name,
)

EXPANDABLE = ("logs", "metrics", "result")


@frozen
class Filter:
    """Which jobs to list; what is left out does not matter. `plugin` is an id, name or code."""

    status: JobStatus | None = None
    plugin: str = ""
    created_after: datetime | None = None
    user: str = ""


@frozen
class Report:
    """What to tell the backend about a job; None is left as it is."""

    status: JobStatus | None = None
    progress: float | None = None
    result: Any = None
    metadata: Mapping[str, Any] | None = None


@frozen
class Follow:
    """How to follow: seconds between looks, and seconds until it is given up (None: never)."""

    interval: float = POLL_INTERVAL
    timeout: float | None = None

    def pace(self) -> Pace:
        return Pace(self.interval, self.timeout, time.sleep, time.monotonic)


def listed(reach: Reach, wanted: Filter) -> Iterator[Job]:
    """Every job that fits, page after page as they are taken, each once."""
    query: dict[str, Any] = {}
    plugin = _plugin_id(reach, wanted.plugin) if wanted.plugin else None
    if wanted.plugin:
        query["plugin"] = run_name(reach, plugin) if plugin else wanted.plugin
        # Jobs are v1's: the id that they show is compared with an id of v1 alone.
        plugin = plugin if query["plugin"] == plugin else None
    if wanted.user:
        query["user"] = wanted.user
    owners = JobOwners(reach.api)
    seen: set[str] = set()
    plugins: set[str] = set()
    for raw in _of_status(reach, query, wanted):
        job = _job(raw)
        # A server may pass over a filter it does not know, and a list moves while it is read.
        if job.id in seen or not _fits(job, wanted):
            continue
        job = owners.complete(job)
        if wanted.plugin:
            # A code that the API cannot look up is compared with those that jobs show.
            if owners.is_anothers(job, plugin or str(query["plugin"])):
                continue
            plugins.add(job.plugin_code or job.plugin)
            if plugin is None and len(plugins) > 1:
                raise _no_filter(wanted.plugin)
        seen.add(job.id)
        yield job


def get(reach: Reach, job_id: str, expand: tuple[str, ...] = ()) -> Job:
    """One job; InputError when there is none."""
    params = {"expand": ",".join(expand)} if expand else None
    with _meaning(job_id):
        return JobOwners(reach.api).complete(_job(_calls(reach, job_id).get_job(job_id, params)))


def show_log(reach: Reach, job_id: str, watcher: Watcher, last: int | None = None) -> None:
    """The log as it is now, or its last lines; InputError when there is no such job."""
    with _meaning(job_id):
        Tailer(_calls(reach, job_id), job_id, Follow().pace(), watcher, last).show()


def follow_log(
    reach: Reach, job_id: str, how: Follow, watcher: Watcher, last: int | None = None
) -> Job:
    """The log until the job ends or the time is up; the job as it was last seen."""
    with _meaning(job_id):
        return Tailer(_calls(reach, job_id), job_id, how.pace(), watcher, last).follow()


def update(reach: Reach, job_id: str, report: Report) -> tuple[Job, Diagnostic | None]:
    """Report on a job in the words its server uses; the job after it, and a warning if there is.

    InputError for what the server refuses, OutcomeUnknown when its answer was lost.
    """
    body = _spoken(get(reach, job_id), report)
    try:
        answer = reach.api.update_job(job_id, body)
    except RemoteError as failure:
        unknown = failure.effect is Effect.UNKNOWN
        note(reach, "update", f"job/{job_id}", job_id, "unknown" if unknown else "failed")
        raise (_lost(job_id, failure) if unknown else _refused(failure)) from None
    noted = note(reach, "update", f"job/{job_id}", job_id, "done")
    return (_job(answer) if answer else get(reach, job_id)), noted


def _calls(reach: Reach, job_id: str) -> JobCalls:
    """The calls of the API version whose id this is."""
    jobs_of = reach.kind("release")[1].jobs_of
    return jobs_of(reach.api, job_id) if jobs_of is not None else reach.api


@contextmanager
def _meaning(job_id: str) -> Iterator[None]:
    """An id that no job has, or that no job can have, in words."""
    hint = "`synapse-apply jobs list` shows those there are."
    try:
        yield
    except NotFound as failure:
        raise absent("job", job_id, failure, hint) from None
    except Invalid as failure:
        if failure.status_code:
            raise
        raise InputError.of("This is no id of a job", f"{job_id!r}: {failure}.", hint) from None


def _plugin_id(reach: Reach, text: str) -> str | None:
    """The id of a plugin; None for a code that this API cannot look up."""
    known = given_id("plugin", text) or recorded_id(reach, "plugin", text)
    if known is not None:
        return known
    found = by_key(reach, reach.kind("plugin")[1], text)
    return remote_id(found[0]) if len(found) == 1 else None


def _no_filter(plugin: str) -> InputError:
    return InputError(
        error(
            "This backend does not list jobs by the code of their plugin",
            f"It answers jobs of other plugins than {plugin!r}, too.",
            "Give the plugin's id, as --plugin id=123.",
        )
    )


def _of_status(
    reach: Reach, query: Mapping[str, Any], wanted: Filter
) -> Iterator[Mapping[str, Any]]:
    """Jobs by status, asked for in the page's word, and in the platform's where that finds none."""
    since = wanted.created_after
    if wanted.status is None:
        yield from list_jobs_since(reach.api, query, since)
        return
    found, refused = False, None
    for word in words_of(wanted.status):
        try:
            for raw in list_jobs_since(reach.api, {**query, "status": word}, since):
                found = True
                yield raw
        except Invalid as failure:
            if found or failure.status_code != 400:
                raise
            refused = failure
            continue
        refused = None
        if found:
            return
    if refused is not None:
        raise refused


def _fits(job: Job, wanted: Filter) -> bool:
    """Whether nothing that a job shows is against it, its plugin aside."""
    if wanted.status is not None and job.status is not wanted.status:
        return False
    user = job.raw.get("user")
    if wanted.user and isinstance(user, str | int) and str(user) != wanted.user:
        return False
    created = _moment(job.created)
    return not (wanted.created_after and created and created < _utc(wanted.created_after))


def _moment(text: str) -> datetime | None:
    try:
        return _utc(datetime.fromisoformat(text))
    except ValueError:
        return None


def _utc(moment: datetime) -> datetime:
    """In UTC, which a server means that names no zone."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _job(raw: object) -> Job:
    try:
        return job_of(raw if isinstance(raw, Mapping) else {})
    except ValueError as problem:
        raise RemoteError(f"jobs: {problem}") from None


def _spoken(job: Job, report: Report) -> dict[str, Any]:
    """The body of an update: the page's fields, or the platform's for a server that speaks so.

    The platform replaces whole objects and keeps facts of its own in them, so they are merged.
    """
    platform = str(job.raw.get("status", "")).isupper()
    body: dict[str, Any] = {}
    if report.status is not None:
        body["status"] = PLATFORM_WORDS[report.status] if platform else report.status.value
    if report.progress is not None and platform:
        record = _object(job.raw, "progress_record")
        current = {**_object(record, "current_progress"), "overall": report.progress}
        body["progress_record"] = {**record, "current_progress": current}
    elif report.progress is not None:
        body["progress"] = report.progress
    if report.result is not None:
        body["result"] = report.result
    if report.metadata is not None and platform:
        body["meta"] = {**_object(job.raw, "meta"), **report.metadata}
    elif report.metadata is not None:
        body["metadata"] = dict(report.metadata)
    return body


def _object(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = of.get(name)
    return value if isinstance(value, Mapping) else {}


def _lost(job_id: str, failure: RemoteError) -> OutcomeUnknown:
    return OutcomeUnknown(
        error(
            "Nobody can tell whether the job was updated",
            words(failure),
            f"It is not sent again. Look: `synapse-apply jobs get {job_id}`.",
            request_id=failure.request_id,
        )
    )


def _refused(failure: RemoteError) -> Exception:
    if failure.status_code not in {400, 409, 422}:
        return failure
    return InputError(
        error(
            "The backend refuses this update",
            words(failure),
            "An ended job stays as it ended; correct the values, then try again.",
            request_id=failure.request_id,
        )
    )

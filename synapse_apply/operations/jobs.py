"""How jobs are listed, filtered, followed and updated, in both vocabularies that servers use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from synapse_apply.applying.logs.following import POLL_INTERVAL, FollowOptions
from synapse_apply.applying.logs.tailing import LogListener, LogTailer
from synapse_apply.kinds.descriptor import JobCalls
from synapse_apply.kinds.job_lists import (
    JobOwners,
    iter_jobs_at_least_since,
    to_utc_taking_naive_as_utc,
)
from synapse_apply.kinds.wire import require_remote_id_of_answer
from synapse_apply.live.live_backend import (
    LiveBackend,
    build_malformed_id_error,
    build_not_found_or_hidden_error,
    find_recorded_id_or_none_but_raise_for_address,
    list_by_code_else_by_listed_code_or_name,
    parse_typed_id_or_none_for_name,
    record_audit_entry_if_state_exists_or_warn,
    require_live_object_where_absence_can_be_told,
    resolve_v1_plugin_id_or_keep_given,
)
from synapse_apply.model.coding.json_types import JsonObject
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import (
    Effect,
    InputError,
    Invalid,
    NotFound,
    OutcomeUnknown,
    RemoteError,
    describe_failure_without_request_id_and_effect,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import (
    PLATFORM_WORDS,
    ChangedJob,
    Job,
    JobStatus,
    list_words_of_known_status,
    parse_job_requiring_usable_id,
)
from synapse_apply.model.remote.log_lines import LogLine


@frozen
class JobFilter:
    """Which jobs to list; a field left empty filters nothing. `plugin` is an id, name or code."""

    status: JobStatus | None = None
    plugin: str = ""
    created_after: datetime | None = None
    user: str = ""


@frozen
class JobReport:
    """The fields of a job to update; a field that is None stays as it is."""

    status: JobStatus | None = None
    progress: float | None = None
    result: Any = None
    metadata: Mapping[str, Any] | None = None


@frozen
class FollowSettings:
    """Seconds between two reads of a job, and seconds until following ends (None: never)."""

    interval: float = POLL_INTERVAL
    timeout: float | None = None

    def to_follow_options(self) -> FollowOptions:
        return FollowOptions(self.interval, self.timeout, time.sleep, time.monotonic)


def iter_distinct_jobs_matching_filter(
    live_backend: LiveBackend, job_filter: JobFilter
) -> Iterator[Job]:
    """Every matching job, once, in the backend's order; pages are read as they are needed.

    InputError where the backend ignores the filter by plugin, or none is listed and it can tell
    that there is no such plugin.
    """
    query: dict[str, Any] = {}
    plugin_id = (
        _find_single_plugin_id_or_none(live_backend, job_filter.plugin)
        if job_filter.plugin
        else None
    )
    if job_filter.plugin:
        query["plugin"] = (
            resolve_v1_plugin_id_or_keep_given(live_backend, plugin_id)
            if plugin_id
            else job_filter.plugin
        )
        # Jobs are v1's: the id that they show is compared with an id of v1 alone.
        plugin_id = plugin_id if query["plugin"] == plugin_id else None
    if job_filter.user:
        query["user"] = job_filter.user
    owners = JobOwners(live_backend.api)
    seen_ids: set[str] = set()
    plugin_names: set[str] = set()
    for raw in _iter_jobs_trying_both_status_words(live_backend, query, job_filter):
        job = _parse_job_or_raise_remote_error(raw)
        # A server may pass over a filter it does not know, and a list moves while it is read.
        if job.id in seen_ids or not _may_match_filter(job, job_filter):
            continue
        job = owners.with_plugin_and_version_of_release(job)
        if job_filter.plugin:
            # A code that the API cannot look up is compared with those that jobs show.
            if owners.certainly_runs_other_plugin(job, plugin_id or str(query["plugin"])):
                continue
            plugin_names.add(job.plugin_code or job.plugin)
            if plugin_id is None and len(plugin_names) > 1:
                raise InputError.from_summary(
                    "This backend does not list jobs by the code of their plugin",
                    f"It answers jobs of other plugins than {job_filter.plugin!r}, too.",
                    "Give the plugin's id, as --plugin id=123.",
                )
        seen_ids.add(job.id)
        yield job
    if job_filter.plugin and not seen_ids:
        require_live_object_where_absence_can_be_told(live_backend, "plugin", job_filter.plugin)


def require_job(live_backend: LiveBackend, job_id: str, expand: tuple[str, ...] = ()) -> Job:
    """One job, with the `expand` fields; InputError when there is none."""
    job_calls = _select_job_calls_by_id(live_backend, job_id)
    # API v2 shows a job whole, and has no such parameter.
    is_expandable = job_calls is live_backend.api
    params = {"expand": ",".join(expand)} if expand and is_expandable else None
    with _convert_unknown_job_errors_in_block(job_id):
        return JobOwners(live_backend.api).with_plugin_and_version_of_release(
            _parse_job_or_raise_remote_error(job_calls.get_job(job_id, params))
        )


def build_log_listener(
    on_line: Callable[[LogLine], None],
    on_job: Callable[[Job], None] | None,
    on_note: Callable[[str], None] | None,
) -> LogListener:
    """What is called with the lines of a log, the job, and notes; None for what nobody needs."""
    return LogListener(on_line, on_job or (lambda _job: None), on_note or (lambda _note: None))


def pass_current_job_log_to(
    live_backend: LiveBackend, job_id: str, listener: LogListener, last_lines: int | None = None
) -> None:
    """Pass the log so far, or its last lines, to `listener`; InputError without such a job."""
    with _convert_unknown_job_errors_in_block(job_id):
        LogTailer(
            _select_job_calls_by_id(live_backend, job_id),
            job_id,
            FollowSettings().to_follow_options(),
            listener,
            last_lines,
        ).show_current_log()


def follow_job_log_until_end_or_timeout(
    live_backend: LiveBackend,
    job_id: str,
    settings: FollowSettings,
    listener: LogListener,
    last_lines: int | None = None,
) -> Job:
    """Pass the log's lines to `listener` until the job ends or the time is up.

    Returns the job as it was last read; InputError without such a job.
    """
    with _convert_unknown_job_errors_in_block(job_id):
        return LogTailer(
            _select_job_calls_by_id(live_backend, job_id),
            job_id,
            settings.to_follow_options(),
            listener,
            last_lines,
        ).follow_log()


def update_job_once_and_audit(
    live_backend: LiveBackend, job_id: str, report: JobReport
) -> ChangedJob:
    """Update a job in its server's vocabulary.

    InputError for what the server refuses, OutcomeUnknown when its answer was lost.
    """
    body = _build_update_body(require_job(live_backend, job_id), report)
    try:
        answer = live_backend.api.update_job(job_id, body)
    except RemoteError as failure:
        is_outcome_unknown = failure.effect is Effect.UNKNOWN
        record_audit_entry_if_state_exists_or_warn(
            live_backend,
            "update",
            f"job/{job_id}",
            job_id,
            "unknown" if is_outcome_unknown else "failed",
        )
        raise (
            _build_outcome_unknown_error(job_id, failure)
            if is_outcome_unknown
            else _choose_refusal_or_original_error(failure)
        ) from None
    audit_warning = record_audit_entry_if_state_exists_or_warn(
        live_backend, "update", f"job/{job_id}", job_id, "done"
    )
    return ChangedJob(
        _parse_job_or_raise_remote_error(answer) if answer else require_job(live_backend, job_id),
        audit_warning,
    )


def _select_job_calls_by_id(live_backend: LiveBackend, job_id: str) -> JobCalls:
    """The calls of the API version that this job id belongs to."""
    jobs_of = live_backend.select_binding("release").select_job_calls
    return jobs_of(live_backend.api, job_id) if jobs_of is not None else live_backend.api


@contextmanager
def _convert_unknown_job_errors_in_block(job_id: str) -> Iterator[None]:
    """Turn the server's answers to an unknown or malformed job id into InputError."""
    hint = Text(Command("jobs list"), " shows those there are.")
    try:
        yield
    except NotFound as failure:
        raise build_not_found_or_hidden_error("job", job_id, failure, hint) from None
    except Invalid as failure:
        if failure.status_code:
            raise
        raise build_malformed_id_error("job", job_id, failure, hint) from None


def _find_single_plugin_id_or_none(live_backend: LiveBackend, text: str) -> str | None:
    """The id of a plugin given by id, recorded name or code; None for a code without a lookup."""
    plugin_id = parse_typed_id_or_none_for_name(
        "plugin", text
    ) or find_recorded_id_or_none_but_raise_for_address(live_backend, "plugin", text)
    if plugin_id is not None:
        return plugin_id
    matches = list_by_code_else_by_listed_code_or_name(
        live_backend, live_backend.select_binding("plugin"), text
    )
    return require_remote_id_of_answer(matches[0]) if len(matches) == 1 else None


def _iter_jobs_trying_both_status_words(
    live_backend: LiveBackend, query: Mapping[str, Any], job_filter: JobFilter
) -> Iterator[Mapping[str, Any]]:
    """Query by the API page's word for the status, then by the platform's if none is found."""
    since = job_filter.created_after
    if job_filter.status is None:
        yield from iter_jobs_at_least_since(live_backend.api, query, since)
        return
    # A server that knows only the other vocabulary answers 400, or lists nothing.
    has_jobs, refusal = False, None
    for word in list_words_of_known_status(job_filter.status):
        try:
            for raw in iter_jobs_at_least_since(live_backend.api, {**query, "status": word}, since):
                has_jobs = True
                yield raw
        except Invalid as failure:
            if has_jobs or failure.status_code != 400:
                raise
            refusal = failure
            continue
        refusal = None
        if has_jobs:
            return
    if refusal is not None:
        raise refusal


def _may_match_filter(job: Job, job_filter: JobFilter) -> bool:
    """False where a field of the job contradicts the filter; the plugin is not compared here."""
    if job_filter.status is not None and job.status is not job_filter.status:
        return False
    user = job.raw.get("user")
    if job_filter.user and isinstance(user, str | int) and str(user) != job_filter.user:
        return False
    created_at = _parse_utc_moment_or_none(job.created)
    return not (
        job_filter.created_after
        and created_at
        and created_at < to_utc_taking_naive_as_utc(job_filter.created_after)
    )


def _parse_utc_moment_or_none(text: str) -> datetime | None:
    try:
        return to_utc_taking_naive_as_utc(datetime.fromisoformat(text))
    except ValueError:
        return None


def _parse_job_or_raise_remote_error(raw: object) -> Job:
    try:
        return parse_job_requiring_usable_id(raw if isinstance(raw, Mapping) else {})
    except ValueError as problem:
        raise RemoteError(f"jobs: {problem}") from None


def _build_update_body(job: Job, report: JobReport) -> JsonObject:
    """The request body of an update, in the API page's fields or in the platform's.

    The platform replaces whole objects and stores facts of its own in them, so they are merged.
    """
    # The platform writes statuses in upper case, the API page in lower case.
    is_platform = str(job.raw.get("status", "")).isupper()
    body: dict[str, Any] = {}
    if report.status is not None:
        body["status"] = PLATFORM_WORDS[report.status] if is_platform else report.status.value
    if report.progress is not None and is_platform:
        progress_record = _get_mapping_or_empty(job.raw, "progress_record")
        current = {
            **_get_mapping_or_empty(progress_record, "current_progress"),
            "overall": report.progress,
        }
        body["progress_record"] = {**progress_record, "current_progress": current}
    elif report.progress is not None:
        body["progress"] = report.progress
    if report.result is not None:
        body["result"] = report.result
    if report.metadata is not None and is_platform:
        body["meta"] = {**_get_mapping_or_empty(job.raw, "meta"), **report.metadata}
    elif report.metadata is not None:
        body["metadata"] = dict(report.metadata)
    return body


def _get_mapping_or_empty(source: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = source.get(name)
    return value if isinstance(value, Mapping) else {}


def _build_outcome_unknown_error(job_id: str, failure: RemoteError) -> OutcomeUnknown:
    return OutcomeUnknown.from_summary(
        "It is not known whether the job was updated",
        describe_failure_without_request_id_and_effect(failure),
        Text("It is not sent again. Check: ", Command("jobs get", job_id), "."),
        request_id=failure.request_id,
    )


def _choose_refusal_or_original_error(failure: RemoteError) -> Exception:
    if failure.status_code not in {400, 409, 422}:
        return failure
    return InputError.from_summary(
        "The backend refuses this update",
        describe_failure_without_request_id_and_effect(failure),
        "An ended job stays as it ended; correct the values, then try again.",
        request_id=failure.request_id,
    )

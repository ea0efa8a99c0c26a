"""How jobs are listed, followed, updated, stopped and started by hand: the commands `jobs`, `run`.

Servers use two vocabularies, of the API page and of the platform; both are understood.

A run makes a job, which no manifest declares and no record remembers, so there is no address
that an open intent could block and nothing that the next apply would look up. Instead of an
intent: the job's id is printed as soon as it is known; the call is noted in the audit of the
state, where there is one; and a lost answer ends in an error that says how to look for the
job. Runs that a manifest asks for have intents.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from synapse_apply.applying import logs
from synapse_apply.kinds import plugin as plugin_kind
from synapse_apply.kinds import release as release_kind
from synapse_apply.kinds.descriptor import JobCalls
from synapse_apply.kinds.job_lists import JobOwners, iter_jobs_at_least_since, to_utc
from synapse_apply.kinds.run_forms import describe_actions, list_action_names, list_missing_inputs
from synapse_apply.kinds.wire import require_remote_id_of_answer
from synapse_apply.live.live_backend import LiveBackend, build_malformed_id_error, not_found_error
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import (
    Effect,
    InputError,
    Invalid,
    NotApproved,
    NotFound,
    OutcomeUnknown,
    RemoteError,
    advise_on_failure,
    advising,
    describe_failure,
)
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.job import (
    EXPANDABLE_FIELDS,
    PLATFORM_WORDS,
    Job,
    JobStatus,
    build_poll_request,
    derive_run_status,
    list_status_words,
    parse_job,
)
from synapse_apply.model.json_types import JsonObject, RequestBody, ServerAnswer, ServerObject
from synapse_apply.model.phrases import format_time_after
from synapse_apply.model.plan import Plan
from synapse_apply.model.remote import LogLine
from synapse_apply.operations.connection import (
    PartOfTarget,
    require_count,
    require_names,
    require_seconds,
    require_text,
)

_PLUGIN, _RELEASE = plugin_kind.PREFIX, release_kind.PREFIX
# One page of running jobs: a backend that runs more at once is looked at with `get jobs`.
_PAGE_SIZE = 100
# Jobs are listed by API v1, and name objects by their ids there.
_JOB_API = "v1"
_AGENT_FAILURES = frozenset({502, 503, 504})
# Clocks of servers differ from ours; who looks for a lost job must not miss it for that.
_CLOCK_TOLERANCE = timedelta(minutes=2)
_NOT_SENT = "Nothing was sent. Run the command again."
_LIST_HINT = Text(Command("get jobs"), " lists the jobs.")


@frozen
class JobFilter:
    """Which jobs to list; a field left empty filters nothing. `plugin` is an id, name or code."""

    status: JobStatus | None = None
    plugin: str = ""
    created_after: datetime | None = None
    user: str = ""


@frozen
class StartedRun:
    """The answer to a run: its job, or None where the server answered without one.

    `status` of an answer without a job is how the run went; `plugin` and `body` are what was sent.
    """

    job: Job | None
    answer: ServerAnswer
    plugin: int | str = ""
    body: RequestBody = field(default_factory=dict)

    @property
    def status(self) -> JobStatus:
        return self.job.status if self.job else derive_run_status(self.answer)

    @property
    def has_result_ticket(self) -> bool:
        """Whether the answer has a ticket with which its result can be polled."""
        return self.job is None and build_poll_request(self.body, self.answer) is not None


@frozen
class OwnedJob:
    """A running job, and the address of the plugin or release of the plan that it runs."""

    job: Job
    owner: Address


@frozen
class RunningJobs:
    """The running jobs of a plan's plugins, newest first as far as the backend orders them.

    `is_cut` says that the backend runs more jobs than were read, of which some may be of these
    plugins, too. `unread_reason` is a phrase why the jobs are not known, "" where they are.
    """

    jobs: tuple[OwnedJob, ...] = ()
    is_cut: bool = False
    unread_reason: str = ""


class TargetJobs(PartOfTarget):
    """The jobs of a target, as `OpenTarget.jobs` returns it: each is one run of a plugin.

    Needs no manifests. A state, where there is one, tells the ids of recorded names, and notes the
    calls that change something; `warn` gets a finding where it could not be noted.
    """

    def iter_jobs(
        self,
        *,
        status: JobStatus | None = None,
        plugin: str = "",
        created_after: datetime | None = None,
        user: str = "",
        limit: int | None = None,
    ) -> Iterator[Job]:
        """Iterate over matching jobs, in the backend's order. It reads pages on demand.

        `plugin` is a recorded name, a code, or `id=123`; `user` is an id. A time without a zone is
        UTC. InputError where there is no such plugin, as far as the backend can tell, and where it
        cannot list jobs by it.
        """
        job_filter = JobFilter(
            status, require_text("plugin", plugin), created_after, require_text("user", user)
        )
        if limit is not None:
            require_count("limit", limit)
        with self._connection.live() as live_backend:
            jobs = iter_matching_jobs(live_backend, job_filter)

        def iter_guarded() -> Iterator[Job]:
            # Each page is read as by a method of its own.
            while True:
                with self._connection.guarded():
                    job = next(jobs, None)
                if job is None:
                    return
                yield job

        return islice(iter_guarded(), limit)

    def find_running_jobs_or_none(self, plan: Plan) -> RunningJobs | None:
        """Find the jobs that run plugins of a plan now; None if no plugin is live.

        One request, which is not repeated: where the backend does not answer with its jobs, the
        result has a phrase why. Needs what `plan` needs.
        """
        with self._connection.ready(read_only=True) as session:
            owners: dict[tuple[str, str], Address] = {}
            for change in plan.changes:
                kind = change.address.kind
                if change.remote_id and change.api == _JOB_API and kind in (_PLUGIN, _RELEASE):
                    owners[kind, change.remote_id] = change.address
                code = (change.before or {}).get("code") if kind == _PLUGIN else None
                if change.remote_id and code:
                    owners["code", str(code)] = change.address
            if not owners:
                return None

            def read_page(status: str) -> Sequence[ServerObject]:
                query = {"status": status, "ordering": "-created", "page_size": _PAGE_SIZE}
                return session.backend.api.list_jobs(query, repeat=False).jobs

            words = list_status_words(JobStatus.RUNNING)
            try:
                try:
                    page = read_page(words[0])
                # A server may refuse the word for the status, and know another one.
                except Invalid:
                    if len(words) == 1:
                        raise
                    page = read_page(words[1])
            except RemoteError as failure:
                status = failure.status_code or "no answer"
                reason = _UNREAD_REASONS.get(failure.status_code, "the backend did not list them")
                return RunningJobs(unread_reason=f"{reason} ({status})")
            owned: dict[str, OwnedJob] = {}
            for raw in page:
                try:
                    job = parse_job(raw)
                except (ValueError, RemoteError):
                    continue
                # One that names neither its plugin nor a release of the plan is left out.
                named = (
                    (_RELEASE, job.release),
                    (_PLUGIN, job.plugin),
                    ("code", job.plugin_code),
                    ("code", job.plugin),
                )
                owner = next((owners[name] for name in named if name in owners), None)
                # A server may pass over a filter that it does not know.
                if job.status is JobStatus.RUNNING and owner is not None:
                    owned.setdefault(job.id, OwnedJob(job, owner))
            return RunningJobs(tuple(owned.values()), is_cut=len(page) >= _PAGE_SIZE)

    def read_job(self, job_id: str, *, expand: Sequence[str] = ()) -> Job:
        """Read one job. Raises InputError if the job does not exist.

        `expand` asks for more of it: `logs`, `metrics`, `result`.
        """
        job_id, fields = require_text("job_id", job_id), require_names("expand", expand)
        for name in fields:
            if name not in EXPANDABLE_FIELDS:
                raise InputError.from_summary(
                    "A job has no such field to expand",
                    f"{name!r} is not one of {', '.join(EXPANDABLE_FIELDS)}.",
                )
        with self._connection.live() as live_backend:
            return _require_job(live_backend, job_id, fields)

    def show_log(
        self,
        job_id: str,
        on_line: Callable[[LogLine], None],
        *,
        on_note: Callable[[str], None] | None = None,
        tail: int | None = None,
    ) -> None:
        """Call `on_line` with each line of a job's current log.

        `tail`: only so many of the last lines. `on_note` gets what is said of calls that failed
        and are made again.
        """
        with self._tailing(job_id, on_line, None, on_note, tail) as tailer:
            tailer.show_current_log()

    def follow_log(
        self,
        job_id: str,
        on_line: Callable[[LogLine], None],
        *,
        on_job: Callable[[Job], None] | None = None,
        on_note: Callable[[str], None] | None = None,
        tail: int | None = None,
        interval: float = logs.POLL_INTERVAL,
        timeout: float | None = None,
    ) -> Job:
        """Call `on_line` with each line of a job's log until the job ends; returns the job.

        `on_job` gets the job each time it was read, every `interval` seconds. After `timeout`
        seconds the job is returned as it is then. Otherwise as `show_log`.
        """
        with self._tailing(job_id, on_line, on_job, on_note, tail, interval, timeout) as tailer:
            return tailer.follow_log()

    @contextmanager
    def _tailing(
        self,
        job_id: str,
        on_line: Callable[[LogLine], None],
        on_job: Callable[[Job], None] | None,
        on_note: Callable[[str], None] | None,
        tail: int | None,
        interval: float = logs.POLL_INTERVAL,
        timeout: float | None = None,
    ) -> Iterator[logs.LogTailer]:
        job_id, options = require_text("job_id", job_id), _follow_options(interval, timeout)
        listener = logs.LogListener(
            on_line, on_job or (lambda _: None), on_note or (lambda _: None)
        )
        with self._connection.live() as live_backend, _naming_unknown_job(job_id):
            yield logs.LogTailer(_job_calls(live_backend, job_id), job_id, options, listener, tail)

    def update_job(
        self,
        job_id: str,
        *,
        status: JobStatus | None = None,
        progress: float | None = None,
        result: Any = None,
        metadata: Mapping[str, Any] | None = None,
        warn: Callable[[Diagnostic], None] | None = None,
    ) -> Job:
        """Update a job's status, progress, result or metadata, and return the job.

        It starts and stops nothing. What is None stays as it is; `progress` is in percent.
        InputError for what the server refuses, OutcomeUnknown where its answer was lost.
        """
        job_id = require_text("job_id", job_id)
        if all(each is None for each in (status, progress, result, metadata)):
            raise InputError.from_summary(
                "There is nothing to report on the job",
                "status, progress, result and metadata are None.",
            )
        with self._connection.live() as live_backend:
            job = _require_job(live_backend, job_id)
            body = _build_update_body(job, status, progress, result, metadata)
            try:
                with _audited(live_backend, "update", job_id):
                    answer = live_backend.api.update_job(job_id, body)
            except RemoteError as failure:
                if failure.status_code not in {400, 409, 422}:
                    raise
                raise InputError.from_summary(
                    "The backend refuses this update",
                    describe_failure(failure),
                    "A job that has ended does not change. Correct the values, then try again.",
                    request_id=failure.request_id,
                ) from None
            warning = live_backend.audit("update", f"job/{job_id}", job_id, "done")
            job = _parse_job(answer) if answer else _require_job(live_backend, job_id)
        _pass_warning(warning, warn)
        return job

    def stop_job(
        self,
        job_id: str,
        *,
        confirm: Callable[[Job], bool] | None = None,
        warn: Callable[[Diagnostic], None] | None = None,
    ) -> Job:
        """Stop a job that has not ended (API v2), and return the job.

        `confirm` gets the job before the call; where it returns False, NotApproved is raised.
        InputError without such a job and for what the server refuses, OutcomeUnknown where its
        answer was lost.
        """
        job_id = require_text("job_id", job_id)
        with self._connection.live() as live_backend:
            job = _require_stoppable_job(live_backend, job_id)
            if confirm is not None and not confirm(job):
                raise NotApproved.from_summary(f"Job {job.id} was not stopped", "confirm said no.")
            try:
                with _audited(live_backend, "stop", job.id):
                    answer = live_backend.api.v2.stop_job(job.id)
            except RemoteError as failure:
                summary, hint = _STOP_FAILURES.get(
                    failure.status_code, ("The job was not stopped", "Try again.")
                )
                raise InputError.from_summary(
                    summary,
                    describe_failure(failure),
                    hint or Text(Command("get job", job.id), " shows how."),
                    request_id=failure.request_id,
                ) from None
            warning = live_backend.audit("stop", f"job/{job.id}", job.id, "done")
            with suppress(ValueError):  # as it was before, where the answer shows none
                job = parse_job(answer)
        _pass_warning(warning, warn)
        return job

    def run_plugin(
        self,
        plugin: str,
        *,
        version: str = "",
        parameters: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        action: str = "",
        agent: int | None = None,
        on_start: Callable[[StartedRun], None] | None = None,
        warn: Callable[[Diagnostic], None] | None = None,
    ) -> StartedRun:
        """Run a plugin, and return its job, or the answer if the server returned no job.

        `plugin` is a recorded name, a code, or `id=123`; `action`, `agent` and `version` make the
        form of the real platform. The call is sent once. `on_start` gets the run as soon as it was
        started, before anything else can fail. InputError where it was not started, OutcomeUnknown
        where nobody can tell; a KeyboardInterrupt has a note that says which.
        """
        names = require_text("plugin", plugin), require_text("action", action)
        version = require_text("version", version)
        with self._connection.live() as live_backend:
            run = _Run(
                live_backend, names[0], dict(parameters or {}), dict(context or {}), names[1],
                agent, version,
            )  # fmt: skip
            started_run = run.send()
            with advising("The run was started; the same command would start another."):
                if on_start is not None:
                    on_start(started_run)
                warning = run.audit("done", started_run.job.id if started_run.job else "")
                _pass_warning(warning, warn)
        return started_run

    def wait_for_result(
        self,
        started_run: StartedRun,
        *,
        interval: float = logs.POLL_INTERVAL,
        timeout: float | None = None,
    ) -> StartedRun:
        """Wait for the result of a run that has no job (`has_result_ticket`).

        Asks every `interval` seconds, for at most `timeout` seconds; returns the run as it is then.
        """
        options = _follow_options(interval, timeout)
        with self._connection.live() as live_backend:
            answer = logs.poll_deferred_run(
                lambda question: live_backend.api.run_plugin(started_run.plugin, question),
                started_run.body,
                started_run.answer,
                options,
            )
        return replace(started_run, answer=answer)


def _follow_options(interval: float, timeout: float | None) -> logs.FollowOptions:
    interval = require_seconds("interval", interval)
    timeout = None if timeout is None else require_seconds("timeout", timeout)
    return logs.FollowOptions(interval, timeout, time.sleep, time.monotonic)


def _pass_warning(warning: Diagnostic | None, warn: Callable[[Diagnostic], None] | None) -> None:
    if warning is not None and warn is not None:
        warn(warning)


def iter_matching_jobs(live_backend: LiveBackend, job_filter: JobFilter) -> Iterator[Job]:
    """Every matching job, once, in the backend's order; pages are read as they are needed.

    InputError where the backend ignores the filter by plugin, or none is listed and it can tell
    that there is no such plugin.
    """
    query: dict[str, Any] = {}
    plugin_id = _find_plugin_id(live_backend, job_filter.plugin) if job_filter.plugin else None
    if job_filter.plugin:
        query["plugin"] = (
            live_backend.plugin_id_of_v1(plugin_id) if plugin_id else job_filter.plugin
        )
        # Jobs are v1's: the id that they show is compared with an id of v1 alone.
        plugin_id = plugin_id if query["plugin"] == plugin_id else None
    if job_filter.user:
        query["user"] = job_filter.user
    owners = JobOwners(live_backend.api)
    seen_ids: set[str] = set()
    plugin_names: set[str] = set()
    for raw in _iter_jobs_in_either_word(live_backend, query, job_filter):
        job = _parse_job(raw)
        # A server may pass over a filter it does not know, and a list moves while it is read.
        if job.id in seen_ids or not _may_match(job, job_filter):
            continue
        job = owners.with_plugin_of_release(job)
        if job_filter.plugin:
            # A code that the API cannot look up is compared with those that jobs show.
            if owners.runs_other_plugin(job, plugin_id or str(query["plugin"])):
                continue
            plugin_names.add(job.plugin_code or job.plugin)
            if plugin_id is None and len(plugin_names) > 1:
                raise InputError.from_summary(
                    "This backend does not list jobs by the code of their plugin",
                    f"It also returned jobs of plugins other than {job_filter.plugin!r}.",
                    "Use the plugin's id instead, such as --plugin id=123.",
                )
        seen_ids.add(job.id)
        yield job
    if job_filter.plugin and not seen_ids:
        live_backend.find_if_told(_PLUGIN, job_filter.plugin)


def _find_plugin_id(live_backend: LiveBackend, text: str) -> str | None:
    """The id of a plugin given by id, recorded name or code; None for a code without a lookup."""
    if (plugin_id := live_backend.known_id(_PLUGIN, text)) is not None:
        return plugin_id
    matches = live_backend.search(_PLUGIN, text)
    return require_remote_id_of_answer(matches[0]) if len(matches) == 1 else None


def _iter_jobs_in_either_word(
    live_backend: LiveBackend, query: Mapping[str, Any], job_filter: JobFilter
) -> Iterator[Mapping[str, Any]]:
    """Query by the API page's word for the status, then by the platform's if none is found."""
    since = job_filter.created_after
    if job_filter.status is None:
        yield from iter_jobs_at_least_since(live_backend.api, query, since)
        return
    # A server that knows only the other vocabulary answers 400, or lists nothing.
    has_jobs, refusal = False, None
    for word in list_status_words(job_filter.status):
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


def _may_match(job: Job, job_filter: JobFilter) -> bool:
    """False where a field of the job contradicts the filter; the plugin is not compared here."""
    user, since = job.raw.get("user"), job_filter.created_after
    is_other_user = isinstance(user, str | int) and str(user) != job_filter.user
    if job_filter.status not in (None, job.status) or (job_filter.user and is_other_user):
        return False
    try:
        return since is None or to_utc(datetime.fromisoformat(job.created)) >= to_utc(since)
    except ValueError:
        return True


def _parse_job(raw: object) -> Job:
    try:
        return parse_job(raw if isinstance(raw, Mapping) else {})
    except ValueError as problem:
        raise RemoteError(f"jobs: {problem}") from None


def _require_job(live_backend: LiveBackend, job_id: str, expand: tuple[str, ...] = ()) -> Job:
    """One job, with the `expand` fields; InputError when there is none."""
    job_calls = _job_calls(live_backend, job_id)
    # API v2 shows a job whole, and has no such parameter.
    is_expandable = job_calls is live_backend.api
    params = {"expand": ",".join(expand)} if expand and is_expandable else None
    with _naming_unknown_job(job_id):
        return JobOwners(live_backend.api).with_plugin_of_release(
            _parse_job(job_calls.get_job(job_id, params))
        )


def _job_calls(live_backend: LiveBackend, job_id: str) -> JobCalls:
    """The calls of the API version that this job id belongs to."""
    jobs_of = live_backend.select_binding("release").select_job_calls
    return jobs_of(live_backend.api, job_id) if jobs_of is not None else live_backend.api


@contextmanager
def _naming_unknown_job(job_id: str) -> Iterator[None]:
    """Turn the server's answers to an unknown or malformed job id into InputError."""
    try:
        yield
    except NotFound as failure:
        raise not_found_error("job", job_id, failure, _LIST_HINT) from None
    except Invalid as failure:
        if failure.status_code:
            raise
        raise build_malformed_id_error("job", job_id, failure, _LIST_HINT) from None


def _build_update_body(
    job: Job,
    status: JobStatus | None,
    progress: float | None,
    result: Any,
    metadata: Mapping[str, Any] | None,
) -> JsonObject:
    """The request body of an update, in the API page's fields or in the platform's.

    The platform replaces whole objects and stores facts of its own in them, so they are merged.
    """

    def mapping(source: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        value = source.get(name)
        return value if isinstance(value, Mapping) else {}

    body: dict[str, Any] = {}
    # The platform writes statuses in upper case, the API page in lower case.
    if str(job.raw.get("status", "")).isupper():
        record = mapping(job.raw, "progress_record")
        current = {**mapping(record, "current_progress"), "overall": progress}
        if status is not None:
            body["status"] = PLATFORM_WORDS[status]
        if progress is not None:
            body["progress_record"] = {**record, "current_progress": current}
        if metadata is not None:
            body["meta"] = {**mapping(job.raw, "meta"), **metadata}
    else:
        if status is not None:
            body["status"] = status.value
        if progress is not None:
            body["progress"] = progress
        if metadata is not None:
            body["metadata"] = dict(metadata)
    return body if result is None else {**body, "result": result}


# By API v2 alone, with one call that is never repeated.
def _require_stoppable_job(live_backend: LiveBackend, job_id: str) -> Job:
    """Read a job that can be stopped; InputError where there is none, or this API stops none."""
    jobs_of = live_backend.select_binding("release").select_job_calls
    if jobs_of is None or jobs_of(live_backend.api, job_id) is live_backend.api:
        detail = (
            f"Target {live_backend.target.name} uses API v1, which has no call that stops a job."
        )
        hint = "Stop it in Synapse, or set `api: v2` for the target and use the job's UUID."
        if jobs_of is not None:
            detail = f"{job_id!r} is an id of API v1, which has no call that stops a job."
            hint = "Use the job's UUID, which Synapse shows: API v2 accepts no other id."
        raise InputError.from_summary(
            "API v1 cannot stop a job", f"{detail} Reporting `stopped` would not stop it.", hint
        )
    try:
        job = parse_job(live_backend.api.v2.get_job(job_id))
    except NotFound as failure:
        raise not_found_error("job", job_id, failure, _LIST_HINT) from None
    except ValueError as problem:
        raise RemoteError(f"GET jobs/{job_id}/: {problem}") from None
    if job.status.has_ended:
        raise InputError.from_summary(
            "The job has ended",
            f"Job {job_id} {job.status.value}; there is nothing to stop.",
            Text(Command("get job", job_id), " shows how."),
        )
    return job


@contextmanager
def _audited(live_backend: LiveBackend, verb: str, job_id: str) -> Iterator[None]:
    """Note a call that fails in the audit; OutcomeUnknown where its answer was lost."""
    try:
        yield
    except RemoteError as failure:
        is_unknown = failure.effect is Effect.UNKNOWN
        ending = "unknown" if is_unknown else "failed"
        live_backend.audit(verb, f"job/{job_id}", job_id, ending)
        if not is_unknown:
            raise
        detail, past = describe_failure(failure), "updated"
        if verb == "stop":
            past = "stopped"
            if failure.status_code in _AGENT_FAILURES:
                detail = f"The backend had a problem with the agent that runs the job: {detail}"
        raise OutcomeUnknown.from_summary(
            f"It is unknown whether the job was {past}",
            detail,
            Text("The tool does not send the call again. Check: ", Command("get job", job_id), "."),
            request_id=failure.request_id,
        ) from None


_AGENT_AWAY = "The agent of the job does not answer", "Check the agent, then try again."
# By status: what happened, and what to do; without that, how to look at the job.
_STOP_FAILURES = {
    403: (
        "This token does not have permission to stop the job",
        "Only the job's owner, and owners and administrators of the workspace, can stop the job.",
    ),
    404: (
        "The job has no agent that could stop it",
        "The job exists, but its agent was not found. Check the agent in Synapse.",
    ),
    405: (
        "This backend cannot stop jobs",
        "The backend is too old. Stop the job in Synapse.",
    ),
    409: ("The job has ended", ""),
    **dict.fromkeys(_AGENT_FAILURES, _AGENT_AWAY),
}
_UNREAD_REASONS = {
    403: "its token may not list jobs",
    404: "the backend has no list of jobs",
    405: "the backend has no list of jobs",
    429: "the backend limits requests",
}


@frozen
class _Run:
    """A run to start by hand.

    `plugin` is an id, a recorded name or address, or a code. `action`, `agent` and `version` are
    the platform's own fields; any of them selects the platform's form of the request.
    """

    live_backend: LiveBackend
    plugin: str
    parameters: Mapping[str, Any]
    context: Mapping[str, Any]
    action: str
    agent: int | None
    version: str

    def build_body(self) -> JsonObject:
        """The request body in the API page's form, or in the platform's if it has such fields."""
        platform_fields = {"action": self.action, "agent": self.agent, "version": self.version}
        given = {name: value for name, value in platform_fields.items() if value not in ("", None)}
        if not given:
            return {"parameters": dict(self.parameters), "context": dict(self.context)}
        context = {"context": dict(self.context)} if self.context else {}
        return {"params": dict(self.parameters), **context, **given}

    # Without an intent: its job has no address that an open intent could hold up. The job's id is
    # printed at once, the call is noted in the audit, and a lost answer is exit code 7 with the
    # command that looks for the job.
    def send(self) -> StartedRun:
        """Send the run, once and without a mark, and audit a failure; a refusal is an InputError.

        OutcomeUnknown when nobody can tell whether it started. An interruption, such as a
        KeyboardInterrupt, has a note that says whether the run was sent.
        """
        live_backend, plugin = self.live_backend, self.plugin
        with advising(_NOT_SENT):
            plugin_id = live_backend.known_id(_PLUGIN, plugin)
            run = self if self.action else replace(self, action=self._only_action(plugin_id))
        # Before the call: a lost answer is looked for among jobs from this moment on.
        since = datetime.now(UTC) - _CLOCK_TOLERANCE
        body = run.build_body()
        advice = "The job may have been started; the same command would start another."
        try:
            with advising(_NOT_SENT):
                sent_to: int | str = (
                    live_backend.plugin_id_of_v1(plugin_id) if plugin_id else plugin
                )
            with advising(f"{advice} {run.search_hint(since)}"):
                try:
                    answer = live_backend.api.run_plugin(sent_to, body)
                except Exception:
                    raise
                # Also a Ctrl-C: the server may have the request, and nothing else remembers it.
                except BaseException:
                    run.audit("unknown")
                    raise
        except RemoteError as failure:
            if failure.effect is Effect.UNKNOWN:
                raise run.outcome_unknown(failure, since) from None
            run.audit("failed")
            raise run.refusal(failure) from None
        try:
            return StartedRun(parse_job(answer), answer, sent_to, body)
        except ValueError:
            return StartedRun(None, answer, sent_to, body)
        except RemoteError as failure:
            # The job was started, but its id cannot be used.
            raise run.outcome_unknown(failure, since) from None

    def _only_action(self, plugin_id: str | None) -> str:
        """The release's only action; "" where it lists none, or cannot be read: the server decides.

        InputError where it lists several.
        """
        try:
            actions = list_action_names(self._read_release_config(plugin_id))
        except (RemoteError, InputError):
            return ""
        if len(actions) > 1:
            raise InputError.from_summary(
                "Which action?",
                f"The release of {self.plugin} lists several: {describe_actions(actions)}.",
                f"Choose one, for example --action {shlex.quote(actions[0])}.",
            )
        return actions[0] if actions else ""

    def _read_release_config(self, plugin_id: str | None) -> object:
        """The config of the release that a run will use; None where there is none."""
        api, code = self.live_backend.api, self.plugin
        if plugin_id is not None:
            code = str(self.live_backend.read(_PLUGIN, plugin_id).get("code") or "")
        if not code or code.isdecimal():  # a server may take digits for an id
            return None
        if self.version:
            lookup = f"{code}@{self.version}"
            return api.get_plugin_release_by_lookup(lookup, expand=None).get("config")

        def creation_order(release: Mapping[str, Any]) -> int:
            # Of several without numeric ids, the first is the newest.
            release_id = str(release.get("id"))
            return int(release_id) if release_id.isdecimal() else 0

        releases = api.list_plugin_releases(code)
        # The server takes the newest release where none is named, so that its actions count.
        return max(releases, key=creation_order).get("config") if releases else None

    def audit(self, result: str, job_id: str = "") -> Diagnostic | None:
        """Note the run in the audit of the state; a warning when that fails."""
        plugin_name = self.plugin.removeprefix(f"{_PLUGIN}/")
        version = f"@{self.version}" if self.version else ""
        return self.live_backend.audit("run", f"{_PLUGIN}/{plugin_name}{version}", job_id, result)

    def outcome_unknown(self, failure: RemoteError, since: datetime) -> OutcomeUnknown:
        self.audit("unknown")
        return OutcomeUnknown.from_summary(
            "It is unknown whether the run started",
            describe_failure(failure),
            Text("The tool does not send the call again. ", self.search_hint(since)),
            request_id=failure.request_id,
        )

    def search_hint(self, since: datetime) -> Text:
        """How to look for the job of a run whose answer did not arrive."""
        options = ("--created-after", f"{since:%Y-%m-%dT%H:%M:%SZ}")
        target = self.live_backend.invocation.target or ""
        command = Command("get jobs --plugin", self.plugin, *options, target=target)
        sent_at = since + _CLOCK_TOLERANCE
        seconds = self.live_backend.backend.longest_call(0) + self.live_backend.target.settle_after
        until = format_time_after(sent_at.isoformat(), seconds)
        return Text(
            f"The call was sent at {sent_at:%H:%M:%SZ} and can start a job until {until}. "
            "After that, check whether a job started:\n",
            command,
        )

    def refusal(self, failure: RemoteError) -> Exception:
        if isinstance(failure, NotFound):
            hint = Text(
                "Specify a plugin's code, its id as id=123, or a name that ",
                Command("state show"),
                " shows.",
            )
            return not_found_error(_PLUGIN, self.plugin, failure, hint)
        summary = "The run was not started"
        advice = advise_on_failure(failure, "run it again", "Run it again.")
        if missing_names := list_missing_inputs(failure, self.build_body()):
            names = " and ".join(f"an {each}" for each in missing_names)
            options = " and ".join(f"--{each}" for each in missing_names)
            summary = f"This backend requires {names}"
            advice = (
                f"Specify {options}; the package's config.yaml lists the actions, and Synapse "
                "shows the agents."
            )
        elif failure.status_code in {400, 409, 422}:
            summary = "The backend refuses this run"
            advice = "Correct the parameters, the context or the version, then run it again."
        return InputError.from_summary(
            summary, describe_failure(failure), advice, request_id=failure.request_id
        )

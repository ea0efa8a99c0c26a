"""Which methods a script has for the jobs of one target: what the commands `jobs` and `run` do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from synapse_apply.library.arguments import (
    require_names,
    require_positive_seconds,
    require_text,
    require_whole_number_from_one,
)
from synapse_apply.library.target_connection import TargetConnection
from synapse_apply.model.errors import InputError, NotApproved

if TYPE_CHECKING:
    from synapse_apply.model.diagnostic import Diagnostic
    from synapse_apply.model.job import Job, JobStatus
    from synapse_apply.model.plan import Plan
    from synapse_apply.model.remote.log_lines import LogLine
    from synapse_apply.operations.run import StartedRun
    from synapse_apply.operations.running_jobs import RunningJobs

DEFAULT_INTERVAL = 5.0


class TargetJobs:
    """The jobs of a target, as `OpenTarget.jobs` returns it: each is one run of a plugin.

    Needs no manifests. A state, where there is one, tells the ids of recorded names, and notes the
    calls that change something; `warn` gets a finding where it could not be noted.
    """

    def __init__(self, connection: TargetConnection) -> None:
        """`OpenTarget.jobs` is the way to get one."""
        self._connection = connection

    def iter_jobs(
        self,
        *,
        status: JobStatus | None = None,
        plugin: str = "",
        created_after: datetime | None = None,
        user: str = "",
        limit: int | None = None,
    ) -> Iterator[Job]:
        """Every matching job, in the backend's order; pages are read as they are needed.

        `plugin` is a recorded name, a code, or `id=123`; `user` is an id. A time without a zone is
        UTC. InputError where there is no such plugin, as far as the backend can tell, and where it
        cannot list jobs by it.
        """
        from synapse_apply.operations.jobs import JobFilter, iter_distinct_jobs_matching_filter

        job_filter = JobFilter(
            status, require_text("plugin", plugin), created_after, require_text("user", user)
        )
        if limit is not None:
            require_whole_number_from_one("limit", limit)
        with self._connection.open_or_reuse_live_backend() as live_backend:
            jobs = iter_distinct_jobs_matching_filter(live_backend, job_filter)
        return islice(self._iter_with_converted_errors(jobs), limit)

    def find_running_jobs_or_none(self, plan: Plan) -> RunningJobs | None:
        """The jobs that run plugins of a plan now; None where it has none that is live.

        One request, which is not repeated: where the backend does not answer with its jobs, the
        result has a phrase why. Needs what `plan` needs.
        """
        from synapse_apply.operations.running_jobs import read_running_jobs_or_none_if_nothing_live

        with self._connection.open_or_reuse_session(read_only=True) as session:
            return read_running_jobs_or_none_if_nothing_live(session, plan)

    def _iter_with_converted_errors(self, jobs: Iterator[Job]) -> Iterator[Job]:
        """The same jobs; each page is read as by a method of its own."""
        while True:
            with self._connection.pin_refs_and_convert_errors():
                job = next(jobs, None)
            if job is None:
                return
            yield job

    def read_job(self, job_id: str, *, expand: Sequence[str] = ()) -> Job:
        """One job; InputError where there is none.

        `expand` asks for more of it: `logs`, `metrics`, `result`.
        """
        from synapse_apply.model.job import EXPANDABLE_FIELDS
        from synapse_apply.operations.jobs import require_job

        job_id, fields = require_text("job_id", job_id), require_names("expand", expand)
        for field in fields:
            if field not in EXPANDABLE_FIELDS:
                raise InputError.from_summary(
                    "A job has no such field to expand",
                    f"{field!r} is none of {', '.join(EXPANDABLE_FIELDS)}.",
                )
        with self._connection.open_or_reuse_live_backend() as live_backend:
            return require_job(live_backend, job_id, fields)

    def show_log(
        self,
        job_id: str,
        on_line: Callable[[LogLine], None],
        *,
        on_note: Callable[[str], None] | None = None,
        tail: int | None = None,
    ) -> None:
        """Call `on_line` with each line of a job's log as it is now; InputError without the job.

        `tail`: only so many of the last lines. `on_note` gets what is said of calls that failed
        and are made again.
        """
        from synapse_apply.operations.jobs import build_log_listener, pass_current_job_log_to

        job_id = require_text("job_id", job_id)
        listener = build_log_listener(on_line, None, on_note)
        with self._connection.open_or_reuse_live_backend() as live_backend:
            pass_current_job_log_to(live_backend, job_id, listener, tail)

    def follow_log(
        self,
        job_id: str,
        on_line: Callable[[LogLine], None],
        *,
        on_job: Callable[[Job], None] | None = None,
        on_note: Callable[[str], None] | None = None,
        tail: int | None = None,
        interval: float = DEFAULT_INTERVAL,
        timeout: float | None = None,
    ) -> Job:
        """Call `on_line` with each line of a job's log until the job ends; returns the job.

        `on_job` gets the job each time it was read, every `interval` seconds. After `timeout`
        seconds the job is returned as it is then. Otherwise as `show_log`.
        """
        from synapse_apply.operations.jobs import (
            FollowSettings,
            build_log_listener,
            follow_job_log_until_end_or_timeout,
        )

        job_id = require_text("job_id", job_id)
        settings = FollowSettings(
            require_positive_seconds("interval", interval),
            timeout if timeout is None else require_positive_seconds("timeout", timeout),
        )
        listener = build_log_listener(on_line, on_job, on_note)
        with self._connection.open_or_reuse_live_backend() as live_backend:
            return follow_job_log_until_end_or_timeout(
                live_backend, job_id, settings, listener, tail
            )

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
        """Report on a job, in the words that its server uses; returns the job after that.

        It starts and stops nothing. What is None stays as it is; `progress` is in percent.
        InputError for what the server refuses, OutcomeUnknown where its answer was lost.
        """
        from synapse_apply.operations.jobs import JobReport, update_job_once_and_audit

        job_id = require_text("job_id", job_id)
        job_report = JobReport(status, progress, result, metadata)
        if job_report == JobReport():
            raise InputError.from_summary(
                "Nothing is reported on the job", "status, progress, result and metadata are None."
            )
        with self._connection.open_or_reuse_live_backend() as live_backend:
            job, warning = update_job_once_and_audit(live_backend, job_id, job_report)
        _pass_warning_if_both_are_given(warning, warn)
        return job

    def stop_job(
        self,
        job_id: str,
        *,
        confirm: Callable[[Job], bool] | None = None,
        warn: Callable[[Diagnostic], None] | None = None,
    ) -> Job:
        """Stop a job that has not ended, where the backend can (API v2); returns the job then.

        `confirm` gets the job before the call; where it returns False, NotApproved is raised.
        InputError without such a job and for what the server refuses, OutcomeUnknown where its
        answer was lost.
        """
        from synapse_apply.operations.stop_job import require_stoppable_job, stop_job_once_and_audit

        job_id = require_text("job_id", job_id)
        with self._connection.open_or_reuse_live_backend() as live_backend:
            job = require_stoppable_job(live_backend, job_id)
            if confirm is not None and not confirm(job):
                raise NotApproved.from_summary(f"Job {job.id} was not stopped", "confirm said no.")
            job, warning = stop_job_once_and_audit(live_backend, job)
        _pass_warning_if_both_are_given(warning, warn)
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
        """Run a plugin; returns its job, or the answer of a server that gave none.

        `plugin` is a recorded name, a code, or `id=123`; `action`, `agent` and `version` make the
        form of the real platform. The call is sent once. `on_start` gets the run as soon as it was
        started, before anything else can fail. InputError where it was not started, OutcomeUnknown
        where nobody can tell; a KeyboardInterrupt has a note that says which.
        """
        from synapse_apply.operations.run import (
            RunRequest,
            add_advice_to_interruption,
            audit_started_run_or_warn,
            send_run_once_auditing_only_failures,
        )

        request = RunRequest(
            require_text("plugin", plugin), dict(parameters or {}), dict(context or {}),
            require_text("action", action), agent, require_text("version", version),
        )  # fmt: skip
        with self._connection.open_or_reuse_live_backend() as live_backend:
            started_run = send_run_once_auditing_only_failures(live_backend, request)
            with add_advice_to_interruption(
                "The run was started; the same command would start another."
            ):
                if on_start is not None:
                    on_start(started_run)
                warning = audit_started_run_or_warn(live_backend, request, started_run)
                _pass_warning_if_both_are_given(warning, warn)
        return started_run

    def wait_for_result(
        self,
        started_run: StartedRun,
        *,
        interval: float = DEFAULT_INTERVAL,
        timeout: float | None = None,
    ) -> StartedRun:
        """Ask for the result of a run that has no job (`has_result_ticket`) until it is there.

        Asks every `interval` seconds, for at most `timeout` seconds; returns the run as it is then.
        """
        from synapse_apply.operations.run import poll_run_result_until_timeout

        interval = require_positive_seconds("interval", interval)
        if timeout is not None:
            timeout = require_positive_seconds("timeout", timeout)
        with self._connection.open_or_reuse_live_backend() as live_backend:
            return poll_run_result_until_timeout(live_backend, started_run, interval, timeout)


def _pass_warning_if_both_are_given(
    warning: Diagnostic | None, warn: Callable[[Diagnostic], None] | None
) -> None:
    """Call `warn` with a warning, where there are both."""
    if warning is not None and warn is not None:
        warn(warning)

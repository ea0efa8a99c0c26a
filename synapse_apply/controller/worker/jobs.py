"""What a look tells of the jobs that run for a target's plugins: bounded, and nothing they say."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from synapse_apply.controller.rows import RunningJob, RunningJobsSeen
from synapse_apply.controller.rules.revisions import limit_text
from synapse_apply.library.target import OpenTarget
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.plan import Plan
from synapse_apply.views.sanitize import sanitize

MAX_JOBS, MAX_JOB_TEXT_CHARACTERS = 20, 130


def read_running_jobs(target: OpenTarget, plan: Plan) -> RunningJobsSeen | None:
    """The running jobs of a plan's plugins, by one request; None where it has no live plugin.

    What a job was given and what it says is not in them. Never raises: a look is worth more than
    its jobs.
    """
    try:
        running = target.jobs.find_running_jobs_or_none(plan)
    except SynapseApplyError:
        return RunningJobsSeen(unread_reason="the backend could not be asked")
    if running is None:
        return None
    jobs = tuple(
        RunningJob(
            _format_limited_line(owned.job.id),
            _format_limited_line(str(owned.owner)),
            _format_limited_line(owned.job.version),
            owned.job.progress
            if owned.job.progress is not None and math.isfinite(owned.job.progress)
            else None,
            _parse_moment_or_zero(owned.job.created),
        )
        for owned in running.jobs
    )
    return RunningJobsSeen(
        jobs[:MAX_JOBS], running.is_cut or len(jobs) > MAX_JOBS, running.unread_reason
    )


def _parse_moment_or_zero(text: str) -> float:
    """Seconds since the epoch of a server's time; one without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _format_limited_line(text: str) -> str:
    return limit_text(sanitize(" ".join(text.split())), MAX_JOB_TEXT_CHARACTERS)

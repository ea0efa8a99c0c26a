"""Which jobs run for the plugins of a plan: one request, and words where it is not answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from synapse_apply.kinds import plugin, release
from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import ServerObject
from synapse_apply.model.errors import Forbidden, Invalid, NotFound, RateLimited, RemoteError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import (
    Job,
    JobStatus,
    list_words_of_known_status,
    parse_job_requiring_usable_id,
)
from synapse_apply.model.plan import Change, Plan
from synapse_apply.workspace.target_session import TargetSession

# One page: a backend that runs more at once is looked at with `jobs list`.
_PAGE_SIZE = 100
# Jobs are listed by API v1, and name objects by their ids there.
_JOB_API = "v1"
_METHOD_NOT_ALLOWED = 405


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


def read_running_jobs_or_none_if_nothing_live(
    session: TargetSession, plan: Plan
) -> RunningJobs | None:
    """The jobs that run plugins of a plan; None where it has none that is live, and asks nobody.

    One page is asked for, once, and only a server that refuses the word for the status is asked by
    another one. A job is left out where it names neither its plugin nor a release of the plan.
    Raises nothing that the backend answers.
    """
    owners = _OwnersOfJobs(plan)
    if owners.is_empty:
        return None
    try:
        page = _read_page_of_running_jobs_in_either_word(session)
    except RemoteError as failure:
        return RunningJobs(unread_reason=_explain_unread(failure))
    return RunningJobs(tuple(owners.iter_running_owned_jobs(page)), is_cut=len(page) >= _PAGE_SIZE)


def _read_page_of_running_jobs_in_either_word(session: TargetSession) -> list[ServerObject]:
    first_word, *other_words = list_words_of_known_status(JobStatus.RUNNING)
    try:
        return _read_newest_page_of_status(session, first_word)
    except Invalid:
        if not other_words:
            raise
    return _read_newest_page_of_status(session, other_words[0])


def _read_newest_page_of_status(session: TargetSession, status: str) -> list[ServerObject]:
    query = {"status": status, "ordering": "-created", "page_size": _PAGE_SIZE}
    return session.backend.api.list_jobs(query, repeat=False).jobs


def _explain_unread(failure: RemoteError) -> str:
    if isinstance(failure, Forbidden):
        return "its token may not list jobs (403)"
    if isinstance(failure, NotFound) or failure.status_code == _METHOD_NOT_ALLOWED:
        return f"the backend has no list of jobs ({failure.status_code})"
    if isinstance(failure, RateLimited):
        return "the backend was asked too often (429)"
    return f"the backend did not list them ({failure.status_code or 'no answer'})"


class _OwnersOfJobs:
    """Finds the plugin or release of a plan that a job runs."""

    def __init__(self, plan: Plan) -> None:
        self._plugins: dict[str, Address] = {}
        self._codes: dict[str, Address] = {}
        self._releases: dict[str, Address] = {}
        for change in plan.changes:
            if change.remote_id:
                self._index_owner_of_change(change)

    def _index_owner_of_change(self, change: Change) -> None:
        address = change.address
        if address.kind == plugin.PREFIX:
            if change.api == _JOB_API:
                self._plugins[change.remote_id] = address
            if code := (change.before or {}).get("code"):
                self._codes[str(code)] = address
        elif address.kind == release.PREFIX and change.api == _JOB_API:
            self._releases[change.remote_id] = address

    @property
    def is_empty(self) -> bool:
        return not (self._plugins or self._codes or self._releases)

    def iter_running_owned_jobs(self, page: Iterable[Mapping[str, Any]]) -> Iterator[OwnedJob]:
        """The jobs of a page that run, once each; those of others are left out."""
        seen_ids: set[str] = set()
        for raw in page:
            try:
                job = parse_job_requiring_usable_id(raw)
            except (ValueError, RemoteError):
                continue
            # A server may pass over a filter that it does not know.
            if job.status is not JobStatus.RUNNING or job.id in seen_ids:
                continue
            seen_ids.add(job.id)
            owner = self._find_owner_or_none(job)
            if owner is not None:
                yield OwnedJob(job, owner)

    def _find_owner_or_none(self, job: Job) -> Address | None:
        """By its release, which says most, else by its plugin's id or code."""
        return (
            self._releases.get(job.release)
            or self._plugins.get(job.plugin)
            or self._codes.get(job.plugin_code)
            or self._codes.get(job.plugin)
        )

"""A GitLab for tests: how its REST API keeps the statuses of commits, and no more.

A status that is pending or running is found again by name and ref, and changed by a transition; the
transitions and the refusal of the others are those of GitLab's CommitStatus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from forges.loopback_server import LoopbackServer, Reply, Request

# By the state that is asked for: the event's name, and from which states it is possible.
TRANSITIONS = {
    "pending": ("enqueue", {"created"}),
    "running": ("run", {"created", "pending"}),
    "success": ("success", {"created", "pending", "running"}),
    "failed": ("drop", {"created", "pending", "running"}),
    "canceled": ("cancel", {"created", "pending", "running"}),
}


@dataclass
class Job:
    """One status of a commit."""

    commit: str
    ref: str
    name: str
    status: str = "created"
    description: str | None = None
    target_url: str | None = None

    def build_document(self, number: int) -> dict[str, Any]:
        return {
            "id": number,
            "sha": self.commit,
            "ref": self.ref,
            "status": self.status,
            "name": self.name,
            "target_url": self.target_url,
            "description": self.description,
            "allow_failure": False,
        }


class StandInGitLab(LoopbackServer):
    """One project; `branches` maps a branch to the commits that it has."""

    def __init__(self, token: str, project: str = "acme/synapse") -> None:
        super().__init__()
        self.token, self.project = token, project
        self.jobs: list[Job] = []
        self.unknown_commits: set[str] = set()
        self.branches: dict[str, set[str]] = {}

    def list_of(self, commit: str, name: str) -> list[Job]:
        """The jobs of a commit and name, oldest first."""
        return [job for job in self.jobs if (job.commit, job.name) == (commit, name)]

    def reply(self, request: Request) -> Reply:
        """As GitLab."""
        headers = request.headers
        sent_token = headers.get("private-token", headers.get("authorization"))
        if sent_token not in {self.token, f"Bearer {self.token}"}:
            return 401, {"message": "401 Unauthorized"}
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        if parts[:2] != ["projects", self.project]:
            return 404, {"message": "404 Project Not Found"}
        match request.method, *parts[2:]:
            case "POST", "statuses", commit:
                return self._set(commit, request.json)
            case "GET", "repository", "commits", commit, "statuses":
                return self._list(commit, request.query)
        return 404, {"error": "404 Not Found"}

    def _set(self, commit: str, body: dict[str, Any]) -> Reply:
        if commit in self.unknown_commits:
            return 404, {"message": "404 Commit Not Found"}
        containing = [name for name, commits in self.branches.items() if commit in commits]
        ref = body.get("ref") or next(iter(containing), None)
        if ref is None:
            return 404, {"message": "404 References for commit Not Found"}
        state, name = body.get("state"), body.get("name", "default")
        if state not in TRANSITIONS:
            return 400, {"error": "state does not have a valid value"}
        if len(body.get("description") or "") > 255 or len(body.get("target_url") or "") > 255:
            return 400, {"message": {"description": ["is too long (maximum is 255 characters)"]}}
        open_jobs = [
            job
            for job in self.list_of(commit, name)
            if job.ref == ref and job.status in {"pending", "running"}
        ]
        job = open_jobs[-1] if open_jobs else Job(commit, ref, name)
        event, origins = TRANSITIONS[state]
        if job.status not in origins:
            reason = f'Status cannot transition via "{event}"'
            words = (
                f"Cannot transition status via :{event} from :{job.status} (Reason(s): {reason})"
            )
            return 400, {"message": words}
        job.status = state
        job.description = body.get("description", job.description)
        job.target_url = body.get("target_url", job.target_url)
        if not open_jobs:
            self.jobs.append(job)
        return 201, job.build_document(self.jobs.index(job) + 1)

    def _list(self, commit: str, query: dict[str, str]) -> Reply:
        """The newest of each name."""
        newest = {
            (job.name, job.ref): job.build_document(number)
            for number, job in enumerate(self.jobs, 1)
            if job.commit == commit
            and query.get("name", job.name) == job.name
            and query.get("ref", job.ref) == job.ref
        }
        return 200, list(newest.values())

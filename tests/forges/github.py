"""A GitHub for tests: what its REST API says of commit statuses, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forges.loopback_server import LoopbackServer, Reply, Request

STATES = {"error", "failure", "pending", "success"}


@dataclass
class Status:
    """One status of a commit."""

    commit: str
    state: str
    context: str
    description: str | None
    target_url: str | None

    def build_document(self, number: int) -> dict[str, Any]:
        return {
            "id": number,
            "state": self.state,
            "context": self.context,
            "description": self.description,
            "target_url": self.target_url,
            "created_at": "2026-01-01T00:00:00Z",
        }


class StandInGitHub(LoopbackServer):
    """One repository; a new status of a context is a further one, and the newest counts."""

    def __init__(self, token: str, repository: str = "acme/synapse") -> None:
        super().__init__()
        self.token, self.repository = token, repository
        self.statuses: list[Status] = []
        self.max_statuses = 1000
        self.unknown_commits: set[str] = set()

    def list_of(self, commit: str, context: str) -> list[Status]:
        """The statuses of a commit and context, oldest first."""
        return [
            status
            for status in self.statuses
            if status.commit == commit and status.context.lower() == context.lower()
        ]

    def reply(self, request: Request) -> Reply:
        """As GitHub; a wrong token or an invalid body is refused as there."""
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return 401, {"message": "Bad credentials"}
        prefix = f"/repos/{self.repository}/"
        if not request.path.startswith(prefix):
            return 404, {"message": "Not Found"}
        match request.method, *request.path.removeprefix(prefix).split("/"):
            case "POST", "statuses", commit:
                return self._create(commit, request.json)
            case "GET", "commits", commit, "status":
                return self._combine(commit, request.query)
        return 404, {"message": "Not Found"}

    def _create(self, commit: str, body: dict[str, Any]) -> Reply:
        if commit in self.unknown_commits:
            return 422, {"message": f"No commit found for SHA: {commit}"}
        description, url = body.get("description"), body.get("target_url")
        problem = ""
        if body.get("state") not in STATES:
            problem = "state is not included in the list"
        elif len(description or "") > 140:
            problem = "description is too long (maximum is 140 characters)"
        elif url is not None and not url.startswith(("http://", "https://")):
            problem = "target_url must use http(s) scheme"
        context = body.get("context", "default")
        if len(self.list_of(commit, context)) >= self.max_statuses:
            problem = "This SHA and context has reached the maximum number of statuses."
        if problem:
            errors = [{"resource": "Status", "code": "custom", "message": problem}]
            return 422, {"message": "Validation Failed", "errors": errors}
        status = Status(commit, body["state"], context, description, url)
        self.statuses.append(status)
        return 201, status.build_document(len(self.statuses))

    def _combine(self, commit: str, query: dict[str, str]) -> Reply:
        """The newest of each context, a page of them."""
        newest = {
            status.context.lower(): status.build_document(number)
            for number, status in enumerate(self.statuses, 1)
            if status.commit == commit
        }
        size = int(query.get("per_page", "30"))
        start = size * (int(query.get("page", "1")) - 1)
        page = list(newest.values())[start : start + size]
        return 200, {"state": "pending", "total_count": len(newest), "statuses": page}

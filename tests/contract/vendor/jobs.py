"""Runs, `jobs/` and `agents/` of v1 (facts, section 5)."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any

from contract.vendor.pages import Filter, Item, list_items
from contract.vendor.web import Refusal, Reply, Request, Route
from contract.vendor.world import AGENT_TOKEN, SEOUL, World, show_moment

# Upper case, "as the backend's choices" [S].
STATES = ("PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED")
_ENDED = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
_REPORTED = ("status", "progress_record", "metrics_record", "console_logs", "result", "meta")  # [S]
# Which filters there are is [G]; these are what tools and the facts name.
_FILTERS: dict[str, Filter] = {
    "agent": lambda job, value: str(job["agent"]) == value,
    "status": lambda job, value: bool(job["status"] == value.upper()),
    "plugin": lambda job, value: value in {str(job["plugin"]["id"]), job["plugin"]["code"]},
    "action": lambda job, value: bool(job["action"] == value),
}


def start_run(world: World, request: Request, plugin: Item) -> Reply:
    """A job, or the action's own result [S]. Of the body only what the platform has is read [S]."""
    body, guesses = request.json(), world.guesses
    errors = {
        name: [request.say("required")] for name in guesses.run_needs if body.get(name) is None
    }
    agent = body.get("agent")
    if agent is not None and (isinstance(agent, bool) or not isinstance(agent, int)):
        errors["agent"] = [request.say("not an integer")]
    elif agent is not None and agent not in {one["id"] for one in world.agents}:
        errors["agent"] = [request.say("unknown object", agent)]
    if "params" in body and not isinstance(body["params"], dict):
        errors["params"] = [request.say("not a map")]
    release = _release(world, plugin, body.get("version"))
    actions = release["config"].get("actions") or {} if release else {}
    if release is None:
        errors["version"] = [request.say("no release")]
    elif "action" not in errors and body.get("action") not in {None, *actions}:
        errors["action"] = [request.say("choice", body["action"])]
    if errors:
        raise Refusal(400, errors)
    if guesses.run_answer in {"result", "text result"}:
        result = world.action_result if guesses.run_answer == "result" else "3 labels"
        return Reply(guesses.run_status, result)
    stamp = world.stamp("job")
    job = {
        **stamp, "id": str(uuid.uuid4()) if guesses.job_ids == "uuid" else stamp["id"],
        "plugin": plugin, "release": release, "agent": agent, "action": body.get("action"),
        "params": body.get("params", {}), "status": "PENDING", "progress_record": {},
        "metrics_record": {}, "result": None, "meta": {}, "console_logs": [], "completed": None,
        "tenant": request.tenant,
    }  # fmt: skip
    world.jobs.append(job)
    answer = Jobs(world).show(job)
    names = {"id": ("id",), "job_id": ("job_id",), "both": ("id", "job_id")}[guesses.run_answer]
    identity = dict.fromkeys(names, answer["id"])
    others = {name: value for name, value in answer.items() if name != "id"}
    return Reply(guesses.run_status, {**identity, **others})


def _release(world: World, plugin: Item, version: Any) -> Item | None:
    """The version that is asked for, else the newest."""
    releases = world.releases_of(plugin)
    return next((r for r in releases if version in {None, r["version"]}), None)


class Jobs:
    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        # v1 cannot stop a job.
        return [
            Route(r"/jobs/", {"GET": self.list}),
            Route(r"/jobs/([^/]+)/", {"GET": self.read, "PATCH": self.report}),
            Route(r"/jobs/([^/]+)/console_logs/", {"GET": self.console_logs}),
            Route(r"/jobs/([^/]+)/tail_console_logs/", {"GET": self.tail}),
        ]

    def list(self, request: Request) -> Reply:
        jobs = [job for job in self._world.jobs if job["tenant"] == request.tenant]
        guesses = self._world.guesses
        filters = {name: _FILTERS[name] for name in guesses.job_filters}
        if not guesses.narrows_jobs:
            filters |= {f"created__{name}": lambda _job, _value: True for name in ("gte", "lt")}
        return list_items(request, jobs, self.show, filters, guesses.page_size)

    def read(self, request: Request, key: str) -> Reply:
        """The job, one step further each time it is looked at."""
        job = self._find(request, key)
        _advance(job, self._world)
        return Reply(200, self.show(job, expand=request.parameter("expand") or ""))

    def report(self, request: Request, key: str) -> Reply:
        """PATCH of what a job reports [S]; whatever else is sent is dropped in silence."""
        job, body = self._find(request, key), request.json()
        if "status" in body and body["status"] not in STATES:
            raise Refusal(400, {"status": [request.say("choice", body["status"])]})
        job.update({name: body[name] for name in _REPORTED if name in body})
        if job["status"] in _ENDED and job["completed"] is None:
            job["completed"] = datetime.now(SEOUL)
        return Reply(200, self.show(job))

    def console_logs(self, request: Request, key: str) -> Reply:
        """A bare list of finished text lines; 404 was met for a job without any [O]."""
        job = self._find(request, key)
        if not job["console_logs"]:
            raise Refusal(404, {"detail": request.say("not found")})
        return Reply(200, list(job["console_logs"]))

    def tail(self, request: Request, key: str) -> Reply:
        """A stream of events [OA]; a vendor tool met 404 instead [O]. No token in the URL."""
        answer = self._world.guesses.tail
        if answer == "404":
            raise Refusal(404, {"detail": request.say("not found")})
        job = next((job for job in self._world.jobs if str(job["id"]) == key), None)
        if job is None or answer == "error frame":
            # An unknown job is a 200 and then an error, on v1 likely so [D].
            return _stream([{"type": "error", "message": request.say("not found")}])
        while job["status"] not in _ENDED:
            _advance(job, self._world)
        lines = [{"type": "log", "data": f"{line}\n"} for line in job["console_logs"]]
        start = {"type": "connected", "job_id": str(job["id"])}
        return _stream([start, *lines, {"type": "complete", "message": "done"}])

    def show(self, job: Item, expand: str = "") -> Item:
        """`plugin_release` is an integer [O] or an object [S]; there is no field `plugin`."""
        names = (
            "id", "status", "action", "agent", "params", "progress_record", "metrics_record",
            "result", "meta",
        )  # fmt: skip
        answer = {name: job[name] for name in names}
        release = job["release"]
        as_object = self._world.guesses.job_release == "object" or "plugin_release" in expand
        whole = {
            "id": release["id"],
            "plugin": {"code": job["plugin"]["code"]},
            "version": release["version"],
        }
        answer["plugin_release"] = whole if as_object else release["id"]
        return answer | {name: show_moment(job[name]) for name in ("created", "completed")}

    def _find(self, request: Request, key: str) -> Item:
        for job in self._world.jobs:
            if str(job["id"]) == key and job["tenant"] == request.tenant:
                return job
        raise Refusal(404, {"detail": request.say("not found")})


class Agents:
    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[Route]:
        return [
            Route(r"/agents/", {"GET": self.list}),
            Route(r"/agents/([^/]+)/", {"GET": self.read}),
            Route(r"/agents/([^/]+)/connect/", {"POST": self.connect}),
        ]

    def list(self, request: Request) -> Reply:
        """A page; `?id=` is sent by tools and may be ignored [S]."""
        agents = [one for one in self._world.agents if one["tenant"] == request.tenant]
        return list_items(request, agents, self.show, {}, self._world.guesses.page_size)

    def read(self, request: Request, key: str) -> Reply:
        for agent in self._world.agents:
            if str(agent["id"]) == key and agent["tenant"] == request.tenant:
                return Reply(200, self.show(agent))
        raise Refusal(404, {"detail": request.say("not found")})

    def connect(self, request: Request, token: str) -> Reply:
        """A health check by the SDK's name for it, without a body [S]."""
        if token != AGENT_TOKEN:
            raise Refusal(404, {"detail": request.say("not found")})
        return Reply(200, {"status": "connected"})

    def show(self, agent: Item) -> Item:
        """Without a field `token`; one stands in the install script [S]."""
        return {key: agent[key] for key in ("id", "name", "url", "status", "node_install_script")}


def _advance(job: Item, world: World) -> None:
    """PENDING, RUNNING, then the end that the test arranged."""
    if job["status"] == "PENDING":
        job["status"] = "RUNNING"
        job["progress_record"] = _progress(40)
    elif job["status"] == "RUNNING":
        job |= {"status": world.job_end, "progress_record": _progress(100)}
        job |= {"completed": datetime.now(SEOUL), "console_logs": list(world.job_lines)}


def _progress(percent: int) -> Item:
    """Both are snapshots: the steps, and the whole at `current_progress.overall` [S]."""
    step = {"proportion": 100, "percent": percent, "time_remaining": 1.0}
    current = {"overall": percent, "step": "convert", "percent": percent, "time_remaining": 1.0}
    return {"record": {"steps": {"convert": step}}, "current_progress": current}


def _stream(frames: list[Item]) -> Reply:
    text = ": heartbeat\n\n" + "".join(
        f"data: {json.dumps(frame, ensure_ascii=False)}\n\n" for frame in frames
    )
    return Reply(200, content=text.encode(), content_type="text/event-stream")

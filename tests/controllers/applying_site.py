"""A site whose controller applies: every write of the backend is seen, and people act by the API."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import requests
from controllers.backend_proxy import BackendProxy, Call
from controllers.forked_workers import ForkedController
from controllers.site import BACKEND_TOKEN, SECONDS, Site
from forges.loopback_server import wait_until
from forking import ForkedProcess
from in_process import run
from installed import BIN, environment
from postgres.server import free_port
from profiles import VENDOR

from synapse_apply import EmbeddedServer, Invocation, open_state

OPS_TOKEN = "cAn4ry-of-the-person-7777"
SECOND_TOKEN = "cAn4ry-of-the-second-person-8888"
PROXY_SECRET = "cAn4ry-of-the-proxy-9999"
TOKENS = {"ops": OPS_TOKEN, "second": SECOND_TOKEN}
AUTO, APPROVE, OBSERVE = "mode: auto", "mode: approve", "mode: observe"
# A permit counts for at most so long, and is taken back within so long where all are awake.
MOST_PERMIT_SECONDS, PERMIT_SECONDS_IN_PRACTICE = 10.0, 5.0
# Between two questions to a page or the backend, in seconds: they cost time of the processor.
_PAUSE = 0.15
ACCESS = """
access:
  proxy: {user_header: X-User, groups_header: X-Groups, secret_header: X-Proxy-Secret, secret: {env: PROXY_SECRET}}
  tokens: {ops: {env: OPS_TOKEN}, second: {env: SECOND_TOKEN}}
  may:
    - {who: ["token:ops", "token:second", "proxy:ann"], do: [read, reconcile, pause, approve], targets: ["*"]}
"""
STORAGE = """---
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: s-NUMBER}
spec:
  name: S NUMBER
  provider: file_system
  category: internal
  configuration: {base_path: /data/NUMBER}
"""


@dataclass
class ApplyingSite(Site):
    """A site in mode auto, unless `rule` says otherwise; `storages` are declared beside the rest.

    `rule` are settings of all targets, as they stand between braces in controller.yaml.
    """

    rule: str = AUTO
    storages: int = 0
    region: str = "us-west-2"
    texts: dict[str, str] = field(default_factory=dict)
    killed_workers: set[int] = field(default_factory=set)

    def _build_backend(self, folder: Path) -> EmbeddedServer:
        # What became of any create can be looked up there.
        return EmbeddedServer(folder, token=BACKEND_TOKEN, profile=VENDOR)

    def _open_way_to_backend(self, stack: ExitStack) -> str:
        self.proxy = stack.enter_context(BackendProxy(self.backend.url))
        return self.proxy.url

    def _make_repository(self) -> None:
        self.environ |= {
            "OPS_TOKEN": OPS_TOKEN,
            "SECOND_TOKEN": SECOND_TOKEN,
            "PROXY_SECRET": PROXY_SECRET,
        }
        super()._make_repository()

    def write_configuration(self, **changes: str) -> None:
        """controller.yaml with the rule as it is; `changes` and `texts` as of `Site`."""
        replaced = {
            "mode: observe": self.rule,
            "held, drift]": "held, drift, paused]",
            **self.texts,
            **changes,
        }
        super().write_configuration(**replaced)
        with (self.folder / "controller.yaml").open("a", encoding="utf-8") as file:
            file.write(ACCESS)

    def use_rule(self, rule: str) -> None:
        """Have the running controller take another rule, and wait until it has."""
        self.rule = rule
        self.write_configuration()
        count = self.read_log().count("configuration taken")
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: self.read_log().count("configuration taken") > count,
            SECONDS,
            f"the configuration is taken\n{self.read_log()}",
        )

    def build_project(self) -> str:
        # No call is under way for longer once its process is gone.
        return f"{super().build_project()}    settle_after: 2\n"

    def build_manifest(self, description: str) -> str:
        return super().build_manifest(description).replace("us-west-2", self.region)

    def commit(self, description: str, message: str = "Change", *, push: bool = True) -> str:
        """As of `Site`, with the storages."""
        manifests = "".join(
            STORAGE.replace("NUMBER", str(number)) for number in range(self.storages)
        )
        (self.checkout / "manifests" / "storages.yaml").write_text(manifests)
        return super().commit(description, message, push=push)

    @contextmanager
    def start_another(self) -> Iterator[subprocess.Popen[str]]:
        """A controller of another name and data folder, for the same source and state."""
        port = free_port()
        text = (self.folder / "controller.yaml").read_text("utf-8")
        text = text.replace("{name: laws}", "{name: others}").replace(f":{self.port}", f":{port}")
        (self.folder / "another.yaml").write_text(re.sub(r"(?s)notify:.*?listen:", "listen:", text))
        with (self.folder / "log-another").open("wb") as log:
            process = ForkedController(
                [str(BIN / "synapse-apply"), "controller", "run", "another.yaml", "--data", "other"],
                cwd=self.folder, env=environment(self.environ), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def list_worker_ids(self) -> list[int]:
        """The ids of the worker processes of the controller."""
        assert self.process is not None
        ids: list[int] = []
        for file in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            with suppress(OSError):
                ids += map(int, file.read_text().split())
        return [number for number in ids if b"controller.worker" in read_process(number, "cmdline")]

    # The backend

    def forget_requests(self) -> None:
        super().forget_requests()
        self.proxy.forget()

    @property
    def writes(self) -> list[Call]:
        """The calls of the backend that write, in the order in which they began."""
        return list(self.proxy.writes)

    def list_written(self) -> list[str]:
        """What was written: the name of a storage, the description of the plugin; sorted."""
        names = {"POST": "name", "PUT": "description"}
        return sorted(str(call.values[names[call.method]]) for call in self.writes)

    def wait_until_written(self, *expected: str) -> None:
        wait_until(
            lambda: self.list_written() == sorted(expected),
            SECONDS,
            f"{expected}, not {self.list_written()}\n{self.read_log()}",
        )

    def list_descriptions(self) -> list[str]:
        """What the plugin was described as, by call."""
        return [str(call.values["description"]) for call in self.writes if call.method == "PUT"]

    def slow_down_writes(self, milliseconds: int) -> None:
        """Have each write take so long."""
        rules = [
            {"match": {"method": method}, "do": {"latency": milliseconds}}
            for method in ("POST", "PUT")
        ]
        self.set_faults(*rules)

    def wait_for_writes(self, count: int, seconds: float = SECONDS) -> list[Call]:
        """Wait until so many calls have begun."""
        wait_until(
            lambda: len(self.proxy.writes) >= count,
            seconds,
            f"{count} writes, not {len(self.proxy.writes)}\n{self.read_log()}",
        )
        return self.writes

    def wait_until_no_write_begins(self, seconds: float) -> float:
        """Wait until none began for so long; when the last one did, by `time.monotonic`."""
        wait_until(
            lambda: time.monotonic() - self.writes[-1].began_at > seconds, 2 * SECONDS, "quiet"
        )
        return self.writes[-1].began_at

    def list_live(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of all objects of a kind."""
        rows = self.ask_backend("GET", f"/_emulator/objects/{kind}/")["results"]
        return [row["body"] for row in rows]

    def list_live_names(self, kind: str = "storage") -> list[str]:
        return sorted(body["name"] for body in self.list_live(kind))

    @property
    def live_description(self) -> str:
        """What the plugin is described as."""
        [plugin] = self.list_live("plugin")
        return str(plugin["description"])

    def wait_until_live(self, description: str, seconds: float = SECONDS) -> None:
        wait_until(
            lambda: self.live_description == description,
            seconds,
            f"{description!r} is live, not {self.live_description!r}\n{self.read_log()}",
            pause=_PAUSE,
        )

    # What was done by hand

    @property
    def own_variables(self) -> dict[str, str]:
        """The variables of the target."""
        return {name: text for name, text in self.environ.items() if name.startswith("ACME_")}

    def apply(self) -> None:
        """Apply what is checked out, as a pipeline does."""
        run("apply -t dev --auto-approve", self.checkout, self.own_variables)

    def start_laptop(self, *more: str) -> subprocess.Popen[str]:
        """Begin an apply of what is checked out, in a process of its own."""
        return ForkedProcess(
            [str(BIN / "synapse-apply"), "apply", "-t", "dev", "--auto-approve", *more],
            cwd=self.checkout,
            env=environment(self.own_variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def list_history(self) -> list[Any]:
        """All that the state knows to have been done, oldest first."""
        where = Invocation(directory=self.checkout, target="dev", environ=self.own_variables)
        with open_state(where) as state:
            return state.store.list_audit_entries_newest_first(100_000)[::-1]

    # What people do

    def act(self, verb: str, who: str = "ops", **body: Any) -> Any:
        """Ask the controller by its API; AssertionError for a refusal."""
        answer = self.send(verb, who, **body)
        assert answer.status_code == 200, (answer.status_code, answer.text, self.read_log())
        return answer.json()

    def send(self, verb: str, who: str = "ops", **body: Any) -> requests.Response:
        return requests.post(
            f"{self.url}/api/v1/{verb}",
            json=body,
            headers={"Authorization": f"Bearer {TOKENS[who]}"},
            timeout=60,
        )

    def get(self, path: str) -> Any:
        """The JSON value of a path of the API."""
        headers = {"Authorization": f"Bearer {OPS_TOKEN}"}
        answer = requests.get(self.url + path, headers=headers, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def get_page(self, path: str) -> requests.Response:
        """A page as somebody sees it who came through the proxy."""
        headers = {"X-User": "ann", "X-Groups": "sre", "X-Proxy-Secret": PROXY_SECRET}
        return requests.get(self.url + path, headers=headers, timeout=60)

    def post_form(self, path: str, **fields: str) -> requests.Response:
        """Send a form of a page as the same person, from that page."""
        headers = {"X-User": "ann", "X-Groups": "sre", "X-Proxy-Secret": PROXY_SECRET}
        headers["Origin"] = self.url
        return requests.post(
            self.url + path, fields, headers=headers, timeout=60, allow_redirects=False
        )

    def get_target(self) -> dict[str, Any]:
        """What the API says of the target."""
        [target] = self.get("/api/v1/targets?source=acme")["items"]
        return dict(target)

    def wait_for_state(self, *states: str, seconds: float = SECONDS) -> dict[str, Any]:
        """Wait until the target is in one of these states; what the API says of it then."""
        wait_until(
            lambda: self.get_target()["state"] in states,
            seconds,
            f"{states}, not {self.get_target()}\n{self.read_log()}",
            pause=_PAUSE,
        )
        return self.get_target()

    def list_holds(self) -> list[dict[str, Any]]:
        """The rows that wait for a person; none before the target is known."""
        headers = {"Authorization": f"Bearer {OPS_TOKEN}"}
        answer = requests.get(
            f"{self.url}/api/v1/holds?target=acme/dev", headers=headers, timeout=60
        )
        return list(answer.json()["items"]) if answer.status_code == 200 else []

    def wait_for_holds(self, count: int = 1) -> list[dict[str, Any]]:
        wait_until(
            lambda: len(self.list_holds()) >= count,
            SECONDS,
            f"{count} holds, not {self.list_holds()}\n{self.read_log()}",
            pause=_PAUSE,
        )
        return self.list_holds()

    def approve(self, holds: Sequence[dict[str, Any]], who: str = "ops") -> None:
        """Approve rows as they were shown."""
        self.act("approve", who, target="acme/dev", rows=[hold["digest"] for hold in holds])

    # The laws

    @property
    def canaries(self) -> tuple[str, ...]:
        own = [text for text in self.environ.values() if text.startswith("cAn4ry")]
        return (*super().canaries, *own)

    def check_laws(self) -> None:
        """As of `Site`, but for writes: no two runs at once, and nothing made twice."""
        self.check_no_secret()
        self.check_messages()
        self.check_links()
        self.check_no_overlap()
        self.check_nothing_is_there_twice()

    def check_no_overlap(self) -> None:
        """No write of a process while one of another one is under way, and no run within another."""
        by_process: dict[int, list[Call]] = {}
        for call in self.writes:
            if call.process_id:  # else it was killed before anybody could look
                by_process.setdefault(call.process_id, []).append(call)
        for call in [call for calls in by_process.values() for call in calls]:
            for process_id, calls in by_process.items():
                if process_id != call.process_id:
                    for other in calls:
                        is_before = self.get_end_of_call(other) <= call.began_at
                        is_after = self.get_end_of_call(call) <= other.began_at
                        assert is_before or is_after, (call, other)
        self.check_runs_are_whole(self.list_history())

    def get_end_of_call(self, call: Call) -> float:
        """When the backend had answered; of a worker that was killed nobody waits for that."""
        return call.began_at if call.process_id in self.killed_workers else call.ended_at or inf

    def check_runs_are_whole(self, history: Sequence[Any]) -> None:
        """Between two calls of one run there is none of another."""
        plans = [entry.plan_id for entry in history if entry.plan_id and entry.request_id]
        blocks = [plan for plan, before in zip(plans, ["", *plans], strict=False) if plan != before]
        assert len(blocks) == len(set(blocks)), blocks

    def check_nothing_is_there_twice(self) -> None:
        for kind in ("plugin", "storage"):
            names = self.list_live_names(kind)
            assert len(names) == len(set(names)), names

    def read_pages(self) -> dict[str, bytes]:
        pages = super().read_pages()
        for path in ("targets", "runs?target=acme/dev", "holds?target=acme/dev", "pauses"):
            headers = {"Authorization": f"Bearer {OPS_TOKEN}"}
            answer = requests.get(f"{self.url}/api/v1/{path}", headers=headers, timeout=60)
            pages[f"/api/v1/{path}"] = answer.content
        return pages


def read_process(process_id: int, name: str) -> bytes:
    """A file of a process in /proc; empty where it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{process_id}/{name}").read_bytes()
    return b""

"""All that stands around a controller, on loopback: Git, a backend, a forge and a webhook.

The controller is the installed command, as a process (a fork that has its imports done). What it
is told and what it tells is seen from outside alone.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import requests
from contract.stores.git.web import GitServer, serve_repositories
from controllers.forked_workers import ForkedController
from forges.github import StandInGitHub, Status
from forges.gitlab import StandInGitLab
from forges.hooks import WebhookSink
from forges.loopback_server import wait_until
from forking import ForkedProcess
from git_repositories import commit, git, make_bare_repository, make_repository
from in_process import run
from installed import BIN, environment
from postgres.server import free_port

from synapse_apply import EmbeddedServer

# What a message, a log, a page or the store must never have; the webhook's url is one, too.
GIT_TOKEN = "hunter2-and-some-more"
FORGE_TOKEN = "cAn4ry-of-the-forge-1111"
HOOK_SECRET = "cAn4ry-of-the-hook-2222"
HOOK_PATH = "/cAn4ry-path-of-the-hook-3333"
BACKEND_TOKEN = "cAn4ry-of-the-backend-4444"
STORAGE_KEY = "cAn4ry-of-the-storage-5555"
STATE_KEY = "Y0FuNHJ5LW9mLXRoZS1zdGF0ZS1rZXktNjY2Ni02NjY2"
CANARIES = (GIT_TOKEN, FORGE_TOKEN, HOOK_SECRET, HOOK_PATH, BACKEND_TOKEN, STORAGE_KEY, STATE_KEY)
CONTEXT = "synapse-apply/laws/acme"
ENDS = {"success", "failure", "error"}
SECONDS = 120.0  # of a wait for what happens within a few: only what hangs takes longer

PROJECT = """
apiVersion: synapse-apply/v1
kind: Project
project: {id: 6f4c1f0a-1f0e-4c52-9d0b-5b7a8f3e2d10}
manifests: [manifests/]
targets:
  dev:
    url: BACKEND
    token: {env: ACME_TOKEN}
    state: {url: FOLDER/states/dev.db, key: {env: ACME_STATE_KEY}}
    allow_env: ["ACME_STORAGE_*"]
"""
MANIFEST = """
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: detection}
spec: {name: Detection, code: detection, version: "1.0.0", category: neural_net, description: TEXT}
---
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: raw-data}
spec:
  name: Raw images
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: raw-images
    region: us-west-2
    access_key_id: AKIALAWSOFTHEWHOLE
    secret_access_key: {valueFrom: {env: ACME_STORAGE_KEY}}
"""
CONTROLLER = """
apiVersion: synapse-apply/v1
kind: Controller
metadata: {name: laws}
sources:
  acme:
    url: GIT/acme.git
    credentials: {token: {env: GIT_TOKEN}, user: x}
    poll: 1s
    rewinds: follow
    commit_status: {KIND: {repository: acme/synapse, token: {env: FORGE_TOKEN}, api_url: "FORGE"}}
    may_read: {env: ["ACME_*"], files: [states/]}
    hosts: ["HOST"]
    targets:
      "*": {mode: observe, interval: INTERVAL}
defaults: {interval: 1s, jitter: 0, retry: {first: 1s, most: 1s}, timeout: 5m,
           second_look: 1s, status_spacing: 1s, status_check: 1s, brake: {at_most_every: 1s}}
notify:
  - {webhook: {url: {env: HOOK_URL}, secret: {env: HOOK_SECRET}}, on: [failed, recovered, held, drift]}
listen: 127.0.0.1:PORT
public_url: http://127.0.0.1:PORT
"""


@dataclass
class Site:
    """The servers, the repository with one target that is applied, and the controller's process.

    `forks_workers`: its workers are forks as well, of which /proc shows another environment.
    """

    folder: Path
    interval: str = "1s"
    forks_workers: bool = True
    forge_kind: str = "github"
    environ: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[Any] | None = None
    runs: int = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start_servers(stack)
            self._stack = stack.pop_all()
        return self

    def _start_servers(self, stack: ExitStack) -> None:
        (self.folder / "repositories").mkdir(parents=True)
        data = self.folder / "backend"
        self.backend = stack.enter_context(self._build_backend(data))
        self.backend_url = self._open_way_to_backend(stack)
        self.git: GitServer = stack.enter_context(serve_repositories(self.folder / "repositories"))
        self.github = stack.enter_context(StandInGitHub(FORGE_TOKEN))
        self.gitlab = stack.enter_context(StandInGitLab(FORGE_TOKEN))
        self.forge = self.gitlab if self.forge_kind == "gitlab" else self.github
        self.sink = stack.enter_context(WebhookSink())
        stack.callback(self.kill)
        self.environ = {
            "ACME_TOKEN": BACKEND_TOKEN,
            "ACME_STATE_KEY": STATE_KEY,
            "ACME_STORAGE_KEY": STORAGE_KEY,
            "GIT_TOKEN": GIT_TOKEN,
            "FORGE_TOKEN": FORGE_TOKEN,
            "HOOK_URL": self.sink.url + HOOK_PATH,
            "HOOK_SECRET": HOOK_SECRET,
            "HOME": str(self.folder / "home"),
            "XDG_CACHE_HOME": str(self.folder / "home"),
        }
        self.port = free_port()
        self._make_repository()
        self.write_configuration()

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build_backend(self, folder: Path) -> EmbeddedServer:
        return EmbeddedServer(folder, token=BACKEND_TOKEN)

    def _open_way_to_backend(self, _stack: ExitStack) -> str:
        """The url under which the target's backend is reached."""
        return self.backend.url

    # The repository

    @property
    def checkout(self) -> Path:
        return self.folder / "checkout"

    def run_git(self, *arguments: str) -> str:
        return git(self.checkout, *arguments)

    def _make_repository(self) -> None:
        origin = make_bare_repository(self.folder / "repositories" / "acme.git")
        make_repository(self.checkout, f'[remote "origin"]\n\turl = {origin}\n')
        (self.checkout / "manifests").mkdir()
        (self.checkout / "synapse-apply.yaml").write_text(self.build_project())
        self._make_first_commit()

    def _make_first_commit(self) -> None:
        """Commit the manifests, and have them live."""
        self.commit("images")
        self._apply_first_commit()
        self.forget_requests()

    def _apply_first_commit(self) -> None:
        given = {name: text for name, text in self.environ.items() if name.startswith("ACME_")}
        run("state init -t dev", self.checkout, given)
        run("apply -t dev --auto-approve", self.checkout, given)

    def build_project(self) -> str:
        """The project file."""
        return PROJECT.replace("BACKEND", self.backend_url).replace("FOLDER", str(self.folder))

    def commit(self, description: str, message: str = "Change", *, push: bool = True) -> str:
        """A commit whose plugin is described so; "\t" is a manifest that cannot be read."""
        manifest = self.build_manifest(description)
        (self.checkout / "manifests" / "acme.yaml").write_text(manifest)
        made = commit(self.checkout, message, with_ignored=False)
        if push:
            self.run_git("push", "-q", "--force", "origin", "HEAD:main")
        return made

    def build_manifest(self, description: str) -> str:
        """What `commit` writes."""
        if description == "\t":
            return "spec:\n\tbroken: true\n"
        return MANIFEST.replace("TEXT", description)

    def apply(self) -> None:
        """Apply what is checked out, as a pipeline does; these writes are not the controller's."""
        self.check_no_write()
        given = {name: text for name, text in self.environ.items() if name.startswith("ACME_")}
        run("apply -t dev --auto-approve", self.checkout, given)
        self.forget_requests()

    # The backend

    def ask_backend(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Token {BACKEND_TOKEN}"}
        answer = requests.request(
            method, self.backend.url + path, json=body, headers=headers, timeout=60
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def change_by_hand(self, description: str) -> None:
        """Change the plugin outside of Git."""
        [plugin] = self.ask_backend("GET", "/_emulator/objects/plugin/")["results"]
        edit = {"description": description}
        self.ask_backend("PATCH", f"/_emulator/objects/plugin/{plugin['id']}/", edit)

    def set_faults(self, *rules: dict[str, Any]) -> None:
        self.ask_backend("PUT", "/_emulator/faults/", {"rules": list(rules)})

    def forget_requests(self) -> None:
        """Count the requests of the backend from now on."""
        self.ask_backend("DELETE", "/_emulator/requests/")

    def list_requests(self) -> list[dict[str, Any]]:
        """The last requests of the backend, oldest first."""
        return self.ask_backend("GET", "/_emulator/requests/")["last"]

    # The controller

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def write_configuration(self, **changes: str) -> None:
        """controller.yaml; `changes` are texts that are put in the place of others."""
        words = {
            "GIT/": f"{self.git.url}/",
            "KIND": self.forge_kind,
            '"FORGE"': f'"{self.forge.url}"',
            "HOST": self.backend_url.removeprefix("http://"),
            "INTERVAL": self.interval,
            "127.0.0.1:PORT": f"127.0.0.1:{self.port}",
            **changes,
        }
        text = CONTROLLER
        for old, new in words.items():
            text = text.replace(old, new)
        (self.folder / "controller.yaml").write_text(text)

    def build_arguments(self, *more: str) -> list[str]:
        return ["controller", "run", "controller.yaml", "--data", "data", *more]

    def start(
        self,
        *,
        altered: dict[str, Any] | None = None,
        wait: bool = True,
        more: tuple[str, ...] = (),
    ) -> None:
        """Start the controller; with `altered` as `controllers.altered` has it."""
        command = [str(BIN / "synapse-apply")]
        path = str(Path(__file__).resolve().parents[1])
        environ = environment(self.environ)
        if altered is not None:
            command = [sys.executable, "-m", "controllers.altered", json.dumps(altered)]
            environ["PYTHONPATH"] = path
        start = ForkedController if self.forks_workers else ForkedProcess
        self.runs += 1
        with (self.folder / f"log-{self.runs}").open("wb") as log:
            self.process = start(
                [*command, *self.build_arguments(*more)],
                cwd=self.folder, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        if wait:
            wait_until(self.is_up, SECONDS, f"the page answers\n{self.read_log()}")

    def is_up(self) -> bool:
        assert self.process is None or self.process.poll() is None, self.read_log()
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/healthz", timeout=5).status_code == 200
        return False

    def read_log(self) -> str:
        """What all runs printed."""
        files = sorted(self.folder.glob("log-*"))
        return "".join(file.read_text("utf-8", "replace") for file in files)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the controller by a signal; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def kill(self) -> None:
        """End it at once, and what it has started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(SECONDS)
            self.process = None

    # What is seen from outside

    @property
    def canaries(self) -> tuple[str, ...]:
        """The secrets that nobody may see."""
        return CANARIES

    def list_statuses(self, commit: str) -> list[Status]:
        """What the forge has for a commit, oldest first; GitLab's words are read as GitHub's."""
        jobs = self.gitlab.list_of(commit, CONTEXT)
        words = {"failed": "failure", "running": "pending"}
        return self.github.list_of(commit, CONTEXT) + [
            Status(
                commit, words.get(job.status, job.status), job.name, job.description, job.target_url
            )
            for job in jobs
        ]

    def list_announced_commits(self) -> set[str]:
        """The commits that have a status at the forge."""
        return {one.commit for one in (*self.github.statuses, *self.gitlab.jobs)}

    def list_ends(self, commit: str) -> list[Status]:
        """The ends that were sent for a commit, oldest first."""
        return [status for status in self.list_statuses(commit) if status.state in ENDS]

    def wait_for_status(self, commit: str) -> None:
        """Wait until the forge shows anything for a commit."""
        wait_until(
            lambda: self.list_statuses(commit), SECONDS, f"{commit} is announced\n{self.read_log()}"
        )

    def wait_for_request(self, part: str) -> None:
        """Wait until the forge was asked for a path with this part."""
        wait_until(
            lambda: any(part in request.path for request in self.forge.requests),
            SECONDS,
            f"{part} is asked for\n{self.read_log()}",
        )

    def get_end(self, commit: str) -> str:
        """The state that the forge shows for a commit, if it is an end, else ""."""
        statuses = self.list_statuses(commit)
        return statuses[-1].state if statuses and statuses[-1].state in ENDS else ""

    def wait_for_end(self, commit: str, state: str, seconds: float = SECONDS) -> Status:
        """Wait until the forge shows this end for a commit."""
        try:
            wait_until(
                lambda: self.get_end(commit) == state, seconds, f"{commit[:8]} ends with {state}"
            )
        except AssertionError as failure:
            raise AssertionError(
                f"{failure}: {self.list_statuses(commit)}\n{self.read_log()}"
            ) from None
        return self.list_statuses(commit)[-1]

    def wait_for_pending(self, commit: str, part: str) -> None:
        """Wait until the forge shows a commit as pending, with a part of a text."""
        wait_until(
            lambda: [
                status
                for status in self.list_statuses(commit)[-1:]
                if status.state == "pending" and part in status.description
            ],
            SECONDS,
            f"{part}, not {self.list_statuses(commit)}\n{self.read_log()}",
        )

    def wait_for_message(
        self, event: str, count: int = 1, seconds: float = SECONDS
    ) -> dict[str, Any]:
        """Wait for so many messages of an event, each counted once; the last one."""
        wait_until(
            lambda: len({one["id"] for one in self.list_messages(event)}) >= count,
            seconds,
            f"{count} x {event}, not {self.sink.messages}\n{self.read_log()}",
        )
        return self.list_messages(event)[-1]

    def list_messages(self, event: str) -> list[dict[str, Any]]:
        return [message for message in self.sink.messages if message["event"] == event]

    def get(self, path: str) -> Any:
        """The JSON value of a path of the page."""
        answer = requests.get(self.url + path, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def get_page(self, path: str) -> requests.Response:
        """A page, as who may see it sees it."""
        return requests.get(self.url + path, timeout=60)

    def wait_quietly(self, seconds: float) -> None:
        """Let the controller work; it must live all the while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process is not None
            assert self.process.poll() is None, self.read_log()
            time.sleep(0.05)

    # The laws that hold whatever happens

    def check_laws(self) -> None:
        """No write, no secret, no message twice for one fact, no end but the last."""
        self.check_no_write()
        self.check_no_secret()
        self.check_messages()
        self.check_links()
        assert {status.context for status in self.github.statuses} <= {CONTEXT}
        assert {job.name for job in self.gitlab.jobs} <= {CONTEXT}

    def check_no_write(self) -> None:
        """Since `forget_requests` nothing but reads."""
        methods = {entry["method"] for entry in self.list_requests()}
        assert methods <= {"GET", "HEAD"}, self.list_requests()

    def check_no_secret(self) -> None:
        """No canary in a log, the data folder, a status, a message's body or a page."""
        texts = {
            "log": self.read_log().encode(),
            "statuses": repr((self.github.statuses, self.gitlab.jobs)).encode(),
            "messages": b"".join(request.body for request in self.sink.requests),
        }
        for file in self.data.rglob("*"):
            if file.is_file() and not file.is_symlink():
                texts[str(file.relative_to(self.folder))] = file.read_bytes()
        if self.process is not None and self.process.poll() is None:
            texts |= self.read_pages()
        for name, text in texts.items():
            for canary in self.canaries:
                assert canary.encode() not in text, f"{canary} is in {name}"

    def check_links(self) -> None:
        """Each link of a message and of a status leads to a page."""
        urls = {message["url"] for message in self.sink.messages}
        urls |= {status.target_url for status in self.github.statuses}
        urls |= {job.target_url for job in self.gitlab.jobs}
        for url in sorted(url for url in urls if url.startswith(f"{self.url}/")):
            assert self.get_page(url.removeprefix(self.url)).status_code == 200, url

    def read_pages(self) -> dict[str, bytes]:
        """Every page that is reached from the first one, by its path."""
        pages: dict[str, bytes] = {}
        paths = ["/", "/metrics"]
        while paths and len(pages) < 40:
            path = paths.pop()
            pages[path] = self.get_page(path).content
            links = re.findall(r'href="(/[^"#]*)"', pages[path].decode("utf-8", "replace"))
            paths += [link for link in links if link not in pages and link not in paths]
        return pages

    def check_messages(self) -> None:
        """What is told twice has the same id and the same text; one fact has one id."""
        first_by_id: dict[str, dict[str, Any]] = {}
        for message in self.sink.messages:
            first = first_by_id.setdefault(message["id"], message)
            assert message == first
        # A rollout that is resumed can stop again within a second: each of these is a fact.
        causes = {"failed": " rollout stopped ", "recovered": " resume rollout "}
        for event, cause in causes.items():
            facts = Counter(
                (one["target"], one["commit"], one["summary"], one["time"])
                for one in first_by_id.values()
                if one["event"] == event
            )
            for (target, commit_id, summary, moment), count in facts.items():
                known_causes = sum(
                    line.startswith(moment.removesuffix("Z")) and f'detail="{commit_id}: ' in line
                    for line in self.read_log().splitlines()
                    if cause in line
                )
                most = max(known_causes, 1) if target is None else 1
                assert count <= most, (summary, facts)

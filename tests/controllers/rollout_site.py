"""A site whose source has several targets, each a tenant of the backend, that a rollout brings forward.

What was written where, and when, is known from the backend alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import requests
from controllers.applying_site import OPS_TOKEN, TOKENS, ApplyingSite
from controllers.backend_proxy import Call
from controllers.site import BACKEND_TOKEN, SECONDS
from forges.loopback_server import wait_until
from in_process import run
from profiles import VENDOR

from synapse_apply import EmbeddedServer, Invocation, open_state

LABELS = {
    "canary-1": {"tier": "canary"},
    "eu-1": {"tier": "standard"},
    "eu-2": {"tier": "standard"},
    "prod-1": {"tier": "gold"},
}
WAVES = """
    - {targets: ["canary-*"], soak: 1s}
    - {labels: {tier: standard}, max_failures: 1}
    - {targets: ["prod-*"], approve: true}
"""
ROLLOUT = """
rollouts:
  all:
    new_head: NEW_HEAD
    waves: WAVES
"""
PROJECT = """
apiVersion: synapse-apply/v1
kind: Project
project: {id: 6f4c1f0a-1f0e-4c52-9d0b-5b7a8f3e2d10}
targets:
"""
TARGET = """
  NAME:
    url: BACKEND
    token: {env: ACME_TOKEN_UPPER}
    labels: {tier: TIER}
    manifests: [manifests/NAME/]
    state: {url: FOLDER/states/NAME.db, key: {env: ACME_STATE_KEY}}
    settle_after: 2
"""
MANIFEST = """
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: detection}
spec: {name: Detection NAME, code: detection-NAME, version: "1.0.0", category: neural_net, description: TEXT}
"""


# Between two questions to the page or the backend, in seconds: they cost time of the processor.
_PAUSE = 0.3


def get_token(target: str) -> str:
    """The token with which a target's tenant is reached."""
    return f"cAn4ry-of-the-tenant-{target}"


@dataclass
class RolloutSite(ApplyingSite):
    """`labels` are those of all targets that are declared, `waves` what controller.yaml says of them.

    `declared` is what each commit says of each target, `pushed_at` when it was pushed.
    """

    labels: dict[str, Mapping[str, str]] = field(default_factory=lambda: dict(LABELS))
    waves: str = WAVES
    new_head: str = "replace"
    most_targets: tuple[str, ...] = ("canary-1", "canary-2", "eu-1", "eu-2", "eu-3", "prod-1")
    declared: dict[str, dict[str, str]] = field(default_factory=dict)
    pushed_at: dict[str, float] = field(default_factory=dict)

    def _build_backend(self, folder: Any) -> EmbeddedServer:
        tokens = {get_token(target): target for target in self.most_targets}
        return EmbeddedServer(folder, token=BACKEND_TOKEN, tokens=tokens, profile=VENDOR)

    def _make_repository(self) -> None:
        for target in self.most_targets:
            self.environ[_get_variable(target)] = get_token(target)
        super()._make_repository()

    def _make_first_commit(self) -> None:
        """Commit the manifests; the controller is to make all of it."""
        for target in self.most_targets:
            self._write_manifest(target, "first")
        self.push()
        self.init_states(*self.labels)

    def init_states(self, *targets: str) -> None:
        """Make the empty states of targets."""
        for target in targets:
            run(f"state init -t {target}", self.checkout, self.own_variables)

    def build_project(self) -> str:
        text = PROJECT
        for target, labels in self.labels.items():
            values = {
                "NAME": target,
                "BACKEND": self.backend_url,
                "ACME_TOKEN_UPPER": _get_variable(target),
                "TIER": labels["tier"],
                "FOLDER": str(self.folder),
            }
            text += _replace(TARGET, values)
        return text

    def write_configuration(self, **changes: str) -> None:
        """As of ApplyingSite, with the rollout; none for no waves."""
        super().write_configuration(**changes)
        with (self.folder / "controller.yaml").open("a", encoding="utf-8") as file:
            if self.waves:
                file.write(_replace(ROLLOUT, {"NEW_HEAD": self.new_head, "WAVES": self.waves}))

    # The repository

    def _write_manifest(self, target: str, text: str) -> None:
        folder = self.checkout / "manifests" / target
        folder.mkdir(exist_ok=True)
        text = text if text == "\t" else _replace(MANIFEST, {"NAME": target, "TEXT": text})
        (folder / "acme.yaml").write_text(text)

    def push(self, **texts: str) -> str:
        """Commit and push; `texts` are the descriptions of targets, with `_` for `-`."""
        for name, text in texts.items():
            self._write_manifest(name.replace("_", "-"), text)
        (self.checkout / "synapse-apply.yaml").write_text(self.build_project())
        self.run_git("add", ".")
        self.run_git("commit", "-q", "--allow-empty", "-m", f"Change {len(self.declared)}")
        commit = self.run_git("rev-parse", "HEAD")
        self.note_commit(commit)
        self.run_git("push", "-q", "--force", "origin", "HEAD:main")
        return commit

    def push_to_all(self, text: str) -> str:
        """Push a commit that changes all targets."""
        return self.push(**{target.replace("-", "_"): text for target in self.labels})

    def note_commit(self, commit: str) -> None:
        """Keep what is checked out as what this commit declares."""
        self.declared[commit] = {
            target: (self.checkout / "manifests" / target / "acme.yaml").read_text()
            for target in self.labels
        }
        for target, text in self.declared[commit].items():
            found = re.search(r"description: (.*)}", text)
            self.declared[commit][target] = found.group(1) if found else ""
        self.pushed_at[commit] = time.monotonic()

    # The backend

    def list_live_texts(self) -> dict[str, str]:
        """What the plugin of each target is described as, of those that have one."""
        plugins = {body["code"]: str(body["description"]) for body in self.list_live("plugin")}
        return {
            target: plugins[f"detection-{target}"]
            for target in self.most_targets
            if f"detection-{target}" in plugins
        }

    def change_target_by_hand(self, target: str, text: str) -> None:
        """Change a target's plugin outside of Git; nothing where there is none."""
        for row in self.ask_backend("GET", "/_emulator/objects/plugin/")["results"]:
            if row["body"]["code"] == f"detection-{target}":
                edit = {"description": text}
                self.ask_backend("PATCH", f"/_emulator/objects/plugin/{row['id']}/", edit)

    def list_writes_of(self, target: str) -> list[Call]:
        """The calls that wrote to a target's tenant, in the order in which they began."""
        return [call for call in self.writes if call.token == get_token(target)]

    def list_written_texts(self, target: str) -> list[str]:
        """The descriptions that were written to a target, in order."""
        return [str(call.values["description"]) for call in self.list_writes_of(target)]

    def wait_until_all_live(self, text: str | Mapping[str, str], seconds: float = SECONDS) -> None:
        """Wait until targets are described so: all of them with one text, or each with its own."""
        expected = dict.fromkeys(self.labels, text) if isinstance(text, str) else dict(text)
        self.wait_or_show_log(
            lambda: expected.items() <= self.list_live_texts().items(),
            f"{expected} are live",
            seconds,
        )

    def wait_or_show_log(
        self, condition: Callable[[], Any], what: str, seconds: float = SECONDS
    ) -> None:
        """Wait until a condition holds; AssertionError with the log as it is in the end."""
        try:
            wait_until(condition, seconds, what, pause=_PAUSE)
        except AssertionError as failure:
            writes = {target: self.list_written_texts(target) for target in self.most_targets}
            raise AssertionError(
                f"{failure}\n{writes}\n{self.get_rollout()}\n{self.read_log()}"
            ) from None

    # The rollout

    def get_rollout(self) -> dict[str, Any]:
        """What the API says of the rollout; {} while it has not begun."""
        headers = {"Authorization": f"Bearer {OPS_TOKEN}"}
        answer = requests.get(f"{self.url}/api/v1/rollouts", headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        items = answer.json()["items"]
        return dict(items[0]) if items else {}

    def wait_for_rollout(
        self, commit: str, *states: str, seconds: float = SECONDS
    ) -> dict[str, Any]:
        """Wait until the rollout of a commit is in one of these states; what the API says then."""

        def is_there() -> bool:
            rollout = self.get_rollout()
            return rollout.get("commit") == commit and rollout.get("state") in states

        self.wait_or_show_log(is_there, f"the rollout of {commit[:8]} is {states}", seconds)
        return self.get_rollout()

    def check_no_overlap(self) -> None:
        """As of ApplyingSite, of each target."""
        for target in self.labels:
            where = Invocation(directory=self.checkout, target=target, environ=self.own_variables)
            with open_state(where) as state:
                self.check_runs_are_whole(
                    state.store.list_audit_entries_newest_first(100_000)[::-1]
                )
            calls = self.list_writes_of(target)
            for call, after in pairwise(calls):
                is_same = call.process_id == after.process_id
                assert is_same or self.get_end_of_call(call) <= after.began_at, (call, after)

    def send_action(
        self, verb: str, number: int, who: str = "ops", **body: Any
    ) -> requests.Response:
        """Ask the API for an action on the rollout."""
        return requests.post(
            f"{self.url}/api/v1/rollouts/all/{verb}",
            json={"number": number, **body},
            headers={"Authorization": f"Bearer {TOKENS[who]}"},
            timeout=60,
        )


def _get_variable(target: str) -> str:
    return f"ACME_TOKEN_{target.upper().replace('-', '_')}"


def _replace(text: str, values: Mapping[str, str]) -> str:
    for old, new in values.items():
        text = text.replace(old, new)
    return text

"""examples/controller does what its README says: one command, and what it shows of three changes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from forges.loopback_server import wait_until
from forking import programs
from git_repositories import ENVIRON as GIT_ENVIRON
from installed import ROOT, copied, environment, run
from postgres.server import free_port

EXAMPLE = ROOT / "examples" / "controller"
SECONDS = 60.0
# Between two questions to the page or the backend, in seconds: they cost time of the processor.
_PAUSE = 0.2


class Started:
    """start.sh of a copy with free ports, and the folder that it keeps all in."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = copied(EXAMPLE, tmp_path)
        self.work = tmp_path / "work"
        self.ports = {"8641": str(free_port()), "8642": str(free_port())}
        for file in (
            path for path in self.folder.rglob("*") if path.suffix in {".sh", ".yaml", ".md"}
        ):
            file.write_text(self.put_ports(file.read_text()))
        configuration = self.folder / "controller.yaml"
        configuration.write_text(re.sub(r"\b(5|15)s\b", "1s", configuration.read_text()))
        self.url = f"http://127.0.0.1:{self.ports['8641']}"
        self.log = tmp_path / "log"

    def put_ports(self, text: str) -> str:
        return re.sub("864[12]", lambda found: self.ports[found[0]], text)

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["bash", str(self.folder / "start.sh"), str(self.work)],
                env=environment({"BIN": str(programs())}), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def read_state(self) -> str:
        """The state word of the target, "" while there is none."""
        with suppress(requests.RequestException):
            [target] = requests.get(f"{self.url}/api/v1/targets", timeout=60).json()["items"] or [
                {}
            ]
            return str(target.get("state", ""))
        return ""

    def wait_for_state(self, state: str) -> None:
        try:
            wait_until(lambda: self.read_state() == state, SECONDS, state, pause=_PAUSE)
        except AssertionError as failure:
            raise AssertionError(
                f"{failure}, not {self.read_state()}\n{self.log.read_text()}"
            ) from None

    def wait_for_description(self, text: str) -> None:
        """Wait until the live plugin is described so."""
        url = f"http://127.0.0.1:{self.ports['8642']}/_emulator/objects/plugin/1/"
        token = {"Authorization": "Token made-up-token-of-acme"}

        def is_live() -> bool:
            with suppress(requests.RequestException):
                return text in requests.get(url, headers=token, timeout=60).text
            return False

        try:
            wait_until(is_live, SECONDS, text, pause=_PAUSE)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.log.read_text()}") from None

    def commit(self, text: str) -> None:
        """Commit a manifest of the plugin and push it, as the README says."""
        checkout = self.work / "checkout"
        (checkout / "manifests" / "plugin.yaml").write_text(text)
        for arguments in (
            ["commit", "-q", "-a", "-m", "Change"],
            ["push", "-q", "origin", "HEAD:main"],
        ):
            subprocess.run(
                ["git", *arguments], cwd=checkout, env=GIT_ENVIRON, check=True, capture_output=True
            )


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    started.start()
    yield started
    started.end()


def test_one_command_shows_what_differs(example):
    """Two commits go live, a broken one between them does not; a change by hand is shown."""
    manifest = (example.folder / "manifests" / "plugin.yaml").read_text()
    example.wait_for_description("Finds defects in images")
    example.commit(manifest.replace("Finds defects in images", "Finds every defect"))
    example.wait_for_description("Finds every defect")
    example.commit(manifest.replace("spec:", "spec:\n\tbroken: true"))
    example.wait_for_state("failing")
    example.commit(manifest)
    example.wait_for_description("Finds defects in images")
    example.wait_for_state("in sync")
    page = (example.folder / "README.md").read_text()
    found = re.search(r'curl -X (\w+) -H "Authorization: ([^"]+)".*\n.*-d \'([^\']+)\' (\S+)', page)
    assert found
    method, token, body, url = found.groups()
    answer = requests.request(
        method, url, json=json.loads(body), headers={"Authorization": token}, timeout=60
    )
    assert answer.ok, answer.text
    example.wait_for_state("drifted")


CONFIGURATIONS = {
    "on one machine": "controller.yaml",
    "in a cluster": "kubernetes/base/controller.yaml",
    "of a fleet": "kubernetes/fleet/controller.yaml",
}


@pytest.mark.parametrize("name", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_each_configuration_is_one(name, tmp_path):
    """`controller check` finds nothing wrong with it."""
    (tmp_path / "controller.yaml").write_text((EXAMPLE / name).read_text())
    checked = run("controller check controller.yaml", tmp_path, {})
    assert "Warning" not in checked.stdout + checked.stderr

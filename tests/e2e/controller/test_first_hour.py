"""The first hour of docs/controller.md, as somebody types it who has nothing but the page."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from at_terminal import run_at_terminal
from controllers.forked_workers import ForkedController
from forges.loopback_server import wait_until
from git_repositories import ENVIRON as GIT_ENVIRON
from in_process import run, run_in_process
from installed import ROOT, environment

SECONDS = 60.0
# Between two questions to the page or a backend, in seconds: they cost time of the processor.
_PAUSE = 0.2
# `controller run --demo`, whose story and controller do not take their time.
DEMO = """
import os, sys
from synapse_apply.controller.demo.demo import open_demo
from synapse_apply.controller.run import ControllerSetup, serve_controller
with open_demo(lambda text: print(text, flush=True), seconds_between_steps=1) as demo:
    text = demo.configuration_file.read_text()
    text = text.replace("poll: 2s", "poll: 1s").replace("interval: 5s", "interval: 1s")
    demo.configuration_file.write_text(text.replace("first: 2s", "first: 1s"))
    print("page", demo.folder, demo.page_url, flush=True)
    variables = {**os.environ, **demo.variables}
    serve_controller(
        ControllerSetup(demo.configuration_file, demo.data_folder, variables, sys.stderr)
    )
"""


class FirstHour:
    """A demo that runs, and the lines of the page's section one after the other."""

    def __init__(self, folder: Path, page_url: str) -> None:
        self.folder, self.page_url = folder, page_url
        section = (ROOT / "docs" / "controller.md").read_text(encoding="utf-8")
        section = section.partition("\n## The first hour\n")[2].partition("\n## ")[0]
        blocks = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        text = "".join(blocks[1:]).replace("\\\n", "")
        text = text.replace("/tmp/synapse-apply-demo-XXXX", str(folder))
        self._lines = iter(text.splitlines())

    def type_until(self, last: str) -> str:
        """Type lines up to the one that begins with `last`; what that prints."""
        for line in self._lines:
            shown = self._type(line)
            if line.startswith(last):
                return shown
        raise AssertionError(f"no more line begins with {last}")

    def _type(self, line: str) -> str:
        folder, typed = self.folder / "repository", shlex.split(line, comments=True)
        if line.startswith("synapse-apply controller approve"):
            code, shown = run_at_terminal(folder, b"yes\n", self._read_variables(), *typed[1:])
            assert code == 0, shown
            return shown
        if typed[:1] == ["synapse-apply"]:
            called = run_in_process(typed[1:], folder, self._read_variables())
            assert called.returncode == 0, f"{line}\n{called.stdout}{called.stderr}"
            return called.stdout + called.stderr
        done = subprocess.run(
            ["bash", "-ec", f"cd {folder}; . ../demo.env; {line}"],
            env=environment(GIT_ENVIRON),
            capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def _read_variables(self) -> dict[str, str]:
        lines = (self.folder / "demo.env").read_text(encoding="utf-8").splitlines()
        pairs = (line.removeprefix("export ").partition("=") for line in lines)
        return environment({name: value for name, _, value in pairs} | {"TERM": "dumb"})

    def wait_for(self, **states: str) -> None:
        """Wait until the targets of acme are in these states at the newest commit."""
        head = self._type("git rev-parse HEAD").strip()

        def find_states() -> dict[str, str]:
            items = requests.get(f"{self.page_url}/api/v1/targets", timeout=60).json()["items"]
            return {
                item["target"]: item["state"] for item in items if item["wanted_commit"] == head
            }

        def has_states() -> bool:
            found = find_states()
            return {name: found.get(name, "") for name in states} == states

        try:
            wait_until(has_states, SECONDS, f"{states}", pause=_PAUSE)
        except AssertionError as failure:
            raise AssertionError(f"{failure}, not {find_states()}") from None

    def read_plugin(self, target: str) -> str:
        """The live plugin of a target, as its backend has it."""
        variables = self._read_variables()
        url = f"{variables[f'DEMO_{target.upper()}_URL']}/_emulator/objects/plugin/1/"
        token = {"Authorization": f"Token {variables['DEMO_TOKEN']}"}
        return requests.get(url, headers=token, timeout=60).text


@pytest.fixture
def hour(tmp_path: Path) -> Iterator[FirstHour]:
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = ForkedController(
            [sys.executable, "-c", DEMO],
            env=environment({"TMPDIR": str(tmp_path)}),
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
        )  # fmt: skip
        try:
            pattern = r"^page (\S+) (\S+)$[\s\S]*it is your turn"
            match = wait_until(
                lambda: re.search(pattern, log.read_text("utf-8"), re.MULTILINE), SECONDS, pattern
            )
            yield FirstHour(Path(match[1]), match[2])
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{log.read_text('utf-8')}") from None
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def test_what_the_pages_write_into_controller_yaml_is_valid(tmp_path):
    """Without a warning: each block of the pages, in a file that has what the others left out."""
    base = "apiVersion: synapse-apply/v1\nkind: Controller\nmetadata: {name: main}\n"
    source = "sources: {acme: {url: https://git.example/acme.git, targets: {dev: {mode: auto}}}}\n"
    blocks = [
        block
        for page in ("controller.md", "controller-access.md", "controller-approvals.md")
        for block in re.findall(
            r"^```yaml\n(.*?)^```$",
            (ROOT / "docs" / page).read_text("utf-8"),
            re.MULTILINE | re.DOTALL,
        )
    ]
    assert len(blocks) == 7
    access = next(block for block in blocks if block.startswith("public_url"))
    for block in blocks:
        text = block if "apiVersion" in block else base + block
        text += "" if "sources:" in text else source
        text += "" if "access:" in text or "approve" not in text else access
        (tmp_path / "controller.yaml").write_text(text, encoding="utf-8")
        told = run("controller check --strict", tmp_path, {})
        assert "Warning" not in told.stdout + told.stderr, block


def test_the_first_hour_is_as_the_page_has_it(hour):
    """Red, mended, live, drift put right, held, approved, paused, resumed, and who did it."""
    hour.wait_for(dev="in sync", staging="drifted", prod="held")
    hour.type_until("git commit")
    hour.wait_for(dev="failing", staging="failing", prod="failing")
    hour.type_until("git commit")
    hour.wait_for(dev="in sync", prod="held")
    assert "Vision and platform" in hour.read_plugin("dev")
    assert re.search(
        r"^awaiting approval +acme/prod ",
        hour.type_until("synapse-apply controller status"),
        re.MULTILINE,
    )
    hour.type_until("curl")
    wait_until(
        lambda: "Changed by hand" not in hour.read_plugin("dev"), SECONDS, "put right", pause=_PAUSE
    )
    shown = hour.type_until("synapse-apply controller approve acme/prod")
    assert shown.index("plugin/image-processing") < shown.index("Approve ")
    assert "Approved " in shown
    hour.wait_for(prod="in sync")
    assert "Vision and platform" in hour.read_plugin("prod")
    assert "acme/dev is paused until" in hour.type_until("synapse-apply controller pause")
    hour.type_until("git commit")
    hour.wait_for(dev="paused", prod="held")
    shown = hour.type_until("synapse-apply controller status")
    assert re.search(r"^paused +acme/dev .*token:you.*incident 4711", shown, re.MULTILINE)
    assert re.search(
        r"^acme/dev is paused by token:you until .*: incident 4711$", shown, re.MULTILINE
    )
    assert "Night shift" not in hour.read_plugin("dev")
    hour.type_until("synapse-apply controller resume")
    hour.wait_for(dev="in sync")
    assert "Night shift" in hour.read_plugin("dev")
    assert "Night shift" not in hour.read_plugin("prod")
    shown = hour.type_until("synapse-apply controller audit")
    acts = re.findall(r"token:you +(\w+) +(\S+)", shown)
    assert acts == [("resume", "acme/dev"), ("pause", "acme/dev"), ("approve", "acme/prod")]
    assert "The chain is intact" in shown
    hour.type_until("synapse-apply apply")

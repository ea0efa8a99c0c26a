"""Makes the pictures of the pages, as a browser shows them: `make picture`.

docs/plan.png is the HTML page of a plan: that of examples/quickstart on the embedded backend, after
a release and a storage were added, one variable was changed, and so was one field that the API
cannot change. docs/controller.png and docs/controller-target.png are the controller's page at the
end of `controller run --demo`. docs/controller-rollout.png is the page of a rollout whose rows are
written here, since a wave of twelve targets takes longer than anybody waits for a picture.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import requests

from synapse_apply.controller.demo.demo import Demo, open_demo
from synapse_apply.controller.page.server import PageServer
from synapse_apply.controller.ports import LoopHealth
from synapse_apply.controller.rows import (
    RevisionRow,
    RolloutRow,
    RolloutTargetRow,
    SourceRow,
    TargetCondition,
    TargetName,
    TargetRow,
    WaveEnd,
    WaveRow,
)
from synapse_apply.controller.settings import Controller, Rollout, Source, Wave
from synapse_apply.controller.store.controller_store import SqliteControllerStore

DOCS = Path(__file__).resolve().parent
QUICKSTART = DOCS.parent / "examples" / "quickstart"
WIDTH, HEIGHT = 1100, 1240
CONTROLLER_PAGES = {
    "controller.png": ("/", 840),
    "controller-target.png": ("/targets/acme/prod", 1180),
}
AT_THE_END = {"dev": "in sync", "staging": "drifted", "prod": "held", "bench": "failing"}
SECONDS = 120.0
ARCHIVE = """
---
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: archive}
spec:
  {name: Archive, provider: file_system, category: internal, configuration: {base_path: /archive}}
"""


def make_plan_page(folder: Path) -> Path:
    """Apply the quickstart in a new folder, change it, and return the HTML page of its plan."""
    project = Path(shutil.copytree(QUICKSTART, folder / "quickstart",
                                   ignore=shutil.ignore_patterns(".synapse-apply")))  # fmt: skip
    _run(project, "apply", "-t", "embedded", "--auto-approve")
    _run(project, "bump", "image-processing", "minor", "-m", "Sharper edges")
    _replace(project / "synapse-apply.yaml", "default: 0.8", "default: 0.9")
    storages = project / "manifests" / "storages.yaml"
    _replace(storages, "us-west-2", "eu-central-1")
    storages.write_text(storages.read_text(encoding="utf-8") + ARCHIVE, encoding="utf-8")
    page = folder / "plan.html"
    _run(project, "plan", "-t", "embedded", "--report", f"html={page}")
    return page


@contextmanager
def open_controller_at_the_end_of_the_demo() -> Iterator[str]:
    """A controller whose targets are as the story leaves them; gives the address of its page."""
    is_over = threading.Event()

    def tell(text: str) -> None:
        if text.startswith("Now it is your turn"):
            is_over.set()

    with open_demo(tell, seconds_between_steps=8) as demo, run_controller(demo) as url:
        if not is_over.wait(SECONDS):
            sys.exit("the story of the demo did not end")
        give_up_at = time.monotonic() + SECONDS
        while read_conditions(url) != AT_THE_END:
            if time.monotonic() > give_up_at:
                sys.exit(f"the targets of the demo end otherwise: {read_conditions(url)}")
            time.sleep(1)
        yield url


@contextmanager
def run_controller(demo: Demo) -> Iterator[str]:
    command = [sys.executable, "-m", "synapse_apply", "controller", "run",
               str(demo.configuration_file), "--data", str(demo.data_folder)]  # fmt: skip
    with subprocess.Popen(command, env={**os.environ, **demo.variables}) as process:
        yield demo.page_url
        process.terminate()


def read_conditions(url: str) -> dict[str, str]:
    try:
        document = requests.get(f"{url}/api/v1/targets", timeout=10).json()
    except requests.RequestException:  # the controller starts
        return {}
    return {item["target"]: item["state"] for item in document["items"]}


class SettledLoop:
    """What the page needs of a loop to be read: its settings. Nobody can ask anything of it."""

    def __init__(self, settings: Controller) -> None:
        self._settings = settings

    def get_settings(self) -> Controller:
        return self._settings

    def read_health(self) -> LoopHealth:
        return LoopHealth(0.0, 60.0)

    def next_authors(self, _name: TargetName) -> tuple[str, ...] | None:
        return ()

    def fetch_soon(self, source: str) -> None:
        raise NotImplementedError(source)

    def get_people_actions(self) -> NoReturn:
        raise NotImplementedError

    def get_rollout_actions(self) -> NoReturn:
        raise NotImplementedError


@contextmanager
def open_rollout_page(folder: Path) -> Iterator[str]:
    """A page over a rollout in its second wave, in a store in this folder; gives its address."""
    waves = (
        Wave(("canary-*",), soak=1800),
        Wave(labels={"tier": "standard"}, soak=600, max_parallel=4, max_failures=2),
        Wave(("prod-*",), approve=True),
    )
    settings = Controller("main", {"acme": Source("acme", "https://git.example/acme/synapse.git")},
                          rollouts={"fleet": Rollout("fleet", "acme", waves)},
                          listen_port=0)  # fmt: skip
    with closing(SqliteControllerStore(folder)) as store:
        store.create_or_upgrade()
        write_rollout(store, time.time())
        with PageServer(store, SettledLoop(settings), {}, time.time) as server:
            yield f"{server.url}/rollouts/fleet"


def write_rollout(store: SqliteControllerStore, now: float) -> None:
    """Rows of sixteen targets in three waves; one of the second fails, and two soak."""
    old, new = "8c1f0e5a" * 5, "3b92d7c4" * 5
    soaking, failing, held, changing = (
        {"soaked": 240.0, "good_since": now - 240, "good_until": now},
        {"failed_at": now - 90},
        {},
        {},
    )
    shown = {"soaked": 2400.0, "good_since": now - 3000, "good_until": now - 60}
    members: list[tuple[str, int, TargetCondition, dict[str, float] | None]] = [
        *((f"canary-{n}", 1, TargetCondition.IN_SYNC, shown) for n in (1, 2)),
        *((f"eu-{n}", 2, TargetCondition.IN_SYNC, shown) for n in (1, 2)),
        *((f"eu-{n}", 2, TargetCondition.IN_SYNC, soaking) for n in (3, 4)),
        ("us-1", 2, TargetCondition.FAILING, failing),
        ("us-2", 2, TargetCondition.HELD, held),
        ("us-3", 2, TargetCondition.PENDING, changing),
        *((f"us-{n}", 2, TargetCondition.IN_SYNC, None) for n in (4, 5)),
        *((f"prod-{n}", 3, TargetCondition.IN_SYNC, None) for n in range(1, 6)),
    ]
    with store.write() as writer:
        writer.put(SourceRow("acme", fetched_at=now))
        subjects = {old: "Add the archive storage", new: "Raise the limit of image processing"}
        for number, (commit, subject) in enumerate(subjects.items(), start=1):
            revision = RevisionRow("acme", number, commit, now - 7200, "Mina Park", subject)
            writer.accept_head("acme", number - 1, revision)
        for target, wave, state, evidence in members:
            name, is_moved = TargetName("acme", target), evidence is not None
            number, commit, digest = (2, new, "new") if is_moved else (1, old, "old")
            target_row = TargetRow(name, commit, number, state=state, looked_number=number,
                                   wanted_digest=digest, head_digest="new")  # fmt: skip
            writer.put(target_row)
            row = RolloutTargetRow(name, "fleet", wave, 2, new, "new", digest,
                                   moved_at=now - 3600 if is_moved else 0.0)  # fmt: skip
            writer.put(replace(row, **(evidence or {})))
        writer.put(RolloutRow("acme", "fleet", 2, new, now - 7200, 3, 2, now - 3600))
        writer.put(WaveRow("acme", "fleet", 2, 1, now - 7200, "", now - 3600, WaveEnd.EVIDENCE))
        writer.put(WaveRow("acme", "fleet", 2, 2, now - 3600))


def take_picture(address: str, chromium: str, image: Path, height: int = HEIGHT) -> None:
    """Write the page as Chromium shows it to a PNG file."""
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
    size, out = f"--window-size={WIDTH},{height}", f"--screenshot={image}"
    subprocess.run([chromium, *options, size, out, address], check=True, capture_output=True)


def _run(project: Path, *arguments: str) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("SYNAPSE_")
    }
    environment["RAW_DATA_KEY_ID"] = "AKIAEXAMPLE"
    command = [sys.executable, "-m", "synapse_apply", *arguments]
    subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    if old not in text:
        sys.exit(f"{file.name} of the quickstart has no `{old}` any more: change docs/picture.py")
    file.write_text(text.replace(old, new), encoding="utf-8")


if __name__ == "__main__":
    browser = os.environ["CHROMIUM"]
    with tempfile.TemporaryDirectory() as temporary:
        take_picture(make_plan_page(Path(temporary)).as_uri(), browser, DOCS / "plan.png")
        with open_rollout_page(Path(temporary)) as rollout_url:
            take_picture(rollout_url, browser, DOCS / "controller-rollout.png", 760)
    with open_controller_at_the_end_of_the_demo() as controller_url:
        for name, (path, page_height) in CONTROLLER_PAGES.items():
            take_picture(controller_url + path, browser, DOCS / name, page_height)

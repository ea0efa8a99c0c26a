"""Makes the pictures of the pages, as a browser shows them: `make picture`.

docs/plan.png is the HTML page of a plan: that of examples/quickstart on the embedded backend, after
a release and a storage were added, one variable was changed, and so was one field that the API
cannot change. docs/controller.png and docs/controller-target.png are the controller's page at the
end of `controller run --demo`.
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
from contextlib import contextmanager
from pathlib import Path

import requests

from synapse_apply.controller.demo.demo import Demo, open_demo

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
    with open_controller_at_the_end_of_the_demo() as controller_url:
        for name, (path, page_height) in CONTROLLER_PAGES.items():
            take_picture(controller_url + path, browser, DOCS / name, page_height)

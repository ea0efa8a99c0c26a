"""Makes docs/plan.png, the HTML page of a plan in a browser: `make picture`.

The plan is that of examples/quickstart on the embedded backend, after a release and a storage were
added, one variable was changed, and so was one field that the API cannot change.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
QUICKSTART = DOCS.parent / "examples" / "quickstart"
WIDTH, HEIGHT = 1100, 1240
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


def take_picture(page: Path, chromium: str, image: Path) -> None:
    """Write the page as Chromium shows it to a PNG file."""
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
    size, out = f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={image}"
    subprocess.run([chromium, *options, size, out, page.as_uri()], check=True, capture_output=True)


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
    with tempfile.TemporaryDirectory() as temporary:
        take_picture(make_plan_page(Path(temporary)), os.environ["CHROMIUM"], DOCS / "plan.png")

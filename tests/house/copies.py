"""Copies of a commit with environments of their own, where tests run measured or against a mutant.

Each process that a test starts there has the copy's package, also one that is given no variables.
`python -m house.copies` prints what part of the branches of the package the tests run: `make coverage`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from coverage import Coverage

from house.revisions import run_git

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BIN = Path(sys.executable).parent
PARTS = ("planning", "applying", "stores", "controller/rules", "controller/worker")
SETTINGS = """\
[run]
branch = {by_branch}
parallel = true
core = ctrace
source = {folder}/tree/synapse_apply
data_file = {folder}/data/coverage
patch = fork, _exit
disable_warnings = no-data-collected, module-not-imported, module-not-measured, already-imported
"""
# A line of a .pth file, which each interpreter of the environment runs when it starts.
START = """\
import os; os.environ["COVERAGE_PROCESS_START"] = "{folder}/coverage.ini"; import measured; \
del os.environ["COVERAGE_PROCESS_START"]
"""


@dataclass(frozen=True)
class Copy:
    """`tree` has the files of the commit; `packages` is where its interpreter looks first."""

    folder: Path
    tree: Path
    packages: Path

    def run_tests(self, *words: str, seconds: float = 24 * 3600) -> tuple[int, str]:
        """Exit code and output of pytest there; 137 where the seconds were over."""
        python = self.folder / "environment/bin/python"
        command = ["timeout", "-s", "KILL", str(seconds), str(python), "-m", "pytest", *words]
        # Not through a pipe: what a test leaves running would keep it open.
        with (self.folder / "output").open("wb") as out:
            done = subprocess.run(command, cwd=self.tree, stdout=out, stderr=out, check=False)
        return done.returncode % 256, (self.folder / "output").read_text("utf-8", "replace")

    def measure(self, *words: str, by_branch: bool) -> Coverage:
        """What tests run, by branch or by test. What was measured before is read."""
        settings, data = self.folder / "coverage.ini", self.folder / "data"
        if not (data / "coverage").exists():
            for folder in (data, self.packages / "running"):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
            (self.packages / "reports").unlink(missing_ok=True)
            settings.write_text(SETTINGS.format(by_branch=by_branch, folder=self.folder))
            shutil.copy(HERE / "measured.py", self.packages)
            start = self.packages / "measured.pth"
            start.write_text(START.format(folder=self.folder))
            code, output = self.run_tests("-p", "measured", *words)
            start.unlink()
            if code not in {0, 1}:
                raise SystemExit(output)
            made = Coverage(config_file=str(settings))
            made.combine()
            made.save()
        measurement = Coverage(config_file=str(settings))
        measurement.load()
        return measurement


def make_copies(root: Path, commit: str, words: Sequence[str], count: int) -> list[Copy]:
    """Copies for what is done with `words`; those of an earlier run, with all that it found."""
    version = run_git(root, "rev-parse", "--short", commit).decode().strip()
    purpose = " ".join([*words, os.environ.get("SYNAPSE_APPLY_TEST_DEEP", "")])
    name = f"{version}-{hashlib.sha256(purpose.encode()).hexdigest()[:6]}"
    copies = []
    for number in range(count):
        folder = root / ".venv-mutants" / name / str(number)
        programs = folder / "environment/bin"
        packages = folder / "environment/lib" / Path(os.__file__).parent.name / "site-packages"
        copies.append(Copy(folder, folder / "tree", packages))
        if not packages.exists():
            shutil.rmtree(folder, ignore_errors=True)
            run_git(
                root, "clone", "-q", "--shared", "--no-checkout", str(root), str(folder / "tree")
            )
            shutil.copytree(BIN, programs, symlinks=True, copy_function=os.symlink)
            shutil.copy(BIN.parent / "pyvenv.cfg", programs.parent)
            # A script begins with the interpreter of the environment that it is installed in.
            text = (BIN / "synapse-apply").read_text("utf-8").replace(str(BIN), str(programs), 1)
            (programs / "synapse-apply").unlink()
            (programs / "synapse-apply").write_text(text, "utf-8")
            (programs / "synapse-apply").chmod(0o755)
            packages.mkdir(parents=True)
            paths = f"{folder}/tree\n{Path(pytest.__file__).parents[1]}\n"
            (packages / "copy.pth").write_text(paths, "utf-8")
        run_git(folder / "tree", "checkout", "-q", "-f", "--detach", commit)
    return copies


def main(words: list[str], root: Path = ROOT) -> None:
    """Print the share of each part, of its lines as well."""
    copy = make_copies(root, "HEAD", ["branches", *words], 1)[0]
    report = copy.folder / "report.json"
    copy.measure(*words, by_branch=True).json_report(outfile=str(report))
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for path, file in json.loads(report.read_text("utf-8"))["files"].items():
        within = path.partition("/tree/synapse_apply/")[2]
        part = next((part for part in PARTS if within.startswith(f"{part}/")), "others")
        for name in (part, "all"):
            sums[name].update({key: n for key, n in file["summary"].items() if isinstance(n, int)})
    for name in (*PARTS, "others", "all"):
        of = sums[name]
        share = 100 * of["covered_branches"] / max(1, of["num_branches"])
        branches = f"{of['covered_branches']} of {of['num_branches']} branches"
        lines = f"{of['covered_lines']} of {of['num_statements']} lines"
        print(f"{name:20} {share:5.1f} %  {branches:26}  {lines}")


if __name__ == "__main__":
    main(sys.argv[1:])

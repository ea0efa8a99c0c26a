"""README and the pages it leads to tell the truth: commands are run, output is compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from forking import programs
from in_process import run
from installed import ROOT, copied, environment

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARYING = (
    (re.compile(r"\d+\.\ds\b"), "N.Ns"),
    (re.compile(r"\bid \d+"), "id N"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\bops@\S+"), "ops@HOST"),  # whose width is that of the column
    (re.compile(r"\bWHO +COMMIT\b"), "WHO  COMMIT"),
    # On a terminal bars stand there, and calls that are made side by side end in any order.
    (re.compile(r"^[a-z]+/\S+: [A-Z][a-z ]+ after N\.Ns( \[id=[^]]+\])?\n", re.MULTILINE), ""),
)
# What goes to the error stream as each call ends, in no order; on a terminal a bar that goes away.
LOGGED = re.compile(r"^[a-z]+/\S+: [A-Z][a-z ]+ after [\d.]+s.*\n", re.MULTILINE)
MARK = "\x1e"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str


def blocks(*languages: str, text: str = README) -> list[Block]:
    """The fenced blocks of a page in some languages, in order."""
    return [Block(*match) for match in FENCE.findall(text) if match[0] in languages]


def page(name: str) -> str:
    """The text of a page of docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each `$ command` of a console block with the output shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def normal(text: str) -> str:
    text = LOGGED.sub("", text)
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return text


def shell(script: str, folder: Path, given: Mapping[str, str] | None = None) -> list[str]:
    """What each command of a script printed; they share one shell."""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=with_forked_commands(environment(given or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout.split(MARK)[:-1]


def with_forked_commands(variables: Mapping[str, str]) -> dict[str, str]:
    """The same environment for a shell whose `synapse-apply` is a fork (forking.py)."""
    return {**variables, "PATH": f"{programs()}{os.pathsep}{variables['PATH']}"}


def write(block: Block, folder: Path) -> Path:
    """A YAML block as the file its first line names."""
    name = block.text.partition("\n")[0].removeprefix("# ")
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text)
    return file


def test_the_console_blocks_print_what_the_readme_shows(tmp_path: Path) -> None:
    """Every command, in order, in a fresh folder that holds only the file shown."""
    write(blocks("yaml")[0], tmp_path)
    told = [pair for block in blocks("console") for pair in commands(block.text)]
    assert len(told) >= 5
    script = "".join(f"{command}\nprintf '{MARK}'\n" for command, _ in told)
    printed = shell(script, tmp_path)
    for (command, shown), real in zip(told, printed, strict=True):
        assert normal(real) == normal(shown), command
    run("apply -t embedded --auto-approve", tmp_path, SECRETS, 5)  # as the text below them says


SECRETS = {"RAW_DATA_KEY_ID": "AKIAEXAMPLE", "RAW_DATA_SECRET": "made-up"}


def test_the_files_shown_are_valid(tmp_path: Path) -> None:
    """The README's manifests fit the project file of docs/project.md and validate strictly."""
    shown = [*blocks("yaml"), *blocks("yaml", text=page("project.md"))]
    names = [write(block, tmp_path).name for block in shown]
    assert names == ["vision.yaml", "synapse-apply.yaml"]
    assert run("validate --strict", tmp_path, {}).stdout == "Valid: 2 resources for prod.\n"


def test_the_commands_for_pull_requests_work(tmp_path: Path) -> None:
    """The first two lines of docs/ci.md pass on the README's own manifests."""
    write(blocks("yaml")[0], tmp_path)
    (tmp_path / "synapse-apply.yaml").write_text("apiVersion: synapse-apply/v1\nkind: Project\n")
    block = blocks("sh", text=page("ci.md"))[0]
    assert "validate --strict" in block.text
    printed = shell(f"set -e\n{block.text}printf '{MARK}'\n", tmp_path)
    assert len(printed) == 1
    assert printed[0].startswith("Valid: 2 resources for embedded.\n")
    assert "Apply complete! Resources: 2 added" in printed[0]


def test_the_first_project_commands_work(tmp_path: Path) -> None:
    """What init writes can be planned at once on the embedded backend."""
    block = next(block for block in blocks("sh") if "synapse-apply init storage" in block.text)
    lines = [line.partition("#")[0].strip() for line in block.text.splitlines()]
    first, from_folder, new = [line.removeprefix("synapse-apply ") for line in lines[1:]]
    assert (first, new.split()[0]) == ("init", "init")
    plugin = ROOT / "examples" / "quickstart" / "plugins" / "image-processing"
    copied(plugin, tmp_path / "other" / "plugins").rename(
        tmp_path / "other" / "plugins" / "my-plugin"
    )
    run(from_folder, tmp_path / "other", {})
    run("validate", tmp_path / "other", {})
    run("init", tmp_path, {})
    run("plan -t embedded", tmp_path, {})
    run(new, tmp_path, {})
    assert "kind: Storage" in (tmp_path / "manifests" / "raw-data.yaml").read_text()


def test_the_python_block_runs(tmp_path: Path) -> None:
    """The library's example runs as it stands, beside the README's manifests."""
    write(blocks("yaml")[0], tmp_path)
    (block,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", block.text],
        cwd=tmp_path,
        env=environment(SECRETS),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")

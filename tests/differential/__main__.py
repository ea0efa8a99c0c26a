"""Compares two trees: `PYTHONPATH=tests python -m differential OLD_TREE [--worlds N] [--seed N]`.

Each draws the same random stories of the laws and runs the same commands on them. Plans, texts, exit
codes, requests, live objects and rows of the state must be equal once what no two runs share is
named by its first use: `_NAMED` below. Reads that only one side makes are counted and listed, writes
never differ. OLD_TREE is a working tree of another commit.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from laws.bench import APIS, TENANT, TOKEN, Server, combinations
from laws.worlds import SECRET_FILE, SECRETS, Story, World, stories

from differential.recording import Recording

HERE = Path(__file__).parent
TREE = HERE.parent.parent
GUARDS = ("no-manifests", "all-missing", "mass-missing", "recreate", "adopt")
ANYTHING_GOES = "--recreate --adopt --no-package-check package:code --no-package-check package:name"
# The order counts: an earlier form is replaced before a later one is looked for.
_NAMED = (
    ("time", r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?|\b1[789]\d{8}\.\d+\b"),
    ("clock", r"\b\d\d:\d\d:\d\d\b"),
    ("uuid", r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
    ("digest", r"\b[0-9a-f]{8,64}\b"),
    ("signature", r"[A-Za-z0-9+/_-]{40,}={0,2}"),
    ("seconds", r"(, )?\b\d+(\.\d+)? ?(ms|s)\b"),
    ("duration", r'(?<=seconds": )[\d.e-]+|(?<=duration": )[\d.e-]+'),
)
_PATTERN = re.compile("|".join(f"(?P<{name}>{form})" for name, form in _NAMED))
_COUNTED = ("uuid", "digest", "signature")


class Side:
    """A tree that runs commands, and a backend and a project of its own for each story."""

    def __init__(self, tree: Path, emulator: Path, folder: Path) -> None:
        self.folder = folder
        self.backend = _start(emulator, str(folder / "backend"), TOKEN, TENANT)
        self.server = Server(_read(self.backend)["url"])
        self.proxy = Recording(self.server.url)
        self.runner = _start(tree)

    def begin(self, api: str, switches: dict[str, str]) -> None:
        self.names: dict[str, str] = {}
        self.server.reset(switches)
        self.root = self.folder / "project"
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "manifests").mkdir(parents=True)
        (self.root / "secrets").mkdir()
        (self.root / SECRET_FILE).write_text(SECRETS["LAW_SECRET_0"] + "\n", encoding="utf-8")
        (self.root / "synapse-apply.yaml").write_text(
            "apiVersion: synapse-apply/v1\nkind: Project\nmanifests: [manifests/]\n"
            "policy: {rules: [{rule: no-debug-releases, severity: off}]}\n"
            f"targets:\n  law: {{url: '{self.proxy.url}', tenant: {TENANT}, settle_after: 0,"
            f" token: {{env: LAW_TOKEN}}, api: {api}, unsupported_fields: warning}}\n"
        )
        self.run("state init -t law")

    def run(self, typed: str) -> dict[str, Any]:
        """What the command printed, how it ended and what it sent."""
        self.proxy.requests.clear()
        line = json.dumps({"typed": typed.split(), "folder": str(self.root)}) + "\n"
        assert self.runner.stdin is not None
        self.runner.stdin.write(line)
        self.runner.stdin.flush()
        ended = _read(self.runner)
        assert ended["code"] != 64, ended["err"]
        writes, reads = [], Counter[str]()
        for method, target, body in self.proxy.requests:
            if method in ("GET", "HEAD"):
                reads[self.spell(f"{method} {target}")] += 1
            else:
                writes.append(self.spell(f"{method} {target} {body}"))
        told = {name: self.spell(str(ended[name])).splitlines() for name in ("code", "out", "err")}
        return {"command": typed, **told, "writes": sorted(writes), "reads": reads}

    def look(self) -> dict[str, Any]:
        """The live objects and the rows of the state."""
        rows = {}
        for file in sorted((self.root / ".synapse-apply").rglob("*.db")):
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
                tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
                for (table,) in database.execute(tables).fetchall():
                    content = database.execute(f"SELECT * FROM {table}").fetchall()
                    rows[table] = [self.spell(repr(row)) for row in content]
        live = {
            kind: self.spell(json.dumps(all_)) for kind, all_ in self.server.everything().items()
        }
        return {"live": live, "rows": rows}

    def spell(self, text: str) -> str:
        for own, name in ((str(self.folder), "FOLDER"), (self.proxy.url[7:], "HOST")):
            text = text.replace(own, name)
        return _PATTERN.sub(self._name, text)

    def _name(self, found: re.Match[str]) -> str:
        form = str(found.lastgroup)
        if form not in _COUNTED or (form == "digest" and found[0].isdecimal()):
            return found[0] if form == "digest" else ""
        return self.names.setdefault(found[0], f"<{form} {len(self.names)}>")

    def end(self) -> None:
        for process in (self.runner, self.backend):
            process.kill()
            process.wait()


def _start(tree: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", str(HERE / "side.py"), str(tree), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"LAW_TOKEN": TOKEN, "SYNAPSE_APPLY_STATE_KEY": "bGF3" * 11 + "bGE=", **SECRETS},
    )


def _read(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.readline() or '{"out": "ended"}')
    return answer


def _play(side: Side, story: Story) -> Iterator[dict[str, Any]]:
    """The commands of a day: look, apply, look again; then others change things."""
    overridden = " ".join(f"--override-guard {guard}" for guard in GUARDS)
    more = f"-t law {ANYTHING_GOES}{' --prune' if story.prune else ''} {overridden}"
    for address in story.before:
        side.server.exists_already(story.first, address)
    for world, edits in ((story.first, story.outside), (story.second, story.later)):
        _write(side, world)
        yield side.run("validate -t law --json")
        yield side.run(f"plan {more} --json")
        yield side.run(f"plan {more} --show-unchanged")
        yield side.run(f"apply {more} --allow-replace --auto-approve --parallelism 1 --json")
        yield side.look()
        for edit in edits:
            side.server.edit(edit)
        yield side.run("drift -t law --json")
        yield side.run("plan -t law --detailed-exitcode")
        yield side.run(f"apply {more} --allow-replace --auto-approve --parallelism 1")
        yield side.look()
    for command in ("state show", "state history", "validate --graph", "export"):
        yield side.run(f"{command} -t law")


def _write(side: Side, world: World) -> None:
    world.write(side.root)


def _compare(old: dict[str, Any], new: dict[str, Any], saved: Counter[str]) -> None:
    reads, more = old.pop("reads", Counter()), new.pop("reads", Counter())
    saved.update(reads - more)
    assert not more - reads, f"only the new one reads: {dict(more - reads)}, {old.get('command')}"
    for name, before in old.items():
        if new[name] != before:
            lines = [json.dumps(one, indent=1).splitlines() for one in (before, new[name])]
            told = "\n".join(difflib.unified_diff(*lines, "old", "new", n=1, lineterm=""))
            raise AssertionError(f"{name} of {old.get('command', 'the state')} differs:\n{told}")


def main() -> None:
    """Compare, and print how many worlds were equal and which reads are no longer made."""
    parser = argparse.ArgumentParser(prog="python -m differential", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("--worlds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given_ = parser.parse_args()
    saved, count = Counter[str](), itertools.count()
    with tempfile.TemporaryDirectory() as folder:
        old, new = (
            Side(tree.resolve(), given_.old.resolve(), Path(folder) / name)
            for name, tree in (("old", given_.old), ("new", TREE))
        )
        kinds = [(api, switches) for api in APIS for switches in combinations(api)]

        @seed(given_.seed)
        @settings(
            max_examples=given_.worlds,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(stories(), st.sampled_from(kinds))
        def law(drawn: Story, kind: tuple[str, dict[str, str]]) -> None:
            api, switches = kind
            story = drawn.on(api, switches)
            for side in (old, new):
                side.begin(api, switches)
            # Each plays to its end, so that both backends have counted as far.
            for before, after in zip([*_play(old, story)], [*_play(new, story)], strict=True):
                _compare(before, after, saved)
            next(count)

        try:
            law()
        finally:
            for side in (old, new):
                side.end()
    print(f"{next(count)} worlds were equal; reads no longer made: {dict(saved) or 'none'}")


if __name__ == "__main__":
    main()

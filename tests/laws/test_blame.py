"""`blame` says of each live value what is true, and never who did what was done outside."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from laws.bench import ANYTHING_GOES, Project, Recorder, Server
from laws.effort import DEEP, effort
from laws.worlds import SECRETS, document
from profiles import PAGE

from synapse_apply import (
    OpenTarget,
    PlanOptions,
    RemoteError,
    SilentProgress,
    SynapseApplyError,
    apply,
    check,
    open_context,
    open_target,
    plan,
)
from synapse_apply.cli.texts.objects import build_blame_document
from synapse_apply.library import Blame, ValueOrigin
from synapse_apply.model.address import Address
from synapse_apply.model.errors import Effect
from synapse_apply.model.state import Uptime
from synapse_apply.workspace.target_session import TargetSession

AUTHORS = ("Ann Author", "Bob Author", "Cho Author")
OTHER = "Dan Other"  # commits in the other project
FIELDS = {
    "v1": (("description",), ("author",), ("configuration", "a"), ("configuration", "b")),
    "v2": (("description",), ("name",)),
}
SECRET = {"valueFrom": {"env": "LAW_SECRET_0"}}
STORAGE = {
    "name": "S", "category": "external", "provider": "amazon_s3",
    "configuration": {
        "bucket_name": "raw", "region": "eu", "access_key_id": SECRET, "secret_access_key": SECRET,
    },
}  # fmt: skip
VALUES = ("one", "two", "three", "four")
STEP = timedelta(minutes=10)


class Clock:
    """A wall clock that tests set forward."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 2, 8, tzinfo=UTC)

    def utc_now(self, _clock: Any = None) -> str:
        return self.now.isoformat(timespec="microseconds").replace("+00:00", "Z")


class LostUpdate(Recorder):
    """The next update gets no answer, and arrives later, or never."""

    def _lose(self, *given: Any) -> Any:
        self.sent.append(("update_plugin", given[-1]))
        raise RemoteError("no answer", effect=Effect.UNKNOWN)

    @property
    def v2(self) -> LostUpdate:
        return LostUpdate(self.api.v2, self.server, self.sent)

    def __getattr__(self, name: str) -> Any:
        return self._lose if name == "update_plugin" else super().__getattr__(name)


@dataclass
class Truth:
    """Who set a value: `by` is commit and author of ours, "outside" or "late"; `plan` our apply's.

    `told`: the state knows it from an answer. `before` is what it was when we looked last, with
    whose it was then; `since` when it was changed outside, and `put_back` when we have put it back.
    """

    value: Any
    by: tuple[str, str] | str
    plan: str = ""
    told: bool = True
    since: str = ""
    put_back: list[tuple[str, str]] = field(default_factory=list)


class History:
    """A project under Git, its plugin, and what was really done to that."""

    def __init__(self, server: Server, root: Path, api: str, seed: int) -> None:
        self.server, self.api, self.random = server, api, random.Random(seed)
        self.clock, self.log = Clock(), [f"seed {seed}"]
        self.project = Project.make(root, server, api)
        self.root = root
        self.name, self.number = "p0", 0
        self.fields: dict[tuple[str, ...], Any] = dict.fromkeys(FIELDS[api], "one")
        (root / "package").mkdir()
        (root / "package" / "config.yaml").write_text("code: law-p\nversion: 1.0.0\n")
        (root / "other").mkdir()
        self.other = Project.make(root / "other", server, api)
        self.git("init", "-q", "-b", "main")
        self.git("init", "-q", "-b", "main", folder=self.other.root)
        self.truth: dict[tuple[str, ...], Truth] = {}
        # By field: the commit and the author of its line; and what we saw last.
        self.declared: dict[tuple[str, ...], tuple[str, str]] = {}
        self.seen: dict[tuple[str, ...], Truth] = {}
        self.late: dict[str, Any] | None = None
        self.sent: dict[tuple[str, ...], set[Any]] = {path: set() for path in self.fields}
        self.lost: dict[tuple[str, ...], set[Any]] = {path: set() for path in self.fields}
        self.write_commit(*self.fields)
        self.first, self.first_plan = next(iter(self.declared.values())), ""

    def git(self, *words: str, author: str = AUTHORS[0], folder: Path | None = None) -> str:
        environ = {**os.environ, "GIT_AUTHOR_NAME": author, "GIT_AUTHOR_EMAIL": "a@x",
                   "GIT_COMMITTER_NAME": "Merge Bot", "GIT_COMMITTER_EMAIL": "bot@x",
                   "GIT_COMMITTER_DATE": self.clock.utc_now(), "GIT_CONFIG_GLOBAL": os.devnull}  # fmt: skip
        done = subprocess.run(["git", *words], cwd=folder or self.root, env=environ, check=True,
                              capture_output=True, text=True)  # fmt: skip
        return done.stdout.strip()

    @property
    def address(self) -> Address:
        return Address("plugin", self.name)

    def plugin_spec(self, fields: dict[tuple[str, ...], Any]) -> dict[str, Any]:
        spec: dict[str, Any] = {"name": "P", "code": "law-p"}
        if self.api == "v2":
            spec["category"] = "neural_net"
        for path, value in fields.items():
            tree = spec
            for part in path[:-1]:
                tree = tree.setdefault(part, {})
            tree[path[-1]] = value
        return spec

    def write_commit(self, *changed: tuple[str, ...]) -> None:
        release = {"plugin": self.name, "version": "1.0.0", "source": "./package"}
        documents = [
            document("Plugin", self.name, self.plugin_spec(self.fields)),
            document("Release", None, release),
            document("Storage", "s", STORAGE),
        ]
        text = yaml.safe_dump_all(documents, sort_keys=False)
        (self.root / "manifests" / "p.yaml").write_text(
            "# " * self.random.randint(0, 1) + "\n" + text
        )
        author = self.random.choice(AUTHORS)
        self.git("add", "synapse-apply.yaml", "manifests", "package")
        self.git("commit", "-q", "--allow-empty", "-m", "change", author=author)
        commit = self.git("rev-parse", "HEAD")
        self.declared |= dict.fromkeys(changed, (commit, author))

    # What may happen.

    def commit(self) -> None:
        path = self.random.choice([*self.fields])
        if (value := self.random.choice(VALUES)) != self.fields[path]:
            self.fields[path] = value
            self.write_commit(path)

    def roll_back(self) -> None:
        """A commit has the values of an earlier one again."""
        older = {path: self.random.choice([value, "one"]) for path, value in self.fields.items()}
        changed = [path for path in older if older[path] != self.fields[path]]
        self.fields = older
        if changed:
            self.write_commit(*changed)

    def edit(self, path: tuple[str, ...], value: Any, by: str = "outside") -> None:
        """Somebody else sets a field."""
        truth = self.truth.get(path)
        if truth is None or truth.value == value:
            return
        row = self.server.objects("plugin")[0]
        body: Any = {path[0]: value}
        if len(path) > 1:
            body = {path[0]: {**row["body"].get(path[0], {}), path[1]: value}}
        self.server.send("PATCH", f"/_emulator/objects/plugin/{row['id']}/", body)
        self.changed(path, value, by)

    def changed(self, path: tuple[str, ...], value: Any, by: str = "outside") -> None:
        seen = self.seen.get(path)
        if seen is not None and seen.value == value:
            # Changed and set back before anybody looked: nobody can notice.
            self.truth[path] = replace(seen)
        else:
            put_back = self.truth[path].put_back
            self.truth[path] = Truth(value, by, since=self.clock.utc_now(), put_back=put_back)

    def outside(self) -> None:
        self.edit(self.random.choice([*self.fields]), self.random.choice(VALUES))

    def outside_twice(self) -> None:
        self.outside()
        self.outside()

    @contextmanager
    def session(self, *, lost: bool = False) -> Iterator[tuple[TargetSession, Recorder]]:
        with open_context(self.project.where) as session:
            recorder = (LostUpdate if lost else Recorder)(session.api, self.server)
            session.api = recorder
            yield session, recorder

    def target(self) -> AbstractContextManager[OpenTarget]:
        return open_target("law", folder=self.root, environ=self.project.environ)

    def apply(self, options: PlanOptions = ANYTHING_GOES, *, lost: bool = False) -> None:
        with self.session(lost=lost) as (session, recorder), session.store.lock("apply"):
            planned = plan(session, replace(options, adopt=True))
            check(planned.plan)
            was = {path: self.live(path) for path in self.fields}
            apply(session, planned, SilentProgress())
            self.first_plan = self.first_plan or planned.plan.id
            self.clock.now += timedelta(seconds=1)
            if not any(name == "update_plugin" for name, _ in recorder.sent) and self.truth:
                self.looked()
                return
            if lost:
                self.late = dict(recorder.sent[-1][1])
                self.note_sent()
                for path, value in self.fields.items():
                    self.lost[path].add(value)
                return
            self.note_sent()
            for path in self.fields:
                now, truth = self.live(path), self.truth.get(path)
                if truth is None or now != was[path]:
                    put_back = list(truth.put_back) if truth else []
                    if truth and truth.by == "outside" and self.knew(path, was[path]):
                        put_back.append((truth.since, self.clock.utc_now()))
                    self.truth[path] = Truth(
                        now, self.declared[path], planned.plan.id, put_back=put_back
                    )
            self.looked()

    def knew(self, path: tuple[str, ...], was: Any) -> bool:
        seen = self.seen.get(path)
        return seen is not None and seen.value != was

    def note_sent(self) -> None:
        for path, value in self.fields.items():
            self.sent[path].add(value)

    def looked(self, *, keeps_drift: bool = True) -> None:
        for path, truth in self.truth.items():
            if not keeps_drift or truth.value == self.fields[path] or path not in self.seen:
                self.seen[path] = replace(truth)

    def hold(self) -> None:
        """An apply that keeps drift."""
        self.apply(replace(ANYTHING_GOES, on_drift="hold"))

    def lose(self) -> None:
        """An apply whose update gets no answer."""
        if self.truth and self.late is None:
            self.apply(lost=True)

    def arrive(self) -> None:
        """The lost update acts after all."""
        if self.late is not None and self.truth:
            for path in self.fields:
                value = self.late.get(path[0], None)
                value = value.get(path[1]) if len(path) > 1 and value else value
                if value is not None:
                    self.edit(path, value, "late")
            self.late = None

    def wait(self) -> None:
        self.clock.now += timedelta(hours=self.random.randint(1, 40))

    def accept(self) -> None:
        if not self.truth:
            return
        with self.target() as target:
            target.state.accept(str(self.address))
        self.looked(keeps_drift=False)

    def import_(self) -> None:
        """The record is made anew from what is live."""
        if not self.truth:
            return
        remote_id = str(self.server.objects("plugin")[0]["id"])
        with self.target() as target:
            target.import_objects({str(self.address): remote_id})
        for truth in self.truth.values():
            truth.told = False
        self.looked(keeps_drift=False)

    def move(self) -> None:
        """The plugin gets another address."""
        new = f"p{self.number + 1}"
        if self.truth:
            with self.target() as target:
                target.state.rename(str(self.address), f"plugin/{new}")
        # Refused while a call is open: then the manifest keeps its name.
        self.name, self.number = new, self.number + 1
        self.write_commit()

    def other_project(self) -> None:
        """Another project with a state of its own manages the plugin, too."""
        if not self.truth:
            return
        fields = {path: self.random.choice(VALUES) for path in self.fields}
        text = yaml.safe_dump(document("Plugin", "theirs", self.plugin_spec(fields)))
        (self.other.root / "manifests" / "p.yaml").write_text(text)
        self.git("add", "synapse-apply.yaml", "manifests", folder=self.other.root)
        words = ("commit", "-q", "--allow-empty", "-m", "theirs")
        self.git(*words, author=OTHER, folder=self.other.root)
        with open_context(self.other.where) as session, session.store.lock("apply"):
            planned = plan(session, replace(ANYTHING_GOES, adopt=True))
            apply(session, planned, SilentProgress())
        for path, truth in self.truth.items():
            if (now := self.live(path)) != truth.value:
                self.changed(path, now)

    def live(self, path: tuple[str, ...]) -> Any:
        rows = self.server.objects("plugin")
        value: Any = rows[0]["body"] if rows else {}
        for part in path:
            value = (value or {}).get(part)
        return value

    def play(self, steps: int) -> None:
        acts = [self.commit] * 4 + [self.apply] * 5 + [self.outside] * 4 + [
            self.outside_twice, self.hold, self.accept, self.import_, self.move, self.roll_back,
            self.wait, self.lose, self.arrive, self.other_project,
        ]  # fmt: skip
        self.apply()
        for _ in range(steps):
            self.clock.now += STEP
            act = self.random.choice(acts)
            self.log.append(act.__name__)
            try:
                act()
            except SynapseApplyError as stopped:
                self.log.append(f"  {stopped}")

    def blame(self, name: str) -> Blame:
        self.clock.now += STEP
        with self.target() as target:
            return target.blame(name)


def judge(history: History) -> None:
    """Each field against the truth."""
    found = history.blame(str(history.address)).fields
    blamed = {tuple(map(str, one.path)): one for one in found}
    for path, truth in history.truth.items():
        one, text = blamed[path], blamed[path].sentence
        where = (history.log, path, truth, text)
        assert one.live == truth.value, where
        if one.origin is ValueOrigin.SENT:
            assert one.call is not None, where
            assert (one.changed_by, one.author) == truth.by, where
            assert one.call.plan_id == truth.plan, where
            was_put_back = bool(truth.put_back) and truth.put_back[-1][1][:19] >= one.call.at[:19]
            # A value that a lost call sent too may be of that call.
            if one.before or not history.lost[path]:
                assert bool(one.before) == was_put_back, where
            if one.before:
                since, at = truth.put_back[-1]
                assert one.after <= since <= one.before <= at, where
        else:
            assert not any(name in text for name in (*AUTHORS, OTHER)), where
            assert "by commit" not in text, where
        if one.origin is ValueOrigin.OUTSIDE:
            assert truth.by == "outside", where
            assert one.after <= truth.since <= one.before, where
        if one.origin is ValueOrigin.EQUAL:
            assert truth.value in history.sent[path], where
        if one.origin is ValueOrigin.ACCEPTED:
            assert truth.by == "outside", where
        if isinstance(truth.by, tuple) and truth.told:
            assert one.origin is ValueOrigin.SENT, where
        if truth.by == "late":
            assert one.origin in (ValueOrigin.EQUAL, ValueOrigin.UNKNOWN), where


def judge_others(history: History) -> None:
    """The release and the storage, which only the first apply has sent, and what hides secrets."""
    is_changed = history.random.random() < 0.5
    if is_changed:
        row = history.server.objects("storage")[0]
        body = {**row["body"]["configuration"], "bucket_name": "theirs", "secret_access_key": "new"}
        path = f"/_emulator/objects/storage/{row['id']}/"
        history.server.send("PATCH", path, {"configuration": body})
    for name in ("storage/s", f"release/{history.name}@1.0.0"):
        blamed = history.blame(name)
        text = json.dumps(build_blame_document(blamed))
        assert not any(secret in text for secret in SECRETS.values()), text
        for one in blamed.fields:
            where = (history.log, name, one.name, one.sentence)
            if one.origin is ValueOrigin.SENT:
                assert one.call is not None, where
                assert (one.changed_by, one.author) in {history.first, ("", "")}, where
                assert one.call.plan_id == history.first_plan, where
            else:
                assert not any(who in one.sentence for who in (*AUTHORS, OTHER)), where
    origins = {one.name: one.origin for one in history.blame("storage/s").fields}
    its_own = ValueOrigin.OUTSIDE if is_changed else ValueOrigin.SENT
    assert origins["configuration.bucket_name"] is its_own, history.log
    assert origins["configuration.secret_access_key"] in {its_own, ValueOrigin.UNKNOWN}, history.log
    assert origins["configuration.region"] is ValueOrigin.SENT, history.log


@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("api", ["v1", "v2"])
def test_random_histories(server: Server, api: str, part: int) -> None:
    """Of a plugin that is updated as a whole, and of one of which only changed fields are sent."""
    many = effort(5, 75).max_examples
    first = random.SystemRandom().randrange(2**32) if DEEP else part * many
    for seed in range(first, first + many):
        play(server, api, seed)


def play(server: Server, api: str, seed: int) -> None:
    server.reset({"profile": PAGE, "plugin_list": "list"} if api == "v1" else {"profile": PAGE})
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        history = History(server, Path(folder), api, seed)
        with open_context(history.project.where) as session:
            patch.setattr(type(session.clock), "utc_now", history.clock.utc_now)
        patch.setattr(sys.modules[TargetSession.__module__], "read_uptime", Uptime)
        history.play(14)
        judge(history)
        judge_others(history)

"""Project files of commits, read by real children: what is told of one that takes too long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from contract.controller.loop.stand_ins import World
from contract.controller.upstream import PROJECT, Upstream, build_source, read_no_secret

from synapse_apply.controller.loop.parts import ConfiguredParts
from synapse_apply.controller.ports import LabelledTarget, SourceUnavailable
from synapse_apply.controller.settings import Source
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.worker.look import read_targets_in_child
from synapse_apply.model.errors import InputError

pytestmark = pytest.mark.usefixtures("forked_workers")
# Over before anything is asked.
TOO_SHORT = 0.0
LISTED = """
targets_from:
  file: list.json
  template: {url: "https://x.example/${row.name}", token: {env: X}}
"""


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    return Upstream(tmp_path)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


class Reading:
    """Reads in a child, and counts how often."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.count = 0
        self._read = partial(read_targets_in_child, seconds=seconds)

    def __call__(
        self, source: Source, data: Path, commit: str, pin: str
    ) -> tuple[LabelledTarget, ...]:
        self.count += 1
        return self._read(source, data, commit, pin)


def test_a_child_reads_what_the_controller_itself_would(tmp_path, upstream):
    """Targets, labels and digests, also under the settings of another ref; once for a commit."""
    pinned = PROJECT.replace("}}", "}, labels: {tier: gold}}")
    upstream.commit({"env/synapse-apply.yaml": pinned})
    files = {"env/synapse-apply.yaml": PROJECT, "env/m/é.yaml": "a: 1\n"}
    upstream.commit(files, branch="next")
    for ref in ("main", ""):
        source = build_source(upstream, ref="next", path="env", project_from=ref)
        reading = Reading()
        mirror = GitMirror(source, tmp_path / "data", read_no_secret, read_targets=reading)
        commit = mirror.fetch_head().commit
        targets = mirror.list_targets(commit)
        assert [target.name for target in targets] == ["prod"]
        assert targets == GitMirror(source, tmp_path / "data", read_no_secret).list_targets(commit)
        assert mirror.list_targets(commit) == targets
        assert reading.count == 1


def test_a_file_that_cannot_be_used_is_told_with_its_place(tmp_path, upstream):
    """As if the controller had read it; all findings."""
    commit = upstream.commit({"synapse-apply.yaml": PROJECT + "tagets: 1\nmanifets: 2\n"})
    mirror = GitMirror(
        build_source(upstream), tmp_path / "data", read_no_secret, read_targets=Reading()
    )
    mirror.fetch_head()
    with pytest.raises(InputError) as caught:
        mirror.list_targets(commit)
    assert [str(finding.position) for finding in caught.value.diagnostics] == [
        f"{commit[:7]}:synapse-apply.yaml:6:1",
        f"{commit[:7]}:synapse-apply.yaml:7:1",
    ]


def test_a_source_whose_file_takes_too_long_is_told_and_stops_no_other(tmp_path, upstream, world):
    """The finding says how long it may take. It is not tried again at once, whoever asks."""
    upstream.commit({"synapse-apply.yaml": PROJECT})
    slow, fast = Reading(TOO_SHORT), Reading()
    acme = replace(build_source(upstream), rules=world.settings.sources["acme"].rules)
    sources = {"acme": acme, "beta": replace(acme, name="beta")}
    world.settings = replace(world.settings, sources=sources)
    mirrors = {
        name: GitMirror(source, tmp_path / "data", read_no_secret, read_targets=reading)
        for (name, source), reading in zip(sources.items(), (slow, fast), strict=True)
    }
    world.configure = lambda: ConfiguredParts(world.settings, mirrors, {}, {})
    assert world.run_once() == ["beta/prod"]
    row = world.store.find_source("acme")
    assert row.finding is not None
    assert row.finding.detail == "acme: reading the project file took longer than 0 s."
    assert row.due_at > world.clock.wall
    assert (slow.count, fast.count) == (1, 1)
    with pytest.raises(SourceUnavailable, match="cannot be read"):
        mirrors["acme"].list_targets(row.head)
    assert slow.count == 1


def test_a_source_of_too_many_targets_is_a_finding_at_the_first_that_is_too_many(
    tmp_path, upstream
):
    """As many as are allowed are read."""
    rows = [f'{{"name": "t{number}"}}' for number in range(20_001)]
    project = PROJECT.partition("targets:")[0] + LISTED
    mirror = GitMirror(
        build_source(upstream), tmp_path / "data", read_no_secret, read_targets=Reading()
    )
    for count in (20_000, 20_001):
        listed = "[\n" + ",\n".join(rows[:count]) + "\n]"
        commit = upstream.commit({"synapse-apply.yaml": project, "list.json": listed})
        mirror.fetch_head()
        if count == 20_000:
            assert len(mirror.list_targets(commit)) == count
    with pytest.raises(InputError) as caught:
        mirror.list_targets(commit)
    (finding,) = caught.value.diagnostics
    assert finding.summary == "Too many targets"
    assert "declares 20,001 targets" in finding.detail
    assert "20,000" in finding.detail
    assert str(finding.position) == f"{commit[:7]}:list.json:20002:1"


def test_labels_of_targets_are_limited_together(tmp_path, upstream):
    """A template repeats one text for each row of a list, and every page reads the labels."""
    project = PROJECT.partition("targets:")[0] + LISTED
    mirror = GitMirror(
        build_source(upstream), tmp_path / "data", read_no_secret, read_targets=Reading()
    )
    for length in (2_000, 5_000):
        labelled = project.replace("{env: X}", f"{{env: X}}, labels: {{tier: {'x' * length}}}")
        rows = ", ".join(f'{{"name": "t{number}"}}' for number in range(1_000))
        commit = upstream.commit({"synapse-apply.yaml": labelled, "list.json": f"[{rows}]"})
        mirror.fetch_head()
        if length == 2_000:
            assert len(mirror.list_targets(commit)) == 1_000
    with pytest.raises(InputError, match="labels of the targets are too long"):
        mirror.list_targets(commit)


@pytest.mark.parametrize("leaf", ["a: 1\n", ""])
def test_trees_that_hold_one_another_many_times_are_a_finding(tmp_path, upstream, leaf):
    """A few hundred entries are ten thousand million files, or folders without a file."""
    commit = upstream.commit_nested_trees({"synapse-apply.yaml": PROJECT}, "manifests", leaf=leaf)
    mirror = GitMirror(
        build_source(upstream), tmp_path / "data", read_no_secret, read_targets=Reading()
    )
    mirror.fetch_head()
    with pytest.raises(InputError) as caught:
        mirror.list_targets(commit)
    (finding,) = caught.value.diagnostics
    assert finding.summary == "A commit has too many files"
    assert f". at {commit[:7]} has more than 200,000 files and folders" in finding.detail


def test_a_project_of_as_many_files_as_are_allowed_is_read(tmp_path, upstream):
    """One more is too many."""
    blob = upstream.write_blob(b"x")
    files = {"synapse-apply.yaml": PROJECT}
    entries = [f"100644 {blob}\tf{number}" for number in range(200_000)]
    mirror = GitMirror(
        build_source(upstream), tmp_path / "data", read_no_secret, read_targets=Reading()
    )
    commit = upstream.commit(files, raw_entries=tuple(entries[:-1]))
    mirror.fetch_head()
    assert [target.name for target in mirror.list_targets(commit)] == ["prod"]
    commit = upstream.commit(raw_entries=(entries[-1],))
    mirror.fetch_head()
    with pytest.raises(InputError, match="too many files"):
        mirror.list_targets(commit)


def test_a_head_that_cannot_be_read_is_red_until_it_can(tmp_path, upstream, world):
    """It says why, once, and is read again by itself."""
    commit = upstream.commit({"synapse-apply.yaml": PROJECT})
    acme = replace(build_source(upstream), rules=world.settings.sources["acme"].rules)
    world.settings = replace(world.settings, sources={"acme": acme})
    reading = Reading(TOO_SHORT)
    mirror = GitMirror(acme, tmp_path / "data", read_no_secret, read_targets=reading)
    configured = world.configure()
    world.configure = lambda: replace(configured, settings=world.settings, mirrors={"acme": mirror})
    for _ in range(3):
        world.run_once()
        world.clock.advance(3600)
        mirror._failures.clear()
    assert reading.count == 3
    shown = world.forge.describe()[commit]
    assert shown == "failure: unusable: The project file cannot be read"
    revision = world.store.find_revision("acme", commit)
    assert revision.finding is not None
    assert "took longer than 0 s" in revision.finding.detail
    assert [message.event for message in world.inbox.messages] == ["failed"]
    reading._read = partial(read_targets_in_child, seconds=60.0)
    assert world.run_once() == ["acme/prod"]
    assert not world.forge.describe()[commit].startswith("failure")
    assert [message.event for message in world.inbox.messages][:2] == ["failed", "recovered"]

"""`OpenTarget.state`: what is confirmed is what is written, and nothing where it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from failing import fails
from installed import variables

from synapse_apply import OpenTarget, open_target


def opened(folder: Path):
    environ = variables(folder / "example.env")
    return open_target("embedded", folder=folder, environ=environ)


@pytest.fixture
def target(folder: Path) -> Iterator[OpenTarget]:
    with opened(folder) as opened_target:
        opened_target.apply(auto_approve=True)
        yield opened_target


def is_refused(target: OpenTarget) -> bool:
    """Whether a plan has a row that cannot be done, as the new name of a storage."""
    return any(change.refusals for change in target.plan().changes)


def test_a_backup_takes_the_place_of_the_state_where_that_is_confirmed(target: OpenTarget) -> None:
    target.state.write_backup("a.backup")
    target.state.forget(["results"])
    exchanges: list[Any] = []

    def refuse(exchange: Any) -> bool:
        exchanges.append(exchange)
        return False

    with fails("NotApproved"):
        target.state.restore("a.backup", confirm=refuse)
    assert len(target.state.read().records) == 3
    assert exchanges[0].backup.record_count == 4
    restored = target.state.restore("a.backup", confirm=lambda exchange: exchange == exchanges[0])
    assert len(target.state.read().records) == 4
    assert restored.warnings == ()
    assert Path(restored.kept_location).is_file()


def test_differences_are_accepted_and_shown_again(target: OpenTarget, folder: Path) -> None:
    """The function sees what differs, before it is recorded; what it refuses is not."""
    manifest = folder / "manifests" / "storages.yaml"
    manifest.write_text(manifest.read_text().replace("name: Results", "name: Outcomes"))
    with opened(folder) as changed:
        refused: list[Any] = []
        with fails("NotApproved"):
            changed.state.accept("results", confirm=lambda found: bool(refused.append(found)))
        assert [change.path for change in refused[0].differing_fields] == [("name",)]
        assert is_refused(changed)
        changed.state.accept("results")
        assert not is_refused(changed)
        address, acceptance = changed.state.undo_accept("results")
        assert (str(address), acceptance.paths) == ("storage/results", (("name",),))
        assert is_refused(changed)
        with fails("StateError", match="There is nothing to undo"):
            changed.state.undo_accept("results")


def test_nothing_is_open_after_an_apply(target: OpenTarget) -> None:
    state, open_calls = target.state.read_with_open_calls()
    assert len(state.records) == 4
    assert open_calls.calls == open_calls.findings == ()
    settled = target.state.settle()
    assert not settled.has_open_calls
    for close in (
        lambda: target.state.settle_as_not_done("results"),
        lambda: target.state.settle_with_job("results", "1"),
    ):
        with fails("StateError", match="No call"):
            close()
    with fails("StateError"):
        target.state.unlock("1-abc")


def test_a_file_that_no_run_wrote_is_not_recorded(target: OpenTarget, folder: Path) -> None:
    (folder / "calls.jsonl").write_text(json.dumps({"format": 1}) + "\n")
    with fails("InputError"):
        target.state.record_calls("calls.jsonl", confirm=lambda _content: True)
    assert (folder / "calls.jsonl").is_file()


def test_an_inventory_builds_a_lost_state_again(target: OpenTarget, folder: Path) -> None:
    """From the file that its text is written to."""
    (folder / "inventory.yaml").write_text(target.state.format_inventory())
    addresses = target.state.forget(["*"])
    assert target.state.read().records == {}
    records = target.import_objects("inventory.yaml")
    assert {record.address for record in records} == set(addresses)


def test_a_state_is_made_once_and_bound_to_its_backend(folder: Path) -> None:
    """For a target with a backend of its own; that of the embedded one is made by an apply."""
    project = folder / "synapse-apply.yaml"
    project.write_text(
        project.read_text()
        + "\ntargets:\n  prod: {url: 'https://one.example', tenant: acme, token: {env: T}}\n"
    )
    environ = {**variables(folder / "example.env"), "T": "not-a-token"}
    with open_target("prod", folder=folder, environ=environ) as prod:
        made = prod.state.create()
        assert (made.target, made.is_pinned, made.steps) == ("prod", False, ())
        assert prod.state.read().lineage == made.lineage
        with fails("StateError"):
            prod.state.create()
        assert not prod.state.rebind().changes_anything
    project.write_text(project.read_text().replace("one.example", "two.example"))
    with open_target("prod", folder=folder, environ=environ) as moved:
        with fails("NotApproved"):
            moved.state.rebind(confirm=lambda change: "one.example" not in change.bound_text)
        assert moved.state.rebind(confirm=lambda change: change.changes_identity).changes_identity
        assert not moved.state.rebind().changes_anything


def test_recorded_secrets_are_digested_under_a_new_key(target: OpenTarget, folder: Path) -> None:
    """Nobody is asked where the state is of this machine alone."""
    key_file = folder / ".synapse-apply" / "state" / "embedded.key"
    old_key = key_file.read_text()
    result = target.state.rekey(confirm=lambda: False)
    assert (result.key_file, result.kept_reasons, result.new_key_lines) == (key_file, (), ())
    assert result.rekeyed_count > 0
    assert key_file.read_text() != old_key
    assert not target.plan().has_changes


def test_the_state_is_copied_to_another_store(target: OpenTarget, folder: Path) -> None:
    copy = target.state.copy_to(f"sqlite:///{folder / 'other.db'}")
    assert copy.records == target.state.read().records
    assert target.name == "embedded"

"""`state record`: which files it takes for those of a run, and removes."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.applying.bench import Bench

from synapse_apply.model.errors import InputError
from synapse_apply.operations.settle import record_journal
from synapse_apply.workspace.recovery_journal import read_valid_journal

PLAN = "5f1c0000-0000-4000-8000-000000000000"


def recovered(bench: Bench, file: Path) -> tuple[int, int]:
    context = bench.context()
    journal = read_valid_journal(file, context.target.name, context.state_keys)
    done = record_journal(context, file, journal)
    return len(done.recorded_intents), len(done.known_intents)


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        f"unrecorded-other-{PLAN}.jsonl",
        f"unrecorded-test-{PLAN}.txt",
        f"unrecorded-test-eu-{PLAN}.jsonl",
    ],
)
def test_an_empty_file_of_another_name_is_not_ours(bench: Bench, tmp_path: Path, name: str) -> None:
    """It tells nothing, and may be anybody's."""
    file = tmp_path / name
    file.touch()
    with pytest.raises(InputError) as caught:
        recovered(bench, file)
    assert caught.value.diagnostics[0].summary == "This file is not a list of a run's calls"
    assert caught.value.diagnostics[0].detail == f"{file}: it is empty."
    assert file.exists()


@pytest.mark.parametrize("name", ["null", f"unrecorded-test-{PLAN}.jsonl"])
@pytest.mark.parametrize("to", ["/dev/null", "empty"])
def test_only_a_plain_file_is_ever_removed(
    bench: Bench, tmp_path: Path, name: str, to: str
) -> None:
    (tmp_path / "empty").touch()
    file = tmp_path / name
    file.symlink_to(to)
    with pytest.raises(InputError) as caught:
        recovered(bench, file)
    assert "not a regular file" in caught.value.diagnostics[0].detail
    assert file.is_symlink()


def test_an_empty_file_that_a_run_left_on_a_full_disk_is_removed(
    bench: Bench, tmp_path: Path
) -> None:
    """It had the room for a name and none for a line; the next plan shall not speak of it."""
    file = tmp_path / f"unrecorded-test-{PLAN}.jsonl"
    file.touch()
    assert recovered(bench, file) == (0, 0)
    assert not file.exists()

"""Files of saved plans: exact, private, never in the place of another, told when damaged."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from answering import answering
from failing import fails
from hypothesis import given
from hypothesis import strategies as st
from installed import ROOT, copied, variables
from laws.effort import effort

from synapse_apply import ApprovedPlans, OpenTarget, SynapseApplyError, library, open_target


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_private_and_replaces_nothing(target: OpenTarget, tmp_path: Path) -> None:
    """Mode 0600 under any umask; a file, a folder or a dead link at its place stays."""
    place, plan = tmp_path / "plans", target.plan()
    place.mkdir()
    before = os.umask(0)
    try:
        assert target.save_plan(plan, place / "next").is_signed
    finally:
        os.umask(before)
    assert read_mode(place / "next") == 0o600
    (place / "folder").mkdir()
    (place / "link").symlink_to("nowhere")
    for name in ("next", "folder", "link"):
        with fails("InputError", match="cannot be used"):
            target.require_unused_file(place / name)
        with fails("InputError", match="cannot be used"):
            target.save_plan(plan, place / name)
    assert (place / "link").is_symlink()
    assert list_names(place) == ["folder", "link", "next"]


def test_a_file_system_without_hard_links(
    target: OpenTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written in place, still private, still in nobody's place."""

    def none(*_given: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    place, plan = tmp_path / "plans", target.plan()
    place.mkdir()
    monkeypatch.setattr(Path, "hardlink_to", none)
    target.save_plan(plan, place / "next")
    assert target.read_saved_plan(place / "next").files[0].plan.changes
    assert read_mode(place / "next") == 0o600
    with fails("InputError", match="cannot be used"):
        target.save_plan(plan, place / "next")
    assert list_names(place) == ["next"]


def test_errors_are_not_saved(folder: Path, tmp_path: Path) -> None:
    """Also where nobody asked before."""
    environ = variables(folder / "example.env")
    with (
        answering(lambda _: (500, {})) as backend,
        (folder / "synapse-apply.yaml").open("a") as file,
    ):
        file.write(f"targets: {{prod: {{url: '{backend.url}', token: {{env: TOKEN}}}}}}\n")
        file.flush()
        with open_target("prod", folder=folder, environ={**environ, "TOKEN": "a"}) as target:
            target.state.create()
            made = target.plan()
            assert made.has_errors
            with fails("InputError"):
                target.save_plan(made, tmp_path / "next")
    assert not (tmp_path / "next").exists()


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copied(ROOT / "examples" / "quickstart", tmp_path_factory.mktemp("saved"))
    environ = variables(folder / "example.env")
    with open_target("embedded", folder=folder, environ=environ) as target:
        target.save_plan(target.plan(), "next")
    return folder / "next"


def read_text(path: Path) -> str:
    return ApprovedPlans.read([path], reviewed=False).files[0].signed_text


@effort(15, 600)
@given(cut=st.booleans(), where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_file_is_told(
    cut: bool, where: float, flip: int, genuine: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Cut or flipped: never a traceback, and never another plan that looks genuine."""
    damaged = tmp_path_factory.mktemp("plan") / "damaged"
    whole = bytearray(genuine.read_bytes())
    at = int(where * len(whole))
    if cut:
        del whole[at:]
    else:
        whole[at] ^= flip
    damaged.write_bytes(whole)
    library.is_saved_plan(damaged)
    try:
        found, kinds = read_text(damaged), []
    except SynapseApplyError as told:
        found, kinds = "", [kind.__name__ for kind in type(told).__mro__]
    assert found == read_text(genuine) or "InputError" in kinds


def test_a_zip_of_an_unknown_version_is_no_plan(genuine: Path, tmp_path: Path) -> None:
    """The library cannot read it, and says so in its own way."""
    whole = bytearray(genuine.read_bytes())
    whole[whole.rindex(b"PK\x01\x02") + 6] = 0xFF  # APPNOTE 4.3.12: version needed to extract
    (tmp_path / "damaged").write_bytes(whole)
    assert not library.is_saved_plan(tmp_path / "damaged")
    with fails("InputError"):
        read_text(tmp_path / "damaged")

"""The file of a saved plan: exact, private, never in the place of another, told when damaged."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from unit.applying.bench import Bench, widget

from synapse_apply import PlanOptions
from synapse_apply.model.address import Address
from synapse_apply.model.errors import InputError, Stale
from synapse_apply.model.values import Sensitive
from synapse_apply.operations import saved_plan, saved_plan_file
from synapse_apply.secrets.keys import StateKeys

CHOICES = PlanOptions(
    prune=True,
    adopt=False,
    recreate=True,
    resend_secrets=True,
    overridden=frozenset({"recreate"}),
    selected=frozenset({Address("widget", "a")}),
)


def kept(bench: Bench, path: Path, choices: PlanOptions = CHOICES) -> saved_plan.SavedPlan:
    context = bench.context(widget("a"))
    assert saved_plan.save_plan_to_new_file(
        context, bench.plan(widget("a")).plan, choices, path
    ).is_signed
    return saved_plan.read_saved_plan_without_verifying_signature(path)


def test_it_is_private_and_replaces_nothing(bench: Bench, tmp_path: Path) -> None:
    """Mode 0600 under any umask; a file, a folder or a dead link at its place stays."""
    before = os.umask(0)
    try:
        kept(bench, tmp_path / "next")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "next").stat().st_mode) == 0o600
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("next", "folder", "link"):
        with pytest.raises(InputError, match="cannot be used"):
            saved_plan_file.require_unused_path(tmp_path / name)
        with pytest.raises(InputError, match="cannot be used"):
            kept(bench, tmp_path / name)
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link", "next"]


def test_a_file_system_without_hard_links(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written in place, still private, still in nobody's place."""

    def none(*_given: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", none)
    assert kept(bench, tmp_path / "next").plan.changes
    assert stat.S_IMODE((tmp_path / "next").stat().st_mode) == 0o600
    with pytest.raises(InputError, match="cannot be used"):
        kept(bench, tmp_path / "next")
    assert [path.name for path in tmp_path.iterdir()] == ["next"]


def test_signatures(bench: Bench, tmp_path: Path) -> None:
    """Good under its key; without the key it is let pass only when that is asked for."""
    found = kept(bench, tmp_path / "next")
    context = bench.context(widget("a"))
    assert found.require_usable(context, reviewed=False, allow_unsigned=False) == ()
    bench.keys = StateKeys(())
    context = bench.context(widget("a"))
    with pytest.raises(Stale, match="cannot be checked"):
        found.require_usable(context, reviewed=False, allow_unsigned=False)
    (finding,) = found.require_usable(context, reviewed=False, allow_unsigned=True)
    assert not finding.is_error


def test_a_signature_is_no_digest_of_a_secret(bench: Bench, tmp_path: Path) -> None:
    """Those of earlier versions were, as of a secret without a salt, and are taken still."""
    found, context = kept(bench, tmp_path / "next"), bench.context(widget("a"))
    earlier = context.secrets.compute_mac("", ("plan",), Sensitive(found.signed_text))
    assert earlier not in {None, found.mac}
    signed_before = replace(found, mac=earlier)
    assert signed_before.require_usable(context, reviewed=False, allow_unsigned=False) == ()


def test_errors_are_not_saved(bench: Bench, tmp_path: Path) -> None:
    """Also where nobody asked before."""
    bench.api.objects["widget"] = {n: {"id": n, "name": "a"} for n in ("1", "2")}
    context = bench.context(widget("a"))
    made = bench.plan(widget("a")).plan
    assert made.has_errors
    with pytest.raises(InputError):
        saved_plan.save_plan_to_new_file(context, made, CHOICES, tmp_path / "next")
    assert list(tmp_path.iterdir()) == []


@effort(15, 600)
@given(cut=st.booleans(), where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_file_is_told(
    cut: bool, where: float, flip: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Cut or flipped: never a traceback, and never another plan that looks genuine."""
    folder = tmp_path_factory.mktemp("plan")
    genuine = kept(Bench(folder), folder / "next")
    whole = bytearray((folder / "next").read_bytes())
    at = int(where * len(whole))
    if cut:
        del whole[at:]
    else:
        whole[at] ^= flip
    (folder / "damaged").write_bytes(whole)
    saved_plan_file.is_plan_file(folder / "damaged")
    try:
        found = saved_plan.read_saved_plan_without_verifying_signature(folder / "damaged")
    except InputError:
        return
    assert found.signed_text == genuine.signed_text


def test_a_zip_of_an_unknown_version_is_no_plan(tmp_path: Path) -> None:
    """The library cannot read it, and says so in its own way."""
    kept(Bench(tmp_path), tmp_path / "next")
    whole = bytearray((tmp_path / "next").read_bytes())
    whole[whole.rindex(b"PK\x01\x02") + 6] = 0xFF  # APPNOTE 4.3.12: version needed to extract
    (tmp_path / "damaged").write_bytes(whole)
    assert not saved_plan_file.is_plan_file(tmp_path / "damaged")
    with pytest.raises(InputError):
        saved_plan.read_saved_plan_without_verifying_signature(tmp_path / "damaged")

"""The arguments of the library: what a type checker would refuse is refused before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from failing import fails
from installed import variables

from synapse_apply import OpenTarget, open_target

CALLS_WITH_A_LIST: dict[str, Callable[[OpenTarget, Any], object]] = {
    "plan-only": lambda target, names: target.plan(only=names),
    "plan-exclude": lambda target, names: target.plan(exclude=names),
    "plan-override_guards": lambda target, names: target.plan(override_guards=names),
    "plan_offline-only": lambda target, names: target.plan_offline("git:HEAD", only=names),
    "apply-only": lambda target, names: target.apply(auto_approve=True, only=names),
    "apply_saved-override_guards": lambda target, names: target.apply_saved(
        "next.plan", override_guards=names
    ),
    "read_reviewed_plans-files": lambda target, names: target.read_reviewed_plans(names),
    "drift-only": lambda target, names: target.drift(only=names),
    "drift-exclude": lambda target, names: target.drift(exclude=names),
    "write_drift-names": lambda target, names: target.write_drift(names),
    "verify-releases": lambda target, names: target.verify(names),
    "compare_published_bytes-releases": lambda target, names: target.compare_published_bytes(names),
    "live.check_agents-names": lambda target, names: target.live.check_agents(names),
    "live.export_manifests-only": lambda target, names: target.live.export_manifests(only=names),
    "live.export_manifests-codes": lambda target, names: target.live.export_manifests(codes=names),
    "jobs.read_job-expand": lambda target, names: target.jobs.read_job("1", expand=names),
    "state.settle-names": lambda target, names: target.state.settle(names),
    "state.forget-names": lambda target, names: target.state.forget(names),
}


@pytest.mark.parametrize("bad", ["ab", b"ab", None, 1, [1], [None], [b"ab"]], ids=repr)
@pytest.mark.parametrize("call", CALLS_WITH_A_LIST)
def test_a_list_of_names_is_no_single_name(target: OpenTarget, call: str, bad: object) -> None:
    """It says which argument, and no state is made for it."""
    argument = call.rpartition("-")[2]
    with fails("InputError", match=f"^{argument} must be a list of"):
        CALLS_WITH_A_LIST[call](target, bad)
    assert not (target._invocation.directory / ".synapse-apply" / "state").exists()


def test_a_string_of_letters_forgets_nothing(folder: Path) -> None:
    """Each letter is the name of a resource here, and none of them was meant."""
    (folder / "letters.yaml").write_text(
        "".join(
            f"---\napiVersion: synapse-apply/v1\nkind: Storage\nmetadata: {{name: {letter}}}\n"
            f"spec: {{name: {letter}, provider: file_system, category: internal, "
            f"configuration: {{base_path: /data/{letter}}}}}\n"
            for letter in "ab"
        )
    )
    with open_target(
        "embedded",
        folder=folder,
        files=["letters.yaml"],
        environ=variables(folder / "example.env"),
    ) as target:
        assert target.apply(auto_approve=True).exit_code == 0
        with fails("InputError") as caught:
            target.state.forget("ab")
        assert caught.value.diagnostics[0].hint == "Write names=['ab']."
        assert {address.name for address in target.state.read().records} == {"a", "b"}
        assert len(target.state.forget(iter(["a", "b"]))) == 2


@pytest.mark.parametrize("argument", ["files", "var_files"])
def test_a_list_of_files_is_no_single_file(folder: Path, argument: str) -> None:
    for bad in ("manifests", folder, [1]):
        options: dict[str, Any] = {argument: bad}
        with (
            fails("InputError", match=f"^{argument} must be a list of paths"),
            open_target(folder=folder, **options),
        ):
            pass


def test_a_path_has_no_nul_character(target: OpenTarget, folder: Path) -> None:
    for call in (
        target.require_unused_file,
        target.read_saved_plan,
        target.apply_saved,
        target.state.write_backup,
        target.state.restore,
        target.state.record_calls,
        lambda path: target.save_plan(target.plan(), path),
        lambda path: target.read_reviewed_plans([path]),
    ):
        with fails("InputError", match="must be a path"):
            call("next\0.plan")
    for options in ({"folder": "a\0b"}, {"project": "a\0b"}, {"files": ["a\0b"]}):
        arguments: dict[str, Any] = {"folder": folder, **options}
        with fails("InputError", match="must be a path"), open_target(**arguments):
            pass


def test_reviewed_plans_are_at_least_one(target: OpenTarget) -> None:
    with fails("InputError", match="files is empty"):
        target.read_reviewed_plans([])


def test_two_ways_to_approve_exclude_each_other(target: OpenTarget) -> None:
    """A function that would say no must not be passed over."""
    with fails("OptionConflict", match="cannot be combined"):
        target.apply(confirm=lambda _plan: False, auto_approve=True)
    plan = target.plan()
    assert plan.summary.add == 4
    with fails("OptionConflict", match="cannot be combined"):
        target.apply(plan, confirm=lambda _plan: False, auto_approve=True)
    assert target.plan().summary.add == 4


def test_an_unknown_guard_is_not_overridden(target: OpenTarget) -> None:
    """The error lists those that there are."""
    target.save_plan(target.plan(), "next.plan")
    for call in (
        lambda: target.plan(override_guards=["nope"]),
        lambda: target.apply(auto_approve=True, override_guards=["nope"]),
        lambda: target.apply_saved("next.plan", override_guards=["nope"]),
    ):
        with fails("InputError") as caught:
            call()
        said = caught.value.diagnostics[0].detail
        assert said.startswith("'nope' is not a guard; the guards are ")
    guards = said.removesuffix(".").rpartition(" are ")[2].split(", ")
    assert "no-manifests" in guards
    assert target.plan(override_guards=guards).summary.add == 4


def test_an_address_is_given_as_a_text_too(target: OpenTarget) -> None:
    """Anything else renames nothing."""
    target.apply(auto_approve=True, only=["storage"])
    address = target.state.find_record("results").address
    for bad in ("outputs", "", "/", None, 1, ("storage", "outputs"), address._replace(name=1)):
        with fails("InputError", match="new_address must be an address"):
            target.state.rename("results", bad)
    new_address = address._replace(name="outputs")
    assert list(target.state.rename("results", "storage/outputs").values()) == [new_address]
    assert target.state.find_record("outputs").address == new_address


def test_numbers_out_of_range(target: OpenTarget, folder: Path) -> None:
    for limit in (0, -1, 1.5, "2", None, True):
        with fails("InputError", match="limit must be a whole number from 1"):
            target.history(limit)
    for options, text in (
        ({"parallelism": 0}, "parallelism must be a whole number from 1"),
        ({"parallelism": "2"}, "parallelism must be a whole number from 1"),
        ({"lock_timeout": -1}, "lock_timeout must be a number of seconds from 0"),
        ({"lock_timeout": float("nan")}, "lock_timeout must be a number of seconds from 0"),
    ):
        arguments: dict[str, Any] = {"folder": folder, **options}
        with fails("InputError", match=text), open_target(**arguments):
            pass


def test_a_run_and_a_record_are_found_by_a_text(target: OpenTarget) -> None:
    """An empty id is the beginning of every id, and not a run that anyone meant."""
    target.apply(auto_approve=True, only=["storage"])
    with fails("InputError", match="The plan id is empty"):
        target.find_run("")
    with fails("InputError"):
        target.state.find_record("")
    for bad in (None, 1):
        with fails("InputError", match="plan_id must be a string"):
            target.find_run(bad)
        with fails("InputError", match="name must be a string"):
            target.state.find_record(bad)
    (run,) = target.history(limit=1)
    assert target.find_run(run.plan_id[:8]) == run

"""A debug release whose package changed is replaced under its id: planned, allowed, sent once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest
from at_terminal import run_at_terminal
from contract.vendor.standin import StandIn
from e2e.scenarios.workplace import Workplace
from installed import environment

RULE = {"rule": "no-debug-releases"}
ALLOWED = {"rules": [{**RULE, "severity": "off"}]}
RELEASES = "/plugin_releases/"
ADDRESS = "release/yolo@1.0.0"
VERIFY = "  verify: {action: convert, agent: 101, timeout: 10, poll_interval: 0.01}\n"
NO_PROOF = (
    "its package was replaced under this version, and an agent may still run the earlier package"
)


@pytest.fixture
def debug_project(create_project: Callable[..., Workplace]) -> Callable[..., Workplace]:
    """Makes a project with its debug release applied; more are settings of its target."""

    def create_applied(backend: StandIn, more: str = "", **settings: object) -> Workplace:
        place = create_project(backend, **{"policy": ALLOWED, **settings})
        place.edit("manifests/plugin.yaml", "source:", f"debug: true\n{more}  source:")
        place.apply()
        return place

    return create_applied


@pytest.fixture
def changed(backend: StandIn, debug_project: Callable[..., Workplace]) -> Workplace:
    """The same with another file in the package."""
    place = debug_project(backend)
    change(place)
    return place


def change(place: Workplace, text: str = "two") -> None:
    place.write("plugins/yolo/plugin/convert.py", f"def run(): return {text!r}\n")


def count_uploads(backend: StandIn) -> int:
    return len(backend.requests_to("POST", RELEASES))


def read_content(backend: StandIn) -> str:
    (release,) = backend.world.releases
    return hashlib.sha256(release["content"]).hexdigest()


def read_record(place: Workplace) -> dict[str, object]:
    shown: dict[str, object] = place.run("state", "show", ADDRESS, "--json", code=0).document
    return shown


def test_the_plan_tells_a_replacement(backend, changed):
    """One row: what is replaced, by Git, under which id, and which files differ."""
    told = changed.plan("--detailed-exitcode", code=2).out
    assert (
        f"# {ADDRESS} will be updated in-place\n  # (apply replaces its published package" in told
    )
    assert "# (replaces 1.0.0: 1 file changed)\n  #   ~ plugin/convert.py" in told
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in told
    assert "unreleased changes" not in told
    rows = changed.plan("--json").document["resource_changes"]
    (row,) = (row for row in rows if row["address"] == ADDRESS)
    assert (row["change"]["actions"], row["cause"], row["id"]) == (["update"], "git", "401")
    assert row["package"]["files"] == 2
    assert row["replaces"]["files"] == [{"path": "plugin/convert.py", "change": "changed"}]
    assert "1 change in the manifests waits for an apply" in changed.run("drift", code=0).out
    assert count_uploads(backend) == 1


def test_nobody_is_asked_and_no_option_allows_it(backend, changed):
    """The row is refused and says the option; nothing is sent."""
    ran = changed.apply(code=5)
    assert f"! {ADDRESS} cannot be updated: {ADDRESS} has unreleased changes (1 file; " in ran.out
    assert (
        "replace the package: `synapse-apply apply --allow-replace`, or apply a saved plan"
        in ran.out
    )
    assert count_uploads(backend) == 1


def test_one_upload_under_the_same_id(backend, changed):
    before, old = read_record(changed), read_content(backend)
    told = changed.apply("--allow-replace").out
    assert "Apply complete! Resources: 0 added, 1 changed, 0 destroyed." in told
    assert (count_uploads(backend), backend.counts) == (2, (1, 1, 1))
    after = read_record(changed)
    assert read_content(backend) != old
    assert after["id"] == before["id"]
    assert after["digest"] != before["digest"]
    assert after["files"] != before["files"]
    changed.unchanged()
    assert "  1 replace  " in changed.run("state", "history", code=0).out
    assert "the published bytes match the record" in changed.run("verify", ADDRESS, "--bytes").text


@pytest.mark.parametrize("option", ["", "--reviewed"])
def test_a_saved_plan_is_the_approval(backend, changed, option):
    changed.plan("--out", "next.plan", code=0)
    changed.run("apply", *filter(None, [option]), "next.plan", "--allow-unsigned", code=0)
    assert count_uploads(backend) == 2
    changed.unchanged()


def test_a_saved_plan_of_another_package_is_stale(backend, changed):
    changed.plan("--out", "next.plan", code=0)
    change(changed, "three")
    ran = changed.run("apply", "--reviewed", "next.plan", "--allow-unsigned", code=4)
    assert "the content of its package differs" in ran.text
    assert count_uploads(backend) == 1


@pytest.mark.parametrize(("answer", "uploads"), [(b"yes\n", 2), (b"no\n", 1)])
def test_a_person_at_a_terminal_is_asked(backend, changed, answer, uploads):
    environ = environment(changed.environ)
    code, shown = run_at_terminal(changed.root, answer, environ, "apply")
    assert (code, count_uploads(backend)) == (2 - uploads, uploads), shown
    assert "apply replaces its published package" in shown


@pytest.mark.parametrize(
    ("policy", "uploads"),
    [
        (None, 1),
        ({"rules": [RULE]}, 1),
        ({"rules": [{**RULE, "severity": "warn"}]}, 2),
        ({"rules": [{**RULE, "except": [ADDRESS]}]}, 2),
        ({"rules": [{**RULE, "only": ["release/other@*"]}]}, 2),
    ],
)
def test_the_policy_decides(backend, changed, policy, uploads):
    """Where it does not let debug releases pass, a changed package is told and stays as it is."""
    document = json.loads((changed.root / "synapse-apply.yaml").read_text())
    document["targets"]["prod"] |= {"policy": policy or {}}
    changed.write("synapse-apply.yaml", json.dumps(document))
    told = changed.apply("--allow-replace").out
    assert (f". {ADDRESS} has unreleased changes (1 file; " in told) == (uploads == 1)
    assert count_uploads(backend) == uploads


@pytest.mark.parametrize("more", ["", "  lifecycle: {ignore_changes: [/debug]}\n"])
def test_what_is_recorded_as_no_debug_release_is_never_replaced(backend, create_project, more):
    """Whatever the manifest says now."""
    place = create_project(backend, policy=ALLOWED)
    place.apply()
    place.edit("manifests/plugin.yaml", "source:", "debug: true\n  source:")
    if more:
        text = (place.root / "manifests/plugin.yaml").read_text()
        lifecycle = "kind: Release\nlifecycle: {ignore_changes: [/debug]}"
        place.write("manifests/plugin.yaml", text.replace("kind: Release", lifecycle))
    change(place)
    place.apply("--allow-replace", code=None)
    assert count_uploads(backend) == 1


def test_what_somebody_made_no_debug_release_is_never_replaced(backend, changed):
    backend.world.releases[0]["debug"] = False
    changed.apply("--allow-replace", code=5)
    assert count_uploads(backend) == 1


def test_other_fields_of_it_stay_fixed(backend, changed):
    """A package that comes with another declared field is no replacement: the row is refused."""
    changed.edit("manifests/plugin.yaml", "debug: true", "debug: true\n  config: {a: 1}")
    ran = changed.apply("--allow-replace", code=None)
    assert count_uploads(backend) == 1
    assert "has unreleased changes" in ran.out


def test_a_locked_one_stays(backend, changed):
    """The backend refuses; the record keeps what is published, and the way out is said."""
    backend.world.releases[0]["is_released"] = True
    before = read_record(changed)["digest"]
    ran = changed.apply("--allow-replace", code=3)
    assert (
        "This backend never replaces the package of a published version: raise the version."
        in ran.text
    )
    assert read_record(changed)["digest"] == before
    changed.plan(code=0)


def test_an_answer_with_another_id_is_not_believed(backend, changed):
    """The upload may have had an effect: unknown, and looked up by the next run."""
    with_old = {**backend.world.releases[0]}
    answer = {name: with_old[name] for name in ("id", "plugin", "version", "config", "debug")}
    backend.answer_once("POST", RELEASES, 201, {**answer, "id": 999})
    assert "the answer shows id 999 instead of" in changed.apply("--allow-replace", code=7).text
    # Nobody can say of an upload that may still act that it was not done.
    assert "or show nowhere" in changed.run("state", "settle", ADDRESS, "--absent", code=1).text


def test_an_answer_with_another_package_is_not_believed(backend, changed):
    """Nor is what it answered of a package that was not sent."""
    with_old = {**backend.world.releases[0]}
    answer = {name: with_old[name] for name in ("id", "plugin", "version", "config", "debug")}
    backend.answer_once("POST", RELEASES, 201, {**answer, "meta": with_old["meta"]})
    ran = changed.apply("--allow-replace", code=7)
    assert "with a package that was not sent" in ran.text


def test_no_run_of_a_replaced_release_counts(backend, debug_project):
    """It is not run by itself; a run by hand is told to be no proof, and is recorded as none."""
    place = debug_project(backend, VERIFY)
    assert read_record(place)["verification"]["result"] == "passed"
    change(place)
    told = place.apply("--allow-replace").text
    assert NO_PROOF in told
    assert read_record(place)["verification"] is None
    assert len([one for one in backend.requests if one.path.endswith("/run/")]) == 1
    assert NO_PROOF in place.plan("--detailed-exitcode", code=0).out
    ran = place.run("verify", ADDRESS, code=0)
    assert "This run proves nothing" in ran.text
    assert read_record(place)["verification"]["result"] == "unverified"
    assert NO_PROOF in place.plan("--detailed-exitcode", code=0).out


def test_verify_sends_no_package(backend, debug_project):
    """A replacement that is due waits; what is published is run."""
    place = debug_project(backend, VERIFY)
    change(place)
    place.run("verify", ADDRESS, code=0)
    assert count_uploads(backend) == 1
    assert read_record(place)["verification"]["result"] == "passed"


def test_what_replaces_is_looked_into_as_what_is_published(backend, changed):
    """A secret in it refuses the row, as it refuses a create; no option lifts that."""
    changed.write(
        "plugins/yolo/plugin/key.py", "KEY = '''-----BEGIN " + "RSA PRIVATE KEY-----'''\n"
    )
    ran = changed.apply("--allow-replace", code=5)
    assert f"! {ADDRESS} cannot be updated: " in ran.out
    assert "plugin/key.py" in ran.out
    assert count_uploads(backend) == 1

"""The API page's complete workflow as two manifests: create, release, run, watch, show the logs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from e2e.scenarios.workplace import CONFIG, PLUGIN, RELEASE, Server, Workplace, project

VERIFY = """\
  verify:
    parameters: {quality: 0.9, format: png, emulator: {seconds: 0.1, log_lines: 14}}
    context: {project_id: 123, batch_size: 100}
    poll_interval: 0.05
"""
AT = "release/yolo@1.0.0"
PASSED = "    release/yolo@1.0.0 was verified (job 1, "
RUN = "POST /plugins/{lookup}/run/"
CALLS = {"POST /plugins/": 1, "POST /plugin_releases/": 1, RUN: 1}


def declare(there: Workplace, verify: str = VERIFY) -> Workplace:
    there.write("manifests/plugin.yaml", PLUGIN)
    there.write("manifests/release.yaml", RELEASE + verify)
    there.write("plugins/yolo/config.yaml", CONFIG)
    there.write("plugins/yolo/plugin/main.py", "print('yolo')\n")
    (there.root / "manifests" / "storage.yaml").unlink(missing_ok=True)
    return there


def fail(there: Workplace) -> None:
    there.edit("manifests/release.yaml", "quality: 0.9", "quality: 2, fail: true")


@pytest.fixture
def there(ready: Workplace) -> Workplace:
    """The page's workflow as two manifests; nothing is applied yet."""
    return declare(ready)


def posts(server: Server) -> dict[str, int]:
    counts = server.call("GET", "_emulator/requests/")["counts"]
    return {at: count for at, count in counts.items() if at.startswith("POST")}


def test_one_apply_creates_releases_runs_and_verifies(there: Workplace, server: Server) -> None:
    """One call each; the job is followed to its end, and afterwards there is nothing to do."""
    plan = there.plan("--detailed-exitcode", code=2).out
    assert f"  # {AT} will be verified\n  # (never verified)\n" in plan
    assert "\nVerify: 1 to run.\nPlan: 2 to add, 0 to change, 0 to destroy.\n" in plan
    report = there.apply().out
    assert PASSED in report
    assert "\nVerified: 1 passed.\nApply complete! Resources: 2 added, 0 changed" in report
    assert posts(server) == CALLS
    there.unchanged()


@pytest.mark.parametrize(
    "switches",
    [
        {"job_context": "none", "status_words": "platform", "console_logs": "lines"},
        {"job_context": "returned", "status_words": "page", "console_logs": "entries"},
    ],
    ids=["platform", "page"],
)
def test_a_failing_run_exits_3_with_its_logs(
    there: Workplace, server: Server, switches: dict[str, str]
) -> None:
    """In both vocabularies: the last ten lines, what stays published, and the ways on."""
    server.switch(**switches)
    fail(there)
    report = there.apply(code=3).out
    lines = report.partition(f"Last lines of the log of {AT} (job 1):\n")[2].splitlines()[:10]
    assert [line.rpartition(" of ")[0][-6:].strip() for line in lines[:9]] == [
        f"tep {n}" if n > 9 else f"step {n}" for n in range(6, 15)
    ]
    assert lines[9].endswith("failed on request")
    assert "1.0.0 is published, and cannot be withdrawn on v1." in report
    assert (
        "If the parameters are wrong: edit spec.verify. If the code is wrong: `synapse-apply "
        "bump yolo"
    ) in report
    assert "\nVerified: 0 passed, 1 failed.\nApply incomplete! Resources: 2 added" in report
    again = there.plan("--detailed-exitcode", code=2).out
    assert "# (the last run failed)" in again
    assert "No changes." not in again


def test_fixed_parameters_verify_again_without_an_upload(there: Workplace, server: Server) -> None:
    """The server's own log: one more run, and nothing else."""
    fail(there)
    there.apply(code=3)
    there.edit("manifests/release.yaml", "quality: 2, fail: true", "quality: 0.8")
    assert "# (its parameters changed)" in there.plan(code=0).out
    there.apply()
    assert posts(server) == {**CALLS, RUN: 2}
    there.unchanged()


def test_a_code_fix_is_a_new_version_and_one_apply(there: Workplace, server: Server) -> None:
    """`bump`, as the failure told: the new version is published and verified, the old one past."""
    fail(there)
    assert "If the code is wrong: `synapse-apply bump yolo patch`." in there.apply(code=3).out
    there.edit("manifests/release.yaml", "quality: 2, fail: true", "quality: 2")
    there.write("plugins/yolo/plugin/main.py", "print('mended')\n")
    there.run("bump", "yolo", "patch", code=0)
    report = there.apply().out
    assert "release/yolo@1.0.1 was verified (job 2, " in report
    assert AT not in report
    assert server.counts == (1, 2, 0)
    there.unchanged()


def test_what_only_warns_exits_0_and_is_told_once(there: Workplace) -> None:
    """on_failure: warn: a warning with the logs, then an empty plan."""
    fail(there)
    there.edit("manifests/release.yaml", "poll_interval", "on_failure: warn\n    poll_interval")
    report = there.apply().out
    assert "Warning: The verification failed" in report
    assert "failed on request" in report
    assert "Apply complete!" in report
    there.unchanged()


def test_a_run_that_takes_too_long_is_followed_later(there: Workplace, server: Server) -> None:
    """Exit 3 with the job's id; the next apply follows it and starts none."""
    there.edit("manifests/release.yaml", "seconds: 0.1", "seconds: 1.5")
    there.edit("manifests/release.yaml", "poll_interval", "timeout: 0.1\n    poll_interval")
    report = there.apply(code=3).out
    assert "Job 1 was still " in report
    assert " after 0.1 s, and may continue." in report
    assert "# (job 1 did not end in time: the tool follows it)" in there.plan(code=0).out
    there.edit("manifests/release.yaml", "timeout: 0.1", "timeout: 60")
    assert PASSED in there.apply().out
    assert posts(server) == CALLS


def test_runs_can_be_left_out(there: Workplace, server: Server) -> None:
    """--no-verify on plan and apply; the run stays due."""
    assert "Verify:" not in there.plan("--no-verify", code=0).out
    there.apply("--no-verify")
    assert RUN not in posts(server)
    assert "No changes." in there.plan("--no-verify", "--detailed-exitcode", code=0).out
    assert "Verify: 1 to run." in there.plan("--detailed-exitcode", code=2).out


def test_verify_runs_now_also_what_passed(there: Workplace, server: Server) -> None:
    """Every way to name a release; the report is one document; nothing else is sent."""
    there.apply()
    there.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    ran = there.run("verify", "release/yolo", code=0)
    assert ran.out.startswith("\n    release/yolo@1.0.0 was verified (job 2, ")
    assert ran.out.endswith("\n\nVerified: 1 passed.\n")
    document = there.run("verify", AT, "--json", "--timeout", "9", code=0).document
    (run,) = document["verifications"]
    assert (run["address"], run["result"], run["job"]) == (AT, "passed", "3")
    assert document["outcomes"] == []
    assert posts(server) == {**CALLS, RUN: 3}
    assert "PUT /plugins/1/" not in server.writes


def test_verify_of_what_cannot_be_run_says_why(there: Workplace) -> None:
    """Not applied yet, not a release, no spec.verify, no such thing: each in words, exit 1."""
    assert (
        "release/yolo@1.0.0 is not published from here yet" in there.run("verify", AT, code=1).err
    )
    there.apply("--no-verify")
    err = there.run("verify", "plugin/yolo", code=1).err
    assert "plugin/yolo is not declared, or no run verifies it." in err
    there.run("verify", "release/nope", code=1)
    there.write("manifests/release.yaml", RELEASE)
    err = there.run("verify", "release", code=1).err
    assert "release/yolo@1.0.0 does not declare how to verify it." in err
    there.run("verify", code=64)


def test_the_result_is_shown_and_in_the_history(there: Workplace) -> None:
    """state show, show, and the run among the calls with its job."""
    there.apply()
    assert "# verified: passed (job 1) 20" in there.run("state", "show", AT, code=0).out
    document = there.run("show", AT, "--json", code=0).document
    assert document["recorded"]["verification"]["result"] == "passed"
    assert "verified: passed (job 1)" in there.run("show", AT, code=0).out
    (run,) = there.run("state", "history", "--json", code=0).document["runs"]
    call = run["calls"][-1]
    assert (call["verb"], call["remote_id"], call["result"]) == ("run", "1", "done")
    assert call["digest"] == document["recorded"]["verification"]["parameters"]
    assert call["request_id"]


def test_a_saved_plan_has_its_runs(there: Workplace, server: Server) -> None:
    """What was planned is run; a plan made with --no-verify runs nothing."""
    there.plan("--no-verify", "--out", "silent.plan", code=0)
    there.plan("--out", "next.plan", code=0)
    assert "will be verified" in there.run("show", "next.plan", code=0).out
    there.run("apply", "silent.plan", "--allow-unsigned", code=0)
    assert RUN not in posts(server)
    there.plan("--out", "run.plan", code=0)
    assert PASSED in there.run("apply", "run.plan", "--allow-unsigned", code=0).out
    there.unchanged()


def test_a_failed_run_of_a_reviewed_plan_is_made_again(there: Workplace, server: Server) -> None:
    """The release is there already: of the same reviewed plan only the run is left."""
    there.plan("--out", "pr.plan", code=0)
    reviewed = ("apply", "--reviewed", "pr.plan", "--allow-unsigned")
    server.call("POST", "_emulator/jobs/fail-next/", {"count": 1})
    there.run(*reviewed, code=3)
    report = there.run(*reviewed, code=0).out
    assert "create was planned, and nothing is left to do" in report
    assert "release/yolo@1.0.0 was verified (job 2, " in report
    assert posts(server) == {**CALLS, RUN: 2}


def test_releases_of_before_this_feature_are_verified_once_asked(
    there: Workplace, server: Server
) -> None:
    """Published without verify, which is added later: run, not uploaded."""
    there.write("manifests/release.yaml", RELEASE)
    there.apply()
    there.unchanged()
    there.write("manifests/release.yaml", RELEASE + VERIFY)
    assert "# (never verified)" in there.plan("--detailed-exitcode", code=2).out
    there.apply()
    assert posts(server) == CALLS
    there.unchanged()


def test_an_adopting_run_verifies_nothing(there: Workplace, server: Server) -> None:
    """State was lost: releases are adopted as unverified, and the plan is empty afterwards."""
    there.apply()
    state = there.root / ".synapse-apply" / "state" / "prod.db"
    state.unlink()
    there.run("state", "init", code=0)
    there.run("import", "plugin/yolo", "1", code=0)
    there.apply("--adopt")
    there.unchanged()
    assert "# verified: unverified" in there.run("state", "show", AT, code=0).out
    assert posts(server) == CALLS


def test_an_adopted_release_says_that_it_is_not_verified(there: Workplace, server: Server) -> None:
    """A note in every plan until the command that it names was run; never a change."""
    there.apply()
    there.run("state", "rm", AT, code=0)
    there.apply("--adopt", "-t", "prod")
    said = there.plan("-t", "prod", code=0).out
    assert f". {AT} is not verified: it was adopted" in said
    assert f"`synapse-apply verify {AT} -t prod`" in said
    there.unchanged()
    there.run("verify", AT, code=0)
    assert "is not verified" not in there.plan(code=0).out


@pytest.fixture
def two(serve: Callable[..., Server], make: Callable[..., Workplace]) -> Any:
    """A project of two targets; prod takes only what staging has verified."""
    staging, prod = serve("staging"), serve("prod")
    there = declare(make(prod))
    token = {"env": "PROD_TOKEN"}
    targets = {
        "staging": {"url": staging.url, "tenant": "acme", "token": token},
        "prod": {"url": prod.url, "tenant": "acme", "token": token,
                 "require_verified": ["staging"]},
    }  # fmt: skip
    file = project(prod.url).partition(', "targets"')[0]
    there.write("synapse-apply.yaml", f'{file}, "targets": {json.dumps(targets)}}}')
    there.run("state", "init", "-t", "prod", code=0)
    return there, staging, prod


def test_prod_takes_only_what_staging_verified(two: Any) -> None:
    """Each refusal names its way out, and the way out works."""
    there, _staging, prod = two
    plan = there.plan(code=0).out
    assert f"! {AT} cannot be created: target staging must have verified it first, but" in plan
    assert "`synapse-apply state init -t staging`, then `synapse-apply apply -t staging`" in plan
    assert there.apply(code=5).out.count("plugin/yolo created") == 1
    assert prod.counts == (1, 0, 0)
    there.run("state", "init", "-t", "staging", code=0)
    assert "it is not released there" in there.plan(code=0).out
    there.apply("-t", "staging", "--no-verify")
    assert f"`synapse-apply verify {AT} -t staging`" in there.plan(code=0).out
    there.run("verify", AT, "-t", "staging", code=0)
    assert PASSED in there.apply().out
    there.unchanged()


def test_other_content_than_staging_has_is_refused(two: Any) -> None:
    """The same version with other bytes was never verified."""
    there, _staging, prod = two
    there.run("state", "init", "-t", "staging", code=0)
    there.apply("-t", "staging")
    there.write("plugins/yolo/plugin/main.py", "print('other')\n")
    refused = there.apply(code=5).out
    assert "the release there under this version has other content" in refused
    assert "declare a new version, then apply it to staging" in refused
    assert prod.counts == (1, 0, 0)


def test_a_release_replaced_on_staging_is_no_proof(two: Any) -> None:
    """The run that passed may have been of the package before; only a new version is proof."""
    there, _staging, prod = two
    document = json.loads((there.root / "synapse-apply.yaml").read_text())
    document["targets"]["staging"] |= {
        "overlays": {"release/yolo@*": {"spec": {"debug": True}}},
        "policy": {"rules": [{"rule": "no-debug-releases", "severity": "off"}]},
    }
    there.write("synapse-apply.yaml", json.dumps(document))
    there.run("state", "init", "-t", "staging", code=0)
    there.apply("-t", "staging")
    there.write("plugins/yolo/plugin/main.py", "print('other')\n")
    there.apply("-t", "staging", "--allow-replace")
    assert "This run proves nothing" in there.run("verify", AT, "-t", "staging", code=0).text
    refused = there.apply(code=5).out
    assert "its package was replaced there, so no run of it proves anything" in refused
    assert "declare a new version, then apply it to staging" in refused
    assert prod.counts == (1, 0, 0)


def test_a_run_of_a_package_that_nobody_can_tell_is_no_proof(two: Any) -> None:
    """The create on staging got no answer, and nothing shows whose package is published there."""
    there, staging, prod = two
    there.run("state", "init", "-t", "staging", code=0)
    lost = {"match": {"method": "POST", "path": "/plugin_releases/"},
            "do": {"status": 502, "commit": "after"}}  # fmt: skip
    staging.call("PUT", "_emulator/faults/", {"rules": [lost]})
    assert "Verified: 0 passed, 1 skipped." in there.apply("-t", "staging", code=3).out
    staging.call("PUT", "_emulator/faults/", {"rules": []})
    assert "1 passed" in there.run("verify", AT, "-t", "staging", code=0).text
    refused = there.apply(code=5).out
    assert "the release there under this version has unknown content" in refused
    assert f"`synapse-apply verify {AT} --bytes -t staging`" in refused
    assert prod.counts == (1, 0, 0)
    there.run("state", "accept", AT, "-t", "staging", "--auto-approve", code=0)
    assert PASSED in there.apply().out

"""Packages that `validate` calls an error: `plan` refuses their releases, `apply` publishes none."""

from __future__ import annotations

import json
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e.scenarios.test_replaced_releases import declare_debug
from e2e.scenarios.workplace import CONFIG, PLUGIN_V2, RELEASE_V2, Server, Workplace, project
from git_repositories import commit, make_repository

from synapse_apply import SynapseApplyError, open_target

# Never whole in this file: tools that look for secrets find it else.
SECRET = "ghp_" + "Ab3dE6gH" * 4 + "Zz90"
TRAIN = f"import os\nTOKEN = '{SECRET}'\n"
REFUSED = "! release/yolo@1.0.0 cannot be created: secret in the package: a GitHub token found"
NO_DATA_TYPE = CONFIG + "data_type: time_series\n"
OFFLINE = ("--offline", "--against", "state:inventory.yaml")


def write_package(place: Workplace, train: str = TRAIN, config: str = CONFIG) -> None:
    place.write("plugins/yolo/plugin/train.py", train)
    place.write("plugins/yolo/config.yaml", config)
    place.write("inventory.yaml", "inventory:\n- {address: storage/gone, id: '7'}\n")


def as_folder(place: Workplace) -> str:
    return "plugins/yolo/plugin/train.py:2:"


def as_zip(place: Workplace) -> str:
    folder = place.root / "plugins" / "yolo"
    with zipfile.ZipFile(place.root / "yolo.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    place.edit("manifests/plugin.yaml", "source: ./plugins/yolo", "file: yolo.zip")
    return "yolo.zip!plugin/train.py:2:"


def at_a_git_ref(place: Workplace) -> str:
    """The secret is in the commit alone."""
    make_repository(place.root)
    commit(place.root, "With a secret", with_ignored=False)
    place.write("plugins/yolo/plugin/train.py", "import os\n")
    place.edit(
        "manifests/plugin.yaml", "source: ./plugins/yolo", "source: {path: plugins/yolo, ref: HEAD}"
    )
    return "plugins/yolo/plugin/train.py at HEAD:2:"


@pytest.mark.parametrize(
    "shape", [as_folder, as_zip, at_a_git_ref], ids=lambda shape: shape.__name__
)
def test_a_secret_is_never_published(ready, server, shape: Callable[[Workplace], str]):
    """A refused row of plan, offline too, at its line; apply does the rest and ends with 5."""
    write_package(ready)
    place = shape(ready)
    assert place in ready.run("validate", code=1).err
    for ran in (ready.plan(code=0), ready.plan(*OFFLINE, code=0), ready.apply(code=5)):
        assert REFUSED in ran.out
        assert f"on {place}" in ran.out
        assert "Refused: 1 (see ! rows)." in ran.out
        assert SECRET not in ran.text
    assert server.counts == (1, 0, 1)
    ready.plan("--detailed-exitcode", code=2)
    document = ready.plan("--json", code=0).document
    (row,) = [row for row in document["resource_changes"] if row["type"] == "release"]
    assert [refusal["rule"] for refusal in row["refusals"]] == ["package:secret"]
    assert SECRET not in json.dumps(document)


def test_a_secret_in_the_commit_that_is_planned(ready, server):
    """`--ref`: the package is that of the commit, whatever the checkout has by now."""
    write_package(ready)
    make_repository(ready.root)
    commit(ready.root, "With a secret", with_ignored=False)
    write_package(ready, "import os\n")
    assert REFUSED not in ready.plan(code=0).out
    assert REFUSED in ready.plan("--ref", "HEAD", code=0).out
    assert REFUSED in ready.apply("--ref", "HEAD", code=5).out
    assert server.counts == (1, 0, 1)


def test_a_first_release_is_not_made_by_the_call_that_creates_its_plugin(ready, server):
    """On API v2 that is one call: both are refused, and nothing of either is sent."""
    ready.write("synapse-apply.yaml", project(server.url, api="v2"))
    ready.write("manifests/plugin.yaml", PLUGIN_V2, RELEASE_V2)
    write_package(ready, config=CONFIG.replace('version: "1.0.0"\n', ""))
    ran = ready.apply(code=5)
    assert REFUSED in ran.out
    assert "! plugin/yolo cannot be created" in ran.out
    assert server.writes == ["POST /storages/"]


def test_no_package_of_a_debug_release_is_replaced_by_one_with_a_secret(ready, server):
    place = declare_debug(ready)
    write_package(place)
    ran = place.apply("--allow-replace", code=5)
    assert "secret in the package: a GitHub token found" in ran.out
    assert server.call("GET", "_emulator/requests/")["counts"]["POST /plugin_releases/"] == 1


def test_every_finding_of_a_release_is_told(ready):
    """Those of secrets first, at most 20 of a rule; what only warns is no row of a plan."""
    lines = "".join(f"TOKEN_{number} = '{SECRET}'\n" for number in range(25))
    write_package(ready, lines + "API_KEY = 'q8fj2kd9s0a1l3k4j5h6'\n", NO_DATA_TYPE)
    document = ready.plan("--json", code=0).document
    (row,) = [row for row in document["resource_changes"] if row["type"] == "release"]
    rules = [refusal["rule"] for refusal in row["refusals"]]
    assert rules == ["package:secret"] * 20 + ["package:data-type"]
    assert "and 5 more like it" in row["refusals"][19]["reason"]


def test_the_embedded_backend_takes_what_validate_only_warns_of(place):
    """As `validate -t embedded` says: nothing leaves the machine."""
    write_package(place)
    assert "Warning: Secret in the package" in place.run("validate", "-t", "embedded", code=0).err
    place.apply("-t", "embedded")
    assert "No changes." in place.plan("-t", "embedded", code=0).out


def test_a_named_rule_is_lifted(ready, server):
    """By its name with or without `package:`, for this run alone; the plan says what was ignored."""
    write_package(ready, "import os\n", NO_DATA_TYPE)
    refused = "! release/yolo@1.0.0 cannot be created: unknown data type"
    for ran in (ready.plan(code=0), ready.plan(*OFFLINE, code=0)):
        assert refused in ran.out
        assert "apply --no-package-check package:data-type" in ran.out
    ready.apply("--no-package-check", "text", code=5)
    assert server.counts == (1, 0, 1)
    for name in ("data-type", "package:data-type"):
        ran = ready.plan("--no-package-check", name, code=0)
        assert "findings of package:data-type are ignored: --no-package-check" in ran.out
        assert "Refused" not in ran.out
    assert "Refused" not in ready.plan(*OFFLINE, "--no-package-check", "data-type", code=0).out
    ready.apply("--no-package-check", "data-type", "--no-package-check", "text")
    assert server.counts == (1, 1, 1)
    # What is published is not looked into again.
    ready.unchanged()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("secret", "`policy.allow_package_secrets` in the project file"),
        ("package:secret-like", "no option lifts a rule about secrets"),
        ("data-typ", "did you mean `data-type`"),
        ("unpinned", "it refuses no release: leave it out"),
        ("dependency-cycle", "it refuses no release: leave it out"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_name_that_lifts_nothing_is_a_usage_error(ready, server, command, name, why):
    """Before anything is sent; for a rule about secrets it says what a policy can do."""
    write_package(ready)
    typed = ("--auto-approve",) if command == "apply" else ()
    ran = ready.run(command, *typed, "--no-package-check", name, code=64)
    assert why in ran.err
    assert server.writes == []


def test_a_saved_plan_says_what_it_lifts(ready, server):
    """Made with the option it is applied as it is; nothing else of it can be lifted by then."""
    write_package(ready, "import os\n", NO_DATA_TYPE)
    ready.plan("--out", "with", "--no-package-check", "data-type", code=0)
    shown = ready.run("show", "with", code=0).out
    assert "findings of package:data-type are ignored: --no-package-check" in shown
    ready.run("apply", "with", code=0)
    assert server.counts == (1, 1, 1)
    ready.unchanged()


@pytest.mark.parametrize(
    "way", [("without",), ("--reviewed", "without")], ids=["saved", "reviewed"]
)
def test_a_saved_plan_without_the_option_is_not_widened(ready, server, way):
    """Its refused row stays refused, and the option is a usage error beside it."""
    write_package(ready, "import os\n", NO_DATA_TYPE)
    ready.plan("--out", "without", code=0)
    ran = ready.run("apply", *way, "--no-package-check", "data-type", code=64)
    assert "(`plan --no-package-check --out FILE`)" in ran.err
    assert server.writes == []
    ready.run("apply", *way, code=5)
    assert server.counts == (1, 0, 1)


def test_reviewed_plans_agree_on_what_they_lift(ready, server):
    write_package(ready, "import os\n", NO_DATA_TYPE)
    ready.plan("--out", "without", code=0)
    ready.plan("--out", "with", "--no-package-check", "data-type", code=0)
    ran = ready.run("apply", "--reviewed", "without", "--reviewed", "with", code=4)
    assert "--no-package-check is none in" in ran.err
    assert "; package:data-type in" in ran.err
    assert server.writes == []
    ready.run("apply", "--reviewed", "with", code=0)
    assert server.counts == (1, 1, 1)


def write_policy(
    place: Workplace, server: Server, *entries: dict[str, Any], **of_target: Any
) -> None:
    document = json.loads(project(server.url, **of_target))
    document["policy"] = {"allow_package_secrets": list(entries)}
    place.write("synapse-apply.yaml", json.dumps(document))


def read_digest(place: Workplace) -> str:
    return place.run("package", "show", "--digest", "plugins/yolo", code=0).out.split()[0]


def build_entry(place: Workplace, **changes: Any) -> dict[str, Any]:
    """What lets the only finding of train.py pass."""
    entry = {"file": "plugin/train.py", "digest": read_digest(place), "reason": "A key of a test."}
    return {key: value for key, value in {**entry, **changes}.items() if value is not None}


def test_a_policy_lets_one_finding_pass(ready, server):
    """By file and digest, with the reason in the plan; other content is refused again."""
    write_package(ready)
    write_policy(ready, server, build_entry(ready))
    assert "the policy allows the secret in plugins/yolo/plugin/train.py:2:" in ready.plan().out
    ready.apply()
    assert server.counts == (1, 1, 1)
    ready.unchanged()
    ready.edit("manifests/plugin.yaml", '  version: "1.0.0"\n  changelog', "  changelog")
    ready.write("plugins/yolo/config.yaml", CONFIG.replace("1.0.0", "1.1.0"))
    assert REFUSED.replace("1.0.0", "1.1.0") in ready.apply(code=5).out
    assert server.counts == (1, 1, 1)


def test_what_is_printed_lets_it_pass(ready, server):
    """The way out, with a reason in it; a target's entries add to the common ones."""
    write_package(ready)
    ready.write("plugins/yolo/plugin/more.py", TRAIN)
    told = ready.plan("--json", code=0).document["resource_changes"]
    ways = [each["ways_out"][-1] for row in told for each in row.get("refusals", ())]
    texts = [text.partition("allow_package_secrets: [")[2].rpartition("]}")[0] for text in ways]

    entries = [yaml.safe_load(text.replace("...", "A test.")) for text in texts]
    assert len(entries) == 2
    write_policy(ready, server, entries[0], policy={"allow_package_secrets": entries[1:]})
    ready.apply()
    assert server.counts == (1, 1, 1)


def of_another_package(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "digest": "pkg1:sha256:" + "0" * 64}


def of_another_file(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "file": "plugins/yolo/plugin/train.py"}


def of_another_line(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "line": 1}


@pytest.mark.parametrize("change", [of_another_package, of_another_file, of_another_line])
def test_a_policy_that_means_another_finding(ready, server, change):
    write_package(ready)
    write_policy(ready, server, change(build_entry(ready)))
    assert REFUSED in ready.apply(code=5).out
    assert server.counts == (1, 0, 1)


def test_one_entry_lets_one_finding_pass(ready, server):
    """Of two in a file each needs its line, and findings that no plan shows are none that pass."""
    write_package(ready, "".join(f"TOKEN_{number} = '{SECRET}'\n" for number in range(25)))
    write_policy(ready, server, build_entry(ready))
    assert ready.apply(code=5).out.count(REFUSED) >= 20
    write_policy(ready, server, *(build_entry(ready, line=line) for line in range(1, 25)))
    assert ready.plan(code=0).out.count(REFUSED) == 1
    ready.apply(code=5)
    assert server.counts == (1, 0, 1)
    write_policy(ready, server, *(build_entry(ready, line=line) for line in range(1, 26)))
    ready.apply()
    assert server.counts == (1, 1, 1)


@pytest.mark.parametrize(
    "change",
    [{"reason": None}, {"digest": "abc"}, {"reason": ""}, {"line": 0}, {"why": "x"}],
    ids=["no reason", "no digest", "an empty reason", "no line", "an unknown key"],
)
def test_an_entry_that_is_malformed(ready, server, change):
    write_package(ready)
    write_policy(ready, server, build_entry(ready, **change))
    assert "allow_package_secrets" in ready.plan(code=1).err
    assert server.writes == []


def test_a_change_cannot_let_its_own_secret_pass(ready, server):
    """With `--project-from` the policy is that of the other revision."""
    make_repository(ready.root)
    commit(ready.root, "Before", with_ignored=False)
    write_package(ready)
    write_policy(ready, server, build_entry(ready))
    assert REFUSED in ready.plan("--project-from", "git:HEAD", code=0).out
    assert REFUSED not in ready.plan(code=0).out


def test_the_library_has_it_too(ready, server):
    write_package(ready, "import os\n", NO_DATA_TYPE)
    with open_target("prod", folder=ready.root, environ=ready.environ) as target:
        assert [change.action.value for change in target.plan().refused_changes] == ["create"]
        with pytest.raises(SynapseApplyError, match="no option lifts a rule about secrets"):
            target.plan(no_package_check=["secret"])
        target.apply(no_package_check=["data-type"], auto_approve=True)
    assert server.counts == (1, 1, 1)


class OpenedFiles:
    """How often each file was opened in this process since it was last asked."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str):
            self._counts[Path(arguments[0]).name] += 1

    def take(self, *names: str) -> tuple[int, ...]:
        counts = tuple(self._counts[name] for name in names)
        self._counts.clear()
        return counts


OPENED = OpenedFiles()


def test_a_package_is_looked_into_once_and_only_for_a_new_release(ready):
    """Texts are read once more for a new release, and what is large is not; else nothing is."""
    write_package(ready, "import os\n")
    (ready.root / "plugins/yolo/weights.bin").write_bytes(b"\0" * 3_000_000)
    names = ("train.py", "weights.bin")
    OPENED.take()
    ready.plan(code=0)
    assert OPENED.take(*names) == (2, 1)
    ready.apply()
    # Read for the digest and for the upload, too.
    assert OPENED.take(*names) == (3, 2)
    ready.unchanged()
    assert OPENED.take(*names) == (1, 1)


def test_several_targets_look_into_a_package_once(ready, server):
    write_package(ready)
    document = json.loads(project(server.url))
    document["targets"]["other"] = {**document["targets"]["prod"], "policy": {}}
    ready.write("synapse-apply.yaml", json.dumps(document))
    ready.run("state", "init", "-t", "other", code=0)
    OPENED.take()
    ran = ready.plan("-t", "prod", "-t", "other", code=0)
    assert ran.out.count(REFUSED) == 2
    assert OPENED.take("train.py") == (3,)

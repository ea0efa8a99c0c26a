"""Each file of CI and of a cluster, by the schema or the linter that its readers publish: `make check`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from e2e.pipelines.schemas import check_published_schema
from installed import BIN, ROOT

pytestmark = pytest.mark.published
WORKFLOWS = [".github/workflows/*.yml", "examples/*/.github/workflows/*.yml"]
# What checks a file: a builtin schema of check-jsonschema, or a program; what it checks; an error for it to find.
CHECKS: dict[str, tuple[list[str], tuple[str, str]]] = {
    "vendor.github-workflows": (WORKFLOWS, ("runs-on:", "run-on:")),
    "custom.github-workflows-require-timeout": (WORKFLOWS, ("timeout-minutes:", "# ")),
    "vendor.github-actions": (["action.yml"], ("runs:", "run:")),
    "vendor.github-issue-forms": ([".github/ISSUE_TEMPLATE/[!c]*.yml"], ("body:", "text:")),
    "vendor.github-issue-config": ([".github/ISSUE_TEMPLATE/config.yml"], ("enabled: ", "enabled: x")),
    "vendor.gitlab-ci": ([".gitlab-ci.yml", "examples/*/.gitlab-ci.yml"], ("timeout:", "timeouts:")),
    "vendor.renovate": (["renovate/releases.json"], ('"customManagers": [', '"customManagers": [1,')),
    "zizmor --offline --quiet": (
        [*WORKFLOWS, "action.yml"], ("persist-credentials: false", "fetch-depth: 1"),
    ),
    "hadolint": (["examples/controller/Containerfile"], (" --no-install-recommends", "")),
    "pre-commit validate-manifest": ([".pre-commit-hooks.yaml"], ("language:", "languages:")),
}  # fmt: skip
# What a test of its own holds to a schema, since something has to be made of it before.
ELSEWHERE = {
    "templates/*.yml": "tests/e2e/pipelines/test_gitlab_component.py",
    "examples/controller/kubernetes/**/*.yaml": "tests/e2e/controller/test_kubernetes_example.py",
    "examples/controller/prometheus-rules.yaml": "tests/e2e/controller/test_kubernetes_example.py",
    "examples/controller/*.service": "tests/e2e/controller/test_systemd_example.py",
}


def find(patterns: Iterable[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in ROOT.glob(pattern)})


def check(name: str, files: list[Path]) -> None:
    """Fail with what is said of the files."""
    if name.startswith(("vendor.", "custom.")):
        check_published_schema(name, files)
        return
    program, *words = name.split()
    done = subprocess.run(
        [BIN / program, *words, *files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CHECKS)
def test_the_files_are_right(name: str) -> None:
    """Without network."""
    files = find(CHECKS[name][0])
    assert files
    check(name, files)


@pytest.mark.parametrize("name", CHECKS)
def test_a_planted_error_is_found(name: str, tmp_path: Path) -> None:
    """So a check that passes has looked."""
    patterns, (right, wrong) = CHECKS[name]
    file = next(path for path in find(patterns) if right in path.read_text(encoding="utf-8"))
    planted = tmp_path / file.relative_to(ROOT)
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text(file.read_text(encoding="utf-8").replace(right, wrong, 1), encoding="utf-8")
    with pytest.raises(AssertionError):
        check(name, [planted])


def test_every_file_of_ci_and_cluster_has_a_check() -> None:
    """A file that is added has to be named above."""
    ours = find([
        ".github/**/*.yml", "examples/**/.github/**/*.yml", "**/.gitlab-ci.yml", "templates/*", "action.yml",
        ".pre-commit-hooks.yaml", "renovate/*", "examples/controller/kubernetes/**/*.yaml",
        "examples/**/Containerfile*", "examples/**/*.service", "examples/**/prometheus*.yaml",
    ])  # fmt: skip
    held = find([*ELSEWHERE, *(one for patterns, _ in CHECKS.values() for one in patterns)])
    assert [path for path in ours if path not in held and ".venv" not in str(path)] == []
    for test in ELSEWHERE.values():
        assert "pytest.mark.published" in (ROOT / test).read_text(encoding="utf-8")


def test_make_check_runs_all_of_them() -> None:
    """With lint and types, and nothing else that takes long."""
    done = subprocess.run(
        ["make", "--dry-run", "check"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    [line] = [line for line in done.stdout.splitlines() if "pytest" in line]
    assert "-m published" in line
    files = {"tests/test_published.py", *ELSEWHERE.values()}
    assert all(
        any(Path(word) in Path(file).parents or word == file for word in line.split())
        for file in files
    )


def test_what_is_never_run_here_is_listed_with_what_holds_it() -> None:
    """Each row of RELEASING.md names a test that is there."""
    page = (ROOT / "RELEASING.md").read_text(encoding="utf-8")
    section = page.partition("\n## What no test of this repository runs\n")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 10
    for row in rows:
        assert len(row) == 4, row
        named = re.findall(r"`(tests/[\w./]+)`", row[2])
        assert named, row
        assert [name for name in named if not (ROOT / name).exists()] == []

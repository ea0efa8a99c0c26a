"""Packages read as the platform will: what is bad is found at its line by its rule, and no more."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from git_repositories import commit, git

from synapse_apply import open_target

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"
# In parts, so that nothing takes this file, or that of the cases, for one with a secret.
GITHUB = "ghp_" + "Ab3dE6gH" * 4 + "Zz90"
AWS = "AKIA" + "IOSFODNN7RX2MPLE"
RANDOM = "q8fj2kd9s0a1l3k4j5h6"
SECRETS = (GITHUB, AWS, RANDOM, "s3cretpw9")
CASES = yaml.safe_load((ROOT / "tests" / "cases" / "packages.yaml").read_text(encoding="utf-8"))
GOOD: dict[str, str | None] = CASES["good"]
CONFIG = CASES["good"]["config.yaml"]
BAD = CASES["bad"]


def build(folder: Path, files: Mapping[str, str | None]) -> Path:
    for name, text in {**GOOD, **files}.items():
        if text is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return folder


def check(directory: Path, what: str, ref: str = "") -> tuple[Any, ...]:
    with open_target(folder=directory) as target:
        return target.packages.check_package(target.packages.find_package(what, ref=ref))


def told(findings: tuple[Any, ...], inside: str = "") -> list[str]:
    """Severity, file and line, and the rule of each."""
    lines = []
    for one in findings:
        assert one.rule is not None
        at = (
            f"{one.position.file.removeprefix(inside)}:{one.position.line}" if one.position else ":"
        )
        lines.append(f"{one.severity.value} {at} {one.rule.removeprefix('package:')}")
    return sorted(lines)


def list_files(bad: Mapping[str, Any]) -> dict[str, str | None]:
    """The files in which a case differs from the good package."""
    config = CONFIG
    for old, new in bad.get("replace", {}).items():
        assert old in config
        config = config.replace(old, new)
    files = {"config.yaml": config + bad.get("add", ""), **bad.get("files", {})}
    values = {"$GITHUB": GITHUB, "$AWS": AWS, "$RANDOM": RANDOM, "$CONFIG": CONFIG}
    for name, value in values.items():
        files = {path: text and text.replace(name, value) for path, text in files.items()}
    return files


def list_findings(bad: Mapping[str, Any]) -> list[str]:
    found = bad["finds"]
    return [found] if isinstance(found, str) else sorted(found)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad["name"])
def test_a_bad_package_is_named_with_file_line_and_rule(
    bad: Mapping[str, Any], folder: Path
) -> None:
    """That finding, no other, and no secret in any of its words."""
    build(folder / "yolo", list_files(bad))
    found = check(folder, "yolo")
    assert told(found, "yolo/") == list_findings(bad)
    for one in found:
        said = f"{one.summary} {one.detail} {one.hint}"
        assert one.summary
        assert one.detail
        assert not any(secret in said for secret in SECRETS)


def test_enough_of_them_and_a_row_for_each_rule_of_a_package() -> None:
    """Every rule that one package alone can break has a bad package."""
    assert len(BAD) >= 40
    known = {finding.rpartition(" ")[2] for bad in BAD for finding in list_findings(bad)}
    of_a_project = {"dependency-missing", "dependency-version", "dependency-cycle", "plugin-code",
                    "plugin-category"}  # fmt: skip
    page = (EXAMPLES.parent / "docs" / "packages.md").read_text(encoding="utf-8")
    rules = set(re.findall(r"^\| `package:([\w.-]+)` \|", page, re.MULTILINE))
    assert rules == known | of_a_project


def test_a_zip_and_a_git_ref_are_read_as_a_folder_is(folder: Path) -> None:
    """The same findings, at the names that such files have."""
    build(folder / "yolo", {"config.yaml": CONFIG.replace("1.2.0", "1.0").replace("job", "cron")})
    wanted = ["error config.yaml:10 method", "error config.yaml:3 version"]
    commit(folder)
    git(folder, "tag", "v1")
    with zipfile.ZipFile(folder / "yolo.zip", "w") as archive:
        for path in sorted((folder / "yolo").rglob("*.*")):
            archive.write(path, path.relative_to(folder / "yolo").as_posix())
    build(folder / "yolo", {})
    assert check(folder, "yolo") == ()
    assert told(check(folder, "yolo.zip"), "yolo.zip!") == wanted
    at = check(folder, "yolo", "v1")
    assert {one.position.file for one in at if one.position} == {"yolo/config.yaml at v1"}
    assert [one.rule for one in at] == ["package:version", "package:method"]


def test_a_zip_with_several_configs_has_the_one_with_the_shortest_path(folder: Path) -> None:
    """None at the root: the platform takes another, which is said, and that one is read."""
    with zipfile.ZipFile(folder / "yolo.zip", "w") as archive:
        archive.writestr("deep/er/config.yaml", CONFIG)
        archive.writestr("app/my_config.yaml", CONFIG.replace("1.2.0", "1"))
        archive.writestr("plugin/train.py", GOOD["plugin/train.py"])
    found = check(folder, "yolo.zip")
    assert told(found, "yolo.zip!") == [
        "error app/my_config.yaml:3 version",
        "warning yolo.zip:1 no-config",
    ]
    assert "app/my_config.yaml" in found[0].detail


def test_a_comment_allows_a_secret(folder: Path) -> None:
    """Of detect-secrets: on the line, or for the next one; other lines are told."""
    text = (
        f'A = "{GITHUB}"  # pragma: allowlist secret\n'
        f"# pragma: allowlist nextline secret\nB = '{GITHUB}'\n"
        f'API_TOKEN = "{RANDOM}"\n\n\nclass TrainAction: ...\n'
    )
    env = f"env:\n  API_KEY: {RANDOM} # pragma: allowlist secret\n"
    build(folder / "yolo", {"plugin/train.py": text, "config.yaml": CONFIG + env})
    assert told(check(folder, "yolo"), "yolo/") == ["warning plugin/train.py:4 secret-like"]


@pytest.mark.parametrize("text", [
    'API_KEY = os.environ["API_KEY"]', "token = get_token(request_id_12345)", "password: ${PASSWORD}",
    'TOKEN = "<your-token-here-1234>"', 'SECRET_NAME = "projects/detector/secrets/1"',
    "tokenizer = 'bert-base-uncased-v1'", 'key = "image_id_2024_06_abcdef12"', "password = 'password'",
    "max_tokens = 4096000000000000", "API_KEY: ''", "secret_key: changeme-please-1",
    'TOKEN_URL = "https://auth.example.com/oauth2/token"', "https://host:8080/path@2x.png",
])  # fmt: skip
def test_what_only_looks_like_a_name_is_no_secret(text: str, folder: Path) -> None:
    """Names without a value, values that stand for one, and words."""
    build(folder / "yolo", {"plugin/more.txt": text + "\n"})
    assert check(folder, "yolo") == ()


def test_a_binary_and_a_large_file_are_not_looked_into(folder: Path) -> None:
    """They are hashed as ever."""
    build(folder / "yolo", {"data.txt": f"{GITHUB}\0", "large.txt": f"{GITHUB}\n" + "x" * 600_000})
    assert check(folder, "yolo") == ()


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*/plugins/*")), ids=lambda path: path.parts[-3]
)
def test_the_examples_are_clean(path: Path) -> None:
    """Not even a note."""
    assert check(path.parent, path.name) == ()


# As the platform's SDK makes them (its templates of 2026), with the lines that people fill in.
TEMPLATE = """\
name: {name}
code: {code}
version: 0.1.0
variant: null
category: {category}
description: {name} of ours
requires:
  sdk: '>=2026.1.0'
  python: '>=3.10,<3.13'
dependencies: {{}}
tags: []
{more}
actions:
{actions}"""
ACTION = "  {0}:\n    entrypoint: plugin.{0}.{1}\n    method: {2}\n"
TEMPLATES = {
    "neural_net": (
        "data_type: image\ntasks:\n  - image.object_detection",
        [("train", "train", "job"), ("inference", "InferenceAction", "serve"),
         ("download", "download", "job"), ("deployment", "DeploymentAction", "job")],
    ),
    "export": ("", [("export", "ExportAction", "job")]),
    "upload": ("supported_data_types:\n  - image\n  - video", [("upload", "UploadAction", "job")]),
    "smart_tool": (
        "annotation_category: image\nannotation_type: bbox\nsmart_tool: automatic",
        [("auto_label", "AutoLabelAction", "serve")],
    ),
    "pre_annotation": ("", [("to_task", "ToTaskAction", "task"), ("pre_annotate", "run", "job")]),
    "post_annotation": ("", [("post_annotate", "PostAnnotateAction", "task")]),
    "data_validation": ("", [("validate", "validate", "task")]),
    "custom": ("", [("main", "MainAction", "task")]),
}  # fmt: skip


@pytest.mark.parametrize("category", TEMPLATES)
def test_what_the_sdk_generates_is_clean(category: str, folder: Path) -> None:
    """All of its categories, dotted entrypoints, empty maps, hyperparameters and all."""
    more, actions = TEMPLATES[category]
    text = TEMPLATE.format(
        name=f"My {category}", code=category.replace("_", "-"), category=category, more=more,
        actions="".join(ACTION.format(*one) for one in actions),
    )  # fmt: skip
    text += "    input_type: null\n    hyperparameters:\n      train_ui_schemas: []\n"
    files: dict[str, str | None] = {
        f"plugin/{name}.py": "from __future__ import annotations\n\n"
        "from synapse_sdk.plugins.actions import BaseAction\n\n"
        + (f"class {made}(BaseAction): ...\n" if made[0].isupper() else f"def {made}(): ...\n")
        for name, made, _ in actions
    }
    files |= {"config.yaml": text, "requirements.txt": "synapse-sdk==2026.2.17\n"}
    files |= {"plugin/train.py": files.get("plugin/train.py"), "README.md": "# Mine\n"}
    files |= {".gitignore": "__pycache__/\n*.py[cod]\ndist/\nbuild/\n.coverage\n*.log\n"}
    files |= {".synapseignore": ".git\n.venv\nvenv\n__pycache__\n*.egg-info\ndist\nbuild\n"}
    build(folder / "mine", files)
    assert check(folder, "mine") == ()

"""A release: two builds have the same bytes, its pipelines are safe, and nothing open is released."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from in_process import run
from installed import ROOT
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

WORKFLOW, PIPELINE = ROOT / ".github" / "workflows" / "release.yml", ROOT / ".gitlab-ci.yml"
PINNED = re.compile(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", ROOT / "release" / "release.py")
    assert spec
    assert spec.loader
    module = sys.modules["release"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_builds_have_the_same_bytes(release: ModuleType, tmp_path: Path) -> None:
    """Wheel and source archive: on another day, from another folder, with another umask and zone."""
    epoch = 1_790_000_000
    first = release.build_packages(ROOT, tmp_path / "first", epoch)
    with tarfile.open(first[1]) as archive:
        assert {entry.mtime for entry in archive} == {epoch}
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / first[1].name.removesuffix(".tar.gz")
    for path in source.rglob("*"):
        os.utime(path, (1, 1))
    given = os.umask(0o077)
    try:
        (source / "README.md").chmod(0o600)
        second = release.build_packages(source, tmp_path / "second", epoch)
    finally:
        os.umask(given)
    assert [path.name for path in first] == [path.name for path in second]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    pages = release.pack_pages(epoch)
    assert pages == release.pack_pages(epoch)
    assert hashlib.sha256(pages).hexdigest() != hashlib.sha256(release.pack_pages(1)).hexdigest()


def test_the_site_has_each_schema_at_the_address_that_it_says(
    release: ModuleType, tmp_path: Path
) -> None:
    """With the version in it, as the entries for editors have it; and what its references lead to."""
    with tarfile.open(fileobj=io.BytesIO(release.pack_pages(1_790_000_000))) as archive:
        archive.extractall(tmp_path, filter="data")
    [site] = tmp_path.iterdir()
    schemas = [json.loads(path.read_text("utf-8")) for path in (site / "schemas").rglob("*.json")]
    known = Registry().with_resources((one["$id"], Resource.from_contents(one)) for one in schemas)
    for entry in read(ROOT / "docs" / "schemastore.json"):
        path = site / entry["url"].partition("/schemas/")[2].join(("schemas/", ""))
        schema = json.loads(path.read_text("utf-8"))
        assert schema["$id"] == entry["url"]
        assert "/v1/" in schema["$id"]
        for file, fits in (("synapse-apply.yaml", "project" in path.name), ("kinds.yaml", False)):
            document = {} if file == "kinds.yaml" else read(ROOT / "examples" / "quickstart" / file)
            checked = Draft202012Validator(schema, registry=known)
            assert checked.is_valid(document) == fits, (path, file)
    assert len({one["$id"] for one in schemas}) == len(schemas)


def test_the_site_has_what_agents_read(release: ModuleType, tmp_path: Path) -> None:
    """llms.txt, and what its links lead to: the skill, and the file of all pages."""
    with tarfile.open(fileobj=io.BytesIO(release.pack_pages(1))) as archive:
        archive.extractall(tmp_path, filter="data")
    [docs] = tmp_path.glob("*/docs")
    links = re.findall(r"\]\(([^):]+)\)", (docs / "llms.txt").read_text("utf-8"))
    assert {"llms-full.txt", "skill/SKILL.md", "daily.md"} <= set(links)
    assert [link for link in links if not (docs / link).exists()] == []
    joined = (docs / "llms-full.txt").read_text("utf-8")
    assert joined.count("<!-- docs/") >= len(list(docs.glob("*.md"))) - 1


def test_the_notes_are_one_section_of_the_changelog(release: ModuleType) -> None:
    """Without its heading, and with nothing of the versions before and after it."""
    text = "# C\n\n## [Unreleased]\n\n- u\n\n## [0.10.0] - 2027-02-01\n\n### Added\n\n- ten\n\n## [0.1.0] - 2027-01-01\n\n- one\n"
    assert release.cut_notes("0.10.0", text) == "### Added\n\n- ten\n"
    assert release.cut_notes("0.1.0", text) == "- one\n"
    for version in ("0.2.0", "0.1", "0.1.00"):
        with pytest.raises(release.Problem, match="has no section of"):
            release.cut_notes(version, text)
    with pytest.raises(release.Problem):
        release.cut_notes("0.3.0", "## [0.3.0]\n\n## [0.2.0]\n\n- two\n")
    assert release.cut_notes("Unreleased", (ROOT / "CHANGELOG.md").read_text("utf-8")).strip()


def copy_of_what_is_read(release: ModuleType, to: Path) -> Path:
    for name in ("pyproject.toml", "CHANGELOG.md", "RELEASING.md", *release.PIPELINES):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, to / name)
    return to


def test_a_tag_is_refused_while_something_is_open(release: ModuleType, tmp_path: Path) -> None:
    """A row, a placeholder, a heading or another version: each is named, all at once."""
    folder = copy_of_what_is_read(release, tmp_path)
    rows = (folder / "RELEASING.md").read_text("utf-8").count("| open |\n")
    found = list(release.find_open("v9.9.9", folder))
    assert (
        f"pyproject.toml says version {release.VERSION}: the tag must be v{release.VERSION}"
        in found
    )
    assert len([one for one in found if one.startswith("RELEASING.md: ")]) == rows >= 6
    assert len([one for one in found if one.startswith(".gitlab-ci.yml: OPEN-")]) >= 5

    changelog = folder / "CHANGELOG.md"
    changelog.write_text(f"## [{release.VERSION}] - 2027-01-01\n\n- first\n")
    for name in ("RELEASING.md", *release.PIPELINES):
        text = (folder / name).read_text("utf-8").replace("| open |", "| decided |")
        (folder / name).write_text(release.PLACEHOLDER.sub("a" * 64, text))
    tag = f"v{release.VERSION}"
    assert list(release.find_open(tag, folder)) == []
    assert len(list(release.find_open(release.VERSION, folder))) == 1  # without its v
    changelog.write_text(f"## [{release.VERSION}]\n\n- first\n")
    assert len(list(release.find_open(tag, folder))) == 1
    (folder / ".gitlab-ci.yml").unlink()  # of the forge that is not used
    assert len(list(release.find_open(tag, folder))) == 1


def test_the_command_that_refuses_ends_with_one(release: ModuleType, capsys: Any) -> None:
    """What a pipeline sees: an exit code, and a line for each thing that is open."""
    assert release.main(["tag", "v9.9.9; echo hacked"]) == 1
    told = capsys.readouterr().err
    assert "v9.9.9; echo hacked cannot be released:\n  - pyproject.toml says version" in told
    assert "  - RELEASING.md: project on the package index" in told
    assert release.main(["publish"]) == 64


def test_every_action_and_image_is_pinned() -> None:
    """An action by its commit; an image by its digest, or by a placeholder that refuses every tag."""
    lines = [line.strip().removeprefix("- ") for line in WORKFLOW.read_text("utf-8").splitlines()]
    uses = [line for line in lines if line.startswith("uses:")]
    assert len(uses) >= 14
    assert [line for line in uses if not PINNED.fullmatch(line)] == []
    pins = {line.split()[1] for line in uses}
    assert len({pin.partition("@")[0] for pin in pins}) == len(pins)  # each at one version
    jobs = {name: job for name, job in read(PIPELINE).items() if isinstance(job, dict)}
    images = [job["image"] for job in jobs.values() if "image" in job]
    images += jobs["test"]["parallel"]["matrix"][0]["PYTHON_IMAGE"]
    names = [image["name"] if isinstance(image, dict) else image for image in images]
    names.remove("$PYTHON_IMAGE")
    assert len(names) >= 7
    pinned = re.compile(r"\S+@sha256:(?:[0-9a-f]{64}|OPEN-[A-Z-]+)")
    assert [name for name in names if not pinned.fullmatch(name)] == []


def test_each_job_has_the_least_permissions() -> None:
    """None by default; only a job that signs has an identity, and none has a secret."""
    workflow = read(WORKFLOW)
    assert workflow["permissions"] == {}
    assert {name: job["permissions"] for name, job in workflow["jobs"].items()} == {
        "build": {"contents": "read"},
        "test": {"contents": "read"},
        "attest": {"id-token": "write", "attestations": "write"},
        "publish": {"id-token": "write"},
        "image": {"contents": "read", "packages": "write", "id-token": "write"},
        "release": {"contents": "write", "id-token": "write"},
    }
    assert list(workflow[True]) == ["push"]  # `on`, in YAML 1.1
    assert list(workflow[True]["push"]) == ["tags"]
    assert "secrets." not in WORKFLOW.read_text("utf-8")
    identities = {
        name: list(job["id_tokens"])
        for name, job in read(PIPELINE).items()
        if isinstance(job, dict) and "id_tokens" in job
    }
    assert identities == {"publish": ["PYPI_ID_TOKEN"], "sign": ["SIGSTORE_ID_TOKEN"]}
    (rule,) = read(PIPELINE)["workflow"]["rules"]
    assert "$CI_COMMIT_TAG =~" in rule["if"]
    assert '$CI_COMMIT_REF_PROTECTED == "true"' in rule["if"]


def test_no_job_that_has_rights_runs_code_of_the_repository() -> None:
    """On GitHub: what may sign or publish takes the built files, and the recipe of the image alone."""
    for name, job in read(WORKFLOW)["jobs"].items():
        scripts = [step["run"] for step in job["steps"] if "run" in step]
        assert [text for text in scripts if "${{" in text] == [], name
        checkouts = [step for step in job["steps"] if "checkout@" in step.get("uses", "")]
        assert [step["with"]["persist-credentials"] for step in checkouts] == [False] * len(
            checkouts
        )
        if "id-token" in job["permissions"]:
            assert bool(checkouts) == (name == "image")
            assert not re.search(r"release/|\bmake\b|\bpip3?\b|python", "".join(scripts)), name


def test_a_pipeline_refuses_the_tag_before_it_builds() -> None:
    """In the job that all others need; the tag is an argument, and not part of a script."""
    steps = [step.get("run", "") for step in read(WORKFLOW)["jobs"]["build"]["steps"]]
    for lines, tag in ((steps, '"$TAG"'), (read(PIPELINE)["build"]["script"], '"$CI_COMMIT_TAG"')):
        text = "\n".join(lines)
        assert f"release.py tag {tag}\n" in text
        assert text.index("release.py tag") < text.index("release.py build")


def test_what_is_tested_is_what_is_released() -> None:
    """One job builds; all others have its artifact, and no release is made before all have passed."""
    jobs = read(WORKFLOW)["jobs"]
    assert [name for name, job in jobs.items() if "release.py build" in str(job)] == ["build"]
    needs = {name: job.get("needs") for name, job in jobs.items()}
    assert needs == {
        "build": None, "test": "build", "attest": "test", "publish": "attest", "image": "attest",
        "release": ["publish", "image"],
    }  # fmt: skip
    pipeline = read(PIPELINE)
    assert pipeline["stages"] == ["build", "test", "publish", "sign", "release"]
    built = [name for name, job in pipeline.items() if "release.py build" in str(job)]
    assert built == ["build"]


def test_the_version_names_the_extras_that_are_installed(tmp_path: Path) -> None:
    """For a bug report and for scripts: here all of them are, as development needs them."""
    told = json.loads(run("version --json", tmp_path, {}).stdout)
    assert set(told) == {"version", "python", "platform", "extras"}
    assert told["extras"] == ["bucket", "controller", "fleet", "oidc", "postgres"]

"""A pull request commits a link, so that a file outside of the checkout is read and quoted."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time

import pytest
from in_process import run_command

from synapse_apply import EmbeddedServer

SECRET = "hunter2-of-the-runner"
PROJECT = """\
apiVersion: synapse-apply/v1
kind: Project
manifests: [{listed}]
variables: {{bucket: {{default: b}}}}
targets: {{one: {{url: "http://127.0.0.1:9"}}}}
"""
PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: p}
spec: {name: P, code: p, from: ./plugin}
"""
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: a}
spec: {name: A, provider: file_system, category: external, configuration: {location: /data}}
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A project below the top of a repository, and a secret beside the repository."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "key.yaml").write_text(f"{SECRET}\n")
    folder = tmp_path / "repository" / "project"
    (folder / "manifests").mkdir(parents=True)
    (tmp_path / "repository" / ".git").mkdir()
    monkeypatch.chdir(folder)
    (folder / "synapse-apply.yaml").write_text(PROJECT.format(listed="manifests/"))
    return folder


def outcome(*arguments):
    """Exit code and all that was printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(arguments)
    return code, out.getvalue() + err.getvalue()


def refused(*arguments, saying="outside"):
    """The command ends with a finding of ours, soon, and quotes nothing of the file."""
    begun = time.process_time()
    code, text = outcome(*arguments)
    assert code == 1, text
    assert SECRET not in text
    assert "internal error" not in text
    assert saying in text, text
    assert time.process_time() - begun < 60
    return text


LISTED = {
    "a file that is listed": ("key.yaml", "key.yaml", "../../home/key.yaml"),
    "a folder that is listed": ("away", "away", "../../home"),
    "a file in a linked folder": ("away/key.yaml", "away", "../../home"),
    "a link to a link": ("key.yaml", "key.yaml", "second"),
    "an absolute link": ("key.yaml", "key.yaml", "/proc/self/environ"),
}


@pytest.mark.parametrize("case", LISTED)
def test_a_listed_path_leads_out(checkout, monkeypatch, case):
    monkeypatch.setenv("LEAK", SECRET)
    listed, name, to = LISTED[case]
    (checkout / name).symlink_to(to)
    (checkout / "second").symlink_to("../../home/key.yaml")
    (checkout / "synapse-apply.yaml").write_text(PROJECT.format(listed=listed))
    refused("validate")


def test_the_usual_folder_leads_out(checkout):
    """`manifests/` is read without being listed."""
    (checkout / "manifests").rmdir()
    (checkout / "manifests").symlink_to("../../home")
    (checkout / "synapse-apply.yaml").write_text(
        PROJECT.format(listed="").replace("manifests: []\n", "")
    )
    refused("validate")


@pytest.mark.parametrize("named", ["key.yaml", "./away", "away/key.yaml", "absolute"])
def test_a_path_that_the_pipeline_names_leads_out(checkout, named):
    """`-f` is the pipeline's word, and where it leads is the pull request's."""
    (checkout / "key.yaml").symlink_to("../../home/key.yaml")
    (checkout / "away").symlink_to("../../home")
    refused("validate", "-f", str(checkout / "key.yaml") if named == "absolute" else named)


@pytest.mark.parametrize("named", [(), ("--project", "synapse-apply.yaml"), ("-C", ".")])
def test_the_project_file_leads_out(checkout, named):
    (checkout / "synapse-apply.yaml").unlink()
    (checkout / "synapse-apply.yaml").symlink_to("../../home/key.yaml")
    refused("validate", *named)


def test_the_project_file_leads_out_where_there_is_no_repository(checkout):
    """As in an image that has a copy of the checkout without `.git`."""
    (checkout.parent / ".git").rmdir()
    (checkout / "synapse-apply.yaml").unlink()
    (checkout / "synapse-apply.yaml").symlink_to("../../home/key.yaml")
    refused("validate")


@pytest.mark.parametrize("to", ["../../home/key.yaml", "/proc/self/environ", "away/key.yaml"])
def test_a_file_of_variables_leads_out(checkout, monkeypatch, to):
    monkeypatch.setenv("LEAK", SECRET)
    (checkout / "away").symlink_to("../../home")
    (checkout / "values.yaml").symlink_to(to)
    refused("validate", "--var", "@values.yaml")


def test_an_inventory_leads_out(checkout):
    (checkout / "inventory.yaml").symlink_to("../../home/key.yaml")
    refused("import", "-t", "embedded", "-f", "inventory.yaml")


def test_parameters_of_a_run_lead_out(checkout):
    """`--params-file` is sent to a server."""
    (checkout / "parameters.yaml").symlink_to("../../home/key.yaml")
    refused("run", "-t", "embedded", "p@1.0.0", "--params-file", "parameters.yaml")


@pytest.mark.parametrize("name", ["config.yaml", ".synapseignore"])
def test_a_file_of_a_package_leads_out(checkout, name):
    (checkout / "plugin").mkdir()
    (checkout / "plugin" / name).symlink_to("../../../home/key.yaml")
    (checkout / "manifests" / "p.yaml").write_text(PLUGIN)
    refused("validate", saying="points outside the package")


def test_a_package_folder_leads_out(checkout):
    (checkout / "plugin").symlink_to("../../home")
    (checkout / "manifests" / "p.yaml").write_text(PLUGIN)
    refused("validate")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/stdin", "/dev/tty", "/dev/fd/0"])
@pytest.mark.parametrize(
    "place", ["manifests/a.yaml", "listed.yaml", "synapse-apply.yaml", "values.yaml"]
)
def test_a_device_is_not_read(checkout, device, place):
    """None of them ever ends, or each of them waits."""
    if place == "listed.yaml":
        (checkout / "synapse-apply.yaml").write_text(PROJECT.format(listed=place))
    (checkout / place).unlink(missing_ok=True)
    (checkout / place).symlink_to(device)
    extra = ("--var", f"@{place}") if place == "values.yaml" else ()
    refused("validate", *extra, saying="outside")


@pytest.mark.parametrize(
    "place", ["manifests/a.yaml", "listed.yaml", "synapse-apply.yaml", "values.yaml"]
)
def test_a_pipe_is_not_waited_for(checkout, place):
    if place == "listed.yaml":
        (checkout / "synapse-apply.yaml").write_text(PROJECT.format(listed=place))
    (checkout / place).unlink(missing_ok=True)
    os.mkfifo(checkout / place)
    extra = ("--var", f"@{place}") if place == "values.yaml" else ()
    refused("validate", *extra, saying="pipe")


@pytest.mark.parametrize("place", ["manifests/a.yaml", "synapse-apply.yaml", "values.yaml"])
def test_a_file_without_end_is_not_read(checkout, place):
    """A sparse file costs a pull request nothing."""
    with (checkout / place).open("wb") as file:
        file.truncate(1 << 40)
    extra = ("--var", f"@{place}") if place == "values.yaml" else ()
    refused("validate", *extra, saying="larger than")


@pytest.mark.parametrize("content", ["device", "newlines", "spaces", "large"])
def test_the_list_of_submodules_is_read_in_bounds(checkout, content):
    """It is asked for as soon as a folder of manifests is empty."""
    file = checkout.parent / ".gitmodules"
    if content == "device":
        file.symlink_to("/dev/zero")
    elif content == "newlines":
        file.write_text("\n" * 900_000 + "path = x")
    elif content == "spaces":
        file.write_text("path = a" + " " * 900_000 + "b")
    else:
        with file.open("wb") as sparse:
            sparse.truncate(1 << 40)
    begun = time.process_time()
    code, text = outcome("validate")
    assert "internal error" not in text
    assert code == 0
    (checkout / "plugin" / "empty").mkdir(parents=True)
    (checkout / "manifests" / "p.yaml").write_text(
        PLUGIN.replace(", from: ./plugin", "")
        + "---\napiVersion: synapse-apply/v1\nkind: Release\nspec: "
        "{plugin: p, version: '1.0.0', source: ./plugin}\n"
    )
    outcome("validate")
    assert time.process_time() - begun < 60


def test_links_that_stay_in_the_project_are_followed(checkout):
    """Of manifests, and of what the pipeline names."""
    (checkout / "real.yaml").write_text(PLUGIN.replace(", from: ./plugin", ""))
    (checkout / "manifests" / "a.yaml").symlink_to("../real.yaml")
    (checkout / "values").write_text("bucket: c\n")
    (checkout / "values.yaml").symlink_to("values")
    code, text = outcome("validate", "--var", "@values.yaml", "-t", "one")
    assert code == 0, text
    assert "1 resource" in text or "1 plugin" in text, text


def test_a_project_file_and_values_that_the_repository_shares_are_followed(checkout):
    """Their links end in the same repository."""
    (checkout / "synapse-apply.yaml").rename(checkout.parent / "shared.yaml")
    (checkout / "synapse-apply.yaml").symlink_to("../shared.yaml")
    (checkout.parent / "values").write_text("bucket: c\n")
    (checkout / "values.yaml").symlink_to("../values")
    (checkout / "manifests" / "a.yaml").write_text(PLUGIN.replace(", from: ./plugin", ""))
    code, text = outcome("validate", "--var", "@values.yaml", "-t", "one")
    assert code == 0, text


def test_what_lies_elsewhere_is_read_where_the_pipeline_names_it(checkout):
    """Nobody who opens pull requests decides where that leads; process substitution is a pipe."""
    (checkout.parent.parent / "home" / "values").write_text("bucket: c\n")
    (checkout.parent.parent / "home" / "link").symlink_to("values")
    assert outcome("validate", "--var", "@../../home/link", "-t", "one")[0] == 0
    reading, writing = os.pipe()
    os.write(writing, b"bucket: d\n")
    os.close(writing)
    code, text = outcome("validate", "--var", f"@/dev/fd/{reading}", "-t", "one")
    os.close(reading)
    assert code == 0, text


@pytest.mark.parametrize("named", ["away/key.yaml", "away/sub/key.yaml"])
def test_another_repository_that_a_link_leads_to_is_outside(checkout, named):
    """As the checkout of another job, or a home that is kept in Git: for reading and for reports."""
    other = checkout.parent.parent / "home"
    (other / ".git").mkdir()
    (other / "sub").symlink_to(".")
    (checkout / "away").symlink_to("../../home")
    refused("validate", "-f", named)
    refused("validate", "--var", f"@{named}")
    for file in (named, "away/new.json"):
        report = f"codequality={file}"
        refused("validate", "--report", report, saying="is a link that leads out of the checkout")
    assert sorted(path.name for path in other.iterdir()) == [".git", "key.yaml", "sub"]
    assert (other / "key.yaml").read_text() == f"{SECRET}\n"


@pytest.mark.parametrize(
    ("link", "target", "said"),
    [
        ("findings.json", "../../home/key.yaml", "is a link that leads out of the checkout"),
        ("findings.json", "../../home/new.yaml", "is a link that leads out of the checkout"),
        ("findings.json", "../.git/config", "leads to Git's data"),
        ("out", "../../home", "is a link that leads out of the checkout"),
        ("out", "../.git/hooks", "leads to Git's data"),
    ],
)
@pytest.mark.parametrize("kind", ["codequality", "json", "markdown"])
def test_a_report_that_a_link_leads_elsewhere(checkout, link, target, said, kind):
    """A pipeline names a file of the checkout; a commit has a link in its place."""
    (checkout / ".." / ".git" / "hooks").mkdir()
    (checkout / ".." / ".git" / "config").write_text("as it was")
    (checkout / link).symlink_to(target)
    file = link if link.endswith(".json") else f"{link}/pre-commit"
    refused("validate", "--report", f"{kind}={file}", saying=said)
    home = checkout.parent.parent / "home"
    assert [path.name for path in home.iterdir()] == ["key.yaml"]
    assert (home / "key.yaml").read_text() == f"{SECRET}\n"
    assert (checkout.parent / ".git" / "config").read_text() == "as it was"
    assert not list((checkout.parent / ".git" / "hooks").iterdir())


@pytest.mark.parametrize(
    ("link", "typed"),
    [
        ("manifests", ("init",)),
        ("manifests", ("init", "storage", "raw", "--out", "manifests/raw.yaml")),
        ("sub", ("init", "storage", "raw", "--out", "sub/deeper/raw.yaml")),
    ],
)
def test_no_new_file_is_written_through_a_link_out_of_the_project(checkout, tmp_path, link, typed):
    """Nor is any other file of the same command."""
    (tmp_path / "outside").mkdir()
    (checkout / "manifests").rmdir()
    (checkout / link).symlink_to(tmp_path / "outside")
    if typed == ("init",):
        (checkout / "synapse-apply.yaml").unlink()
    code, said = outcome(*typed)
    assert code == 1
    assert "A link blocks the path" in said
    assert str(tmp_path / "outside") in said
    assert list((tmp_path / "outside").iterdir()) == []
    assert not (typed == ("init",) and (checkout / "synapse-apply.yaml").exists())


@pytest.mark.parametrize("has_git", [False, True])
@pytest.mark.parametrize(
    "typed",
    [
        ("plan", "--out", "sub/p.plan"),
        ("state", "backup", "sub/b.db"),
        ("export", "--out", "sub", "--inventory", "inventory.yaml"),
        ("package", "build", "package", "--out", "sub/p.zip"),
    ],
)
def test_what_a_command_writes_goes_through_no_link(
    checkout, tmp_path, monkeypatch, typed, has_git
):
    """A plan, a backup, manifests or a zip, in a folder that a commit's link leads to."""
    (tmp_path / "outside").mkdir()
    if has_git:
        (tmp_path / "outside" / ".git").mkdir()
    before = sorted(path.name for path in (tmp_path / "outside").iterdir())
    (checkout / "sub").symlink_to(tmp_path / "outside")
    (checkout / "package").mkdir()
    (checkout / "package" / "config.yaml").write_text("name: P\ncode: p\nversion: 1.0.0\n")
    monkeypatch.setenv("TOKEN", "any")
    with EmbeddedServer(tmp_path / "backend", any_token=True) as server:
        target = f'"{server.url}", token: {{env: TOKEN}}'
        text = PROJECT.format(listed="manifests/").replace('"http://127.0.0.1:9"', target)
        (checkout / "synapse-apply.yaml").write_text(text)
        (checkout / "manifests" / "a.yaml").write_text(STORAGE)
        assert outcome("state", "init")[0] == 0
        assert outcome("apply", "--auto-approve")[0] == 0
        code, said = outcome(*typed)
    assert code == 1, said
    assert "is a link that leads out of the checkout. Nothing was done" in said
    assert sorted(path.name for path in (tmp_path / "outside").iterdir()) == before


@pytest.mark.parametrize(
    ("link", "to", "named"),
    [
        ("synapse.log", "../../home/key.yaml", "synapse.log"),
        ("logs", "../../home", "logs/key.yaml"),
        ("logs", "../../home", "logs/new.log"),
        ("synapse.log", "../.git/config", "synapse.log"),
    ],
)
def test_the_log_goes_through_no_link(checkout, tmp_path, monkeypatch, link, to, named):
    """The pipeline names the file, and where it leads is the pull request's."""
    (checkout / link).symlink_to(to)
    monkeypatch.setenv("SYNAPSE_APPLY_LOG", "debug")
    monkeypatch.setenv("SYNAPSE_APPLY_LOG_PATH", named)
    code, said = outcome("validate")
    assert code == 64
    assert "SYNAPSE_APPLY_LOG_PATH cannot be written" in said
    assert (tmp_path / "home" / "key.yaml").read_text() == f"{SECRET}\n"
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["key.yaml"]
    assert list((tmp_path / "repository" / ".git").iterdir()) == []


def test_no_data_set_is_made_through_a_link(checkout, tmp_path):
    """`emulator --data` in a folder that a commit's link leads to."""
    (checkout / "o").symlink_to("../../home")
    code, said = outcome("emulator", "--data", "o/d")
    assert code == 1
    assert "is a link that leads out of the checkout. Nothing was done" in said
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["key.yaml"]


def test_the_log_goes_where_its_path_leads_within_the_checkout(checkout):
    """By a link that stays there; and /dev/stderr, which is a link, is no file of the checkout."""
    (checkout / "deep/logs").mkdir(parents=True)
    (checkout / "logs").symlink_to("deep/logs")
    (checkout / "deep/logs/last").symlink_to("../today.log")

    def diagnose(path):
        environ = {**os.environ, "SYNAPSE_APPLY_LOG": "debug", "SYNAPSE_APPLY_LOG_PATH": path}
        command = [sys.executable, "-m", "synapse_apply", "doctor", "-t", "one"]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    for named, written in (("logs/last", "deep/today.log"), ("logs/new.log", "deep/logs/new.log")):
        assert " debug synapse_apply." not in diagnose(named).stderr
        assert " debug synapse_apply." in (checkout / written).read_text()
        assert (checkout / written).stat().st_mode & 0o777 == 0o600
    assert " debug synapse_apply." in diagnose("/dev/stderr").stderr


def test_a_link_within_the_project_is_followed(checkout):
    (checkout / "synapse-apply.yaml").unlink()
    (checkout / "manifests").rename(checkout / "real")
    (checkout / "manifests").symlink_to("real")
    assert outcome("init")[0] == 0
    assert (checkout / "real" / "example.yaml").exists()

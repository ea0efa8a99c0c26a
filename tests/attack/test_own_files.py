"""Files beside the project that a commit or another user has put there: none of them is used."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from attack.planting import (
    STRANGER,
    Plant,
    Site,
    contents,
    copy_state,
    foreign_database,
    give_away,
    make_folder,
    make_pipe,
    move_out,
    use_state,
)
from e2e.scenarios.workplace import TOKEN, Workplace, project, sample
from git_repositories import commit, git

from synapse_apply import EmbeddedServer

SECRETS = {"PROD_TOKEN": TOKEN, "RAW_ID": "raw-id-canary", "RAW_KEY": "raw-key-canary"}


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, EmbeddedServer]]:
    """A folder with a project and the cache of who applied it: no test has ever changed them."""
    folder = tmp_path_factory.mktemp("applied")
    place = make_place(folder)
    with EmbeddedServer(folder / "backend", token=TOKEN, tenant="acme") as server:
        place.write("synapse-apply.yaml", project(server.url))
        sample(place)
        commit(place.root, "base", with_ignored=False)
        place.run("state", "init", code=0)
        place.apply()
        yield folder, server


@pytest.fixture
def site(tmp_path: Path, applied: tuple[Path, EmbeddedServer]) -> Site:
    """Everything is applied, and the commit holds what it should."""
    folder, server = applied
    for name in ("project", "cache"):
        shutil.copytree(folder / name, tmp_path / name)
    (tmp_path / "outside").mkdir()
    return Site(make_place(tmp_path), server, tmp_path / "outside")


def make_place(folder: Path) -> Workplace:
    return Workplace(folder / "project", {**SECRETS, "XDG_CACHE_HOME": str(folder / "cache")})


def _folder_is_a_link(site: Site, _patch: pytest.MonkeyPatch) -> None:
    move_out(site.own, site)


def _folder_is_a_link_to_nowhere(site: Site, _patch: pytest.MonkeyPatch) -> None:
    site.own.rename(site.outside / "gone")
    site.own.symlink_to(site.outside / "nothing")


def _states_are_a_link(site: Site, _patch: pytest.MonkeyPatch) -> None:
    move_out(site.own / "state", site)


def _state_is_a_link(site: Site, _patch: pytest.MonkeyPatch) -> None:
    move_out(site.state, site)


def _state_is_a_link_to_a_foreign_database(site: Site, _patch: pytest.MonkeyPatch) -> None:
    site.state.unlink()
    site.state.symlink_to(foreign_database(site.outside / "foreign.db"))


def _state_is_a_link_inside(site: Site, _patch: pytest.MonkeyPatch) -> None:
    site.state.rename(site.state.with_name("staging.db"))
    site.state.symlink_to("staging.db")


def _journal_is_a_link(site: Site, _patch: pytest.MonkeyPatch) -> None:
    (site.outside / "victim").write_bytes(b"victim")
    site.state.with_name("prod.db-journal").symlink_to(site.outside / "victim")


def _wal_is_a_link(site: Site, _patch: pytest.MonkeyPatch) -> None:
    (site.outside / "victim").write_bytes(b"victim")
    site.state.with_name("prod.db-wal").symlink_to(site.outside / "victim")


def _key_is_a_link(site: Site, _patch: pytest.MonkeyPatch) -> None:
    move_out(site.key, site).chmod(0o644)


def _key_is_a_link_to_nowhere(site: Site, _patch: pytest.MonkeyPatch) -> None:
    site.key.unlink()
    site.key.symlink_to(site.outside / "made-by-a-link")


def _previous_key_is_a_link(site: Site, _patch: pytest.MonkeyPatch) -> None:
    (site.outside / "victim").write_text("victim")
    (site.outside / "victim").chmod(0o666)
    site.key.with_name("prod.key.previous").symlink_to(site.outside / "victim")


LINKS: list[Plant] = [
    _folder_is_a_link,
    _folder_is_a_link_to_nowhere,
    _states_are_a_link,
    _state_is_a_link,
    _state_is_a_link_to_a_foreign_database,
    _state_is_a_link_inside,
    _journal_is_a_link,
    _wal_is_a_link,
    _key_is_a_link,
    _key_is_a_link_to_nowhere,
    _previous_key_is_a_link,
]


@pytest.mark.parametrize("plant", LINKS)
def test_a_link_is_not_followed(site: Site, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to read nor to write, by no command; what it leads to keeps its bytes and mode."""
    plant(site, monkeypatch)
    for typed in (("plan",), ("apply", "--auto-approve")):
        site.is_refused(*typed, because="is a link. It was not opened.")


@pytest.mark.parametrize(
    "typed",
    [
        "state show",
        "state backup b.db",
        "state rekey",
        "state history",
        "drift",
        "import storage/x 1",
    ],
)
def test_no_command_follows_a_link(site: Site, typed: str) -> None:
    """Those that only read, too."""
    move_out(site.own, site)
    site.is_refused(*typed.split(), because="is a link")
    assert not (site.place.root / "b.db").exists()


def test_a_lock_that_is_a_link_is_not_opened(site: Site) -> None:
    """It is taken where there is no state; nothing is made where it leads, and no state."""
    backup = site.outside / "backup.db"
    site.state.rename(backup)
    lock = site.state.with_name("prod.db.lock")
    lock.unlink(missing_ok=True)
    lock.symlink_to(site.outside / "made-by-a-link")
    site.is_refused("state", "init", because="lock is a link")
    site.is_refused("state", "restore", str(backup), "--auto-approve", because="lock is a link")
    assert not site.state.exists()


def test_what_a_restore_left_is_restored_through_no_link(site: Site) -> None:
    """A backup in our folder is a plain file; elsewhere a person names it."""
    foreign = copy_state(site, site.outside / "foreign.db")
    site.state.with_name("prod.db.before-restore").symlink_to(foreign)
    named = ".synapse-apply/state/prod.db.before-restore"
    site.is_refused("state", "restore", named, "--auto-approve", because="before-restore is a link")


def _commit(site: Site, path: Path) -> None:
    site.git("add", "-f", str(path))
    site.git("commit", "-qm", "planted")


def _state_is_committed(site: Site, _patch: pytest.MonkeyPatch) -> None:
    _commit(site, site.state)


def _key_is_committed(site: Site, _patch: pytest.MonkeyPatch) -> None:
    _commit(site, site.key)


def _journal_is_committed(site: Site, _patch: pytest.MonkeyPatch) -> None:
    journal = site.state.with_name("prod.db-journal")
    journal.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\0" * 504)
    _commit(site, journal)


def _anything_is_staged(site: Site, _patch: pytest.MonkeyPatch) -> None:
    (site.own / "unrecorded-x.jsonl").write_text("")
    site.git("add", "-f", str(site.own / "unrecorded-x.jsonl"))


def _another_spelling_is_committed(site: Site, _patch: pytest.MonkeyPatch) -> None:
    blob = site.git("hash-object", "-w", "synapse-apply.yaml").strip()
    site.git("update-index", "--add", "--cacheinfo", f"100644,{blob},.Synapse-APPLY/state/prod.db")


def _folder_is_a_submodule(site: Site, _patch: pytest.MonkeyPatch) -> None:
    commit = site.git("rev-parse", "HEAD").strip()
    site.git("update-index", "--add", "--cacheinfo", f"160000,{commit},.synapse-apply")


def _states_are_a_submodule(site: Site, _patch: pytest.MonkeyPatch) -> None:
    commit = site.git("rev-parse", "HEAD").strip()
    site.git("update-index", "--add", "--cacheinfo", f"160000,{commit},.synapse-apply/state")


def _an_ignore_file_that_ignores_nothing(site: Site, _patch: pytest.MonkeyPatch) -> None:
    (site.own / ".gitignore").write_text("*\n!state/\n!state/*\n")
    _commit(site, site.own / ".gitignore")


COMMITS: list[Plant] = [
    _state_is_committed,
    _key_is_committed,
    _journal_is_committed,
    _anything_is_staged,
    _another_spelling_is_committed,
    _folder_is_a_submodule,
    _states_are_a_submodule,
    _an_ignore_file_that_ignores_nothing,
]


@pytest.mark.parametrize("plant", COMMITS)
def test_what_git_tracks_is_not_used(
    site: Site, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain file of the right owner: it came with a commit all the same."""
    plant(site, monkeypatch)
    before = contents(site.own)
    ran = site.is_refused("plan", because="is in Git's index")
    assert "git rm -r --cached" in ran.err
    site.is_refused("apply", "--auto-approve", because="is in Git's index")
    assert contents(site.own) == before


def test_a_project_below_the_top_of_its_repository(tmp_path: Path, site: Site) -> None:
    """The repository is the one above, and a bare one in the project's folder answers nothing."""
    top = tmp_path / "top"
    (top / "infra").parent.mkdir()
    git(tmp_path, "init", "-q", str(top))
    site.place.root.rename(top / "infra")
    site.place.root = top / "infra"
    (site.place.root / ".git").rename(tmp_path / "old.git")
    git(tmp_path, "init", "-q", "--bare", str(tmp_path / "bare"))
    for name in ("HEAD", "config", "objects", "refs"):
        (tmp_path / "bare" / name).rename(site.place.root / name)
    assert site.place.plan().code == 0
    git(top, "add", "-f", "infra/.synapse-apply/state/prod.db")
    site.is_refused("plan", because="is in Git's index (infra/.synapse-apply/state/prod.db)")


def test_a_repository_in_our_folder_is_no_folder_of_ours(site: Site) -> None:
    """A submodule's folder stays when another commit is checked out, and nothing tracks it then."""
    (site.own / "state" / ".git").write_text("gitdir: ../../.git/modules/x\n")
    site.is_refused("plan", because="state is a separate Git repository")


def test_without_an_answer_of_git_nothing_is_used(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken index or no Git at all: what cannot be told is not taken for untracked."""
    (site.place.root / ".git" / "index").write_bytes(b"no index")
    site.is_refused("plan", because="may come from a commit: Git cannot tell")
    git_folder = tmp_path / "no-programs"
    git_folder.mkdir()
    (site.place.root / ".git" / "index").unlink()
    monkeypatch.setenv("PATH", str(git_folder))
    site.is_refused("plan", because="may come from a commit: Git", PATH=str(git_folder))


def test_a_folder_that_nobody_may_look_into(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a run with sudo leaves it: said in words, and nothing is sent."""
    real = os.open

    def refusing(path, flags, mode=0o777, *, dir_fd=None):
        if path in (".synapse-apply", "state"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, mode, dir_fd=dir_fd)

    sent = site.sent()
    monkeypatch.setattr(os, "open", refusing)
    for typed in (("plan",), ("plan", "-t", "embedded"), ("state", "show"), ("state", "init")):
        ran = site.place.run(*typed, code=1)
        assert "Permission denied" in ran.err
    assert site.sent() == sent
    assert "Permission denied" in site.place.run("doctor", code=1).out


def test_git_is_asked_once(site: Site, tmp_path: Path) -> None:
    """However many files a command opens."""
    git_program = tmp_path / "noting" / "git"
    git_program.parent.mkdir()
    git_program.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\nexec {shutil.which("git")} "$@"\n'
    )
    git_program.chmod(0o755)
    (site.place.root / ".git" / "index").touch()
    site.place.environ["PATH"] = f"{git_program.parent}{os.pathsep}{os.environ['PATH']}"
    site.place.plan(code=0)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len([words for words in asked if " ls-files -z " in words]) == 1


@pytest.mark.parametrize("name", ["", "state", "state/prod.db", "state/prod.key"])
def test_what_belongs_to_another_user_is_not_used(
    site: Site, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folder, state and key; nobody's permissions are changed."""
    path = site.own / name
    if path.is_file():
        path.chmod(0o666)
    give_away(path, monkeypatch)
    before = path.stat().st_mode
    site.is_refused("plan", because="belongs to another user (uid")
    site.is_refused("apply", "--auto-approve", because="belongs to another user (uid")
    assert path.stat().st_mode == before


def test_root_may_work_in_the_checkout_of_a_user(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As containers do: what the owner of the project's folder owns is not a stranger's."""
    if os.geteuid() != 0:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
    else:
        for path in (site.place.root, *site.place.root.rglob("*")):
            os.chown(path, STRANGER, -1, follow_symlinks=False)
        (tmp_path / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")
        site.place.environ["HOME"] = str(tmp_path)
    assert site.own.stat().st_uid == site.place.root.stat().st_uid
    assert "plugin/yolo" in site.place.run("state", "show", code=0).out


@pytest.mark.parametrize("name", ["state/prod.db", "state/prod.key", "state/prod.db-journal"])
@pytest.mark.parametrize(
    ("plant", "because"), [(make_pipe, "is not a regular file"), (make_folder, "is a folder")]
)
def test_what_is_no_file_is_not_opened(site: Site, name: str, plant, because: str) -> None:
    """A named pipe keeps nobody waiting."""
    plant(site.own / name)
    site.is_refused("plan", because=because)


@pytest.mark.parametrize("plant", [make_pipe, make_folder])
def test_a_file_in_place_of_the_folder(site: Site, plant) -> None:
    """And a pipe or a folder in place of the lock."""
    site.state.rename(site.outside / "backup.db")
    plant(site.state.with_name("prod.db.lock"))
    site.is_refused("state", "init", because="prod.db.lock is")
    site.own.rename(site.outside / "own")
    site.own.write_text("")
    site.is_refused("plan", because=".synapse-apply is not a folder")


def test_a_folder_as_the_state_url_is_no_file_to_remove(site: Site) -> None:
    """It may have the states of other targets; the message asks for a file in it."""
    use_state(site, "states/")
    make_folder(site.place.root / "states")
    ran = site.place.run("plan", code=1)
    assert ran.err.startswith("Error: The state's path is a folder\n")
    assert "Set the target's state.url to a file in the folder" in ran.err
    assert "remove" not in ran.err


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite:states/x.db", "sqlite://states/x.db", "SQLITE:states/x.db", "s3:bucket/folder"),
        *("mysql:states", "postgresql//ann:hunter22@db/x?y=://"),
    ],
)
def test_a_url_without_its_slashes_makes_no_folder(site: Site, url: str) -> None:
    use_state(site, url)
    before = sorted(site.place.root.iterdir())
    ran = site.place.run("state", "init", code=1)
    assert ran.err.startswith("Error: Unknown kind of store for the state\n")
    assert "sqlite:///PATH" in ran.err
    assert "hunter22" not in ran.err
    assert sorted(site.place.root.iterdir()) == before


def test_a_second_name_of_the_state_is_told(site: Site) -> None:
    """Whoever has it can change the state, or reads all of it."""
    (site.outside / "second.db").hardlink_to(site.state)
    for command in ("plan", "doctor"):
        ran = site.place.run(command)
        assert "The state file has a second name" in ran.text


def test_a_key_with_a_second_name_keeps_its_mode(site: Site) -> None:
    """What the other name is of may be anything."""
    site.key.chmod(0o644)
    (site.outside / "second").hardlink_to(site.key)
    ran = site.place.plan(code=1)
    assert "does not change its permissions, because the file has a second name" in ran.err
    assert site.key.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("plant", [_folder_is_a_link, _state_is_committed])
def test_doctor_says_it_in_a_row(site: Site, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and what needs the folder is not checked."""
    assert "ignored by Git" in site.place.run("doctor", code=0).out
    plant(site, monkeypatch)
    ran = site.place.run("doctor", code=1)
    assert ran.out.count("A file is not trusted: synapse-apply did not create it") == 1
    assert "what is in .synapse-apply is not used" in ran.out


# Where the project file puts the state elsewhere


def test_a_state_in_the_checkout_is_behind_no_link(site: Site) -> None:
    """The file, and a folder on the way, in a project that names it."""
    copy_state(site, site.outside / "states" / "prod.db")
    (site.place.root / "states").symlink_to(site.outside / "states")
    use_state(site, "states/prod.db")
    site.is_refused("plan", because="states is a link in a checkout")
    (site.place.root / "prod.db").symlink_to(site.outside / "states" / "prod.db")
    use_state(site, "sqlite:///prod.db")
    site.is_refused("plan", because="prod.db is a link in a checkout")
    use_state(site, "manifests/../prod.db")
    site.is_refused("plan", because="prod.db is a link in a checkout")


def test_a_state_in_the_checkout_that_git_tracks(site: Site) -> None:
    """The state itself, or only the journal that would be played into it."""
    state = copy_state(site, site.place.root / "kept" / "prod.db")
    use_state(site, "kept/prod.db")
    assert site.place.plan().code == 0
    journal = state.with_name("prod.db-journal")
    journal.write_bytes(b"")
    site.git("add", "-f", str(journal))
    site.is_refused("plan", because="is in Git's index (kept/prod.db-journal)")
    site.git("rm", "-q", "--cached", str(journal))
    site.git("add", "-f", str(state))
    site.is_refused("plan", because="is in Git's index (kept/prod.db)")


def test_a_state_in_another_repository(site: Site) -> None:
    """Outside of ours, and tracked there."""
    git(site.outside, "init", "-q")
    copy_state(site, site.outside / "prod.db")
    use_state(site, str(site.outside / "prod.db"))
    assert site.place.plan().code == 0
    git(site.outside, "add", "-f", "prod.db")
    site.is_refused("plan", because="is in Git's index (prod.db)")


def test_a_link_outside_of_a_checkout_is_the_machines(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Followed where we made it; not where another user did, in a folder that many write to."""
    copy_state(site, site.outside / "disk" / "prod.db")
    (site.outside / "mounted").symlink_to("disk")
    use_state(site, str(site.outside / "mounted" / "prod.db"))
    assert site.place.plan().code == 0
    give_away(site.outside / "mounted", monkeypatch)
    site.is_refused("plan", because="another user")


def test_a_database_of_another_program_is_left_alone(site: Site) -> None:
    """A plain file that the project file names."""
    foreign = foreign_database(site.outside / "foreign.db")
    use_state(site, str(foreign))
    before = contents(site.outside)
    for typed in (("plan",), ("apply", "--auto-approve"), ("state", "init")):
        ran = site.place.run(*typed, code=1)
        assert "is an SQLite database of another program" in ran.err or "holds a state" in ran.err
    assert contents(site.outside) == before


# What `git add -A` takes


@pytest.mark.parametrize("state", ["../outside/prod.db", "kept/prod.db", ""])
def test_git_add_takes_no_key(site: Site, state: str) -> None:
    """Wherever the state is, and whatever is written first."""
    site.own.rename(site.outside / "gone")
    if state:
        use_state(site, state)
    site.place.run("state", "init", code=0)
    assert site.key.exists()
    site.git("add", "-A")
    assert not [name for name in site.git("ls-files").split() if ".synapse-apply" in name]
    assert "raw-key-canary" not in site.git("diff", "--cached")


@pytest.mark.parametrize("text", ["", "# nothing\n", "*\n!state\n", "cache/\n"])
def test_an_ignore_file_that_was_edited_is_repaired(site: Site, text: str) -> None:
    """By the next command that writes there; doctor tells before."""
    (site.own / ".gitignore").write_text(text)
    assert "Git does not ignore the folder" in site.place.run("doctor").out
    site.place.run("state", "rekey", code=0)
    site.git("add", "-A")
    assert not [name for name in site.git("ls-files").split() if ".synapse-apply" in name]


def test_an_ignore_file_that_is_a_link(site: Site) -> None:
    """It is neither written through nor read."""
    (site.outside / "victim").write_text("victim")
    (site.own / ".gitignore").unlink()
    (site.own / ".gitignore").symlink_to(site.outside / "victim")
    site.is_refused("state", "rekey", because=".gitignore is a link")


def test_an_honest_ignore_file_may_be_committed(site: Site) -> None:
    """It ignores all, so it does no harm."""
    site.git("add", "-f", ".synapse-apply/.gitignore")
    assert site.place.plan().code == 0


def test_what_a_commit_put_into_the_home_is_not_believed(site: Site) -> None:
    """Where home and cache lie in the checkout: no memory of a newer state, and no login."""
    place = site.place
    place.environ |= {"HOME": str(place.root), "XDG_CACHE_HOME": str(place.root / ".cache")}
    place.unchanged()
    seen = [*(place.root / ".cache").rglob("seen/*.json")]
    assert seen
    for file in seen:
        document = json.loads(file.read_text())
        file.write_text(json.dumps({**document, "serial": 2**61, "fence": 2**61}))
    login = place.root / ".synapse" / "config.json"
    login.parent.mkdir()
    login.write_text(json.dumps({"host": "http://127.0.0.1:9", "access_token": "theirs"}))
    assert "older than the last one seen" in place.run("plan", code=1).err
    git(place.root, "add", "-f", *(str(file) for file in (*seen, login)))
    place.unchanged()
    project_file = json.loads((place.root / "synapse-apply.yaml").read_text())
    del project_file["targets"]["prod"]["url"]
    place.write("synapse-apply.yaml", json.dumps(project_file))
    said = place.run("get", "storage", code=1).err
    assert "~/.synapse/config.json cannot be used: Git tracks it" in " ".join(said.split())

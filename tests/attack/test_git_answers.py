"""What Git answers: the repository that was cloned does, and no other; no program is started."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from attack.checkouts import BASE, GOOD, Checkout, checkout
from failing import fails
from git_repositories import commit, git
from laws.effort import DEEP
from unit.packages.trees import write

__all__ = ["checkout"]

PROGRAMS = """\
[core]
    fsmonitor = touch {canary}
    hooksPath = {hooks}
    sshCommand = touch {canary};
    gitProxy = {hooks}/program
    pager = touch {canary}
    editor = touch {canary}
    askPass = {hooks}/program
    alternateRefsCommand = touch {canary}
    attributesFile = {hooks}/attributes
[pager]
    config = true
    rev-parse = true
    ls-tree = true
[alias]
    rev-parse = !touch {canary}
    for-each-ref = !touch {canary}
[credential]
    helper = !touch {canary};
[filter "bad"]
    clean = touch {canary}
    smudge = touch {canary}
    process = touch {canary}
    required = true
[diff]
    external = touch {canary}
[diff "bad"]
    textconv = touch {canary}
    command = touch {canary}
[gpg]
    program = {hooks}/program
[log]
    showSignature = true
[uploadpack]
    packObjectsHook = touch {canary};
[protocol "ext"]
    allow = always
[protocol "file"]
    allow = always
[protocol "ssh"]
    allow = always
[remote "origin"]
    url = {url}
    promisor = true
    uploadpack = touch {canary};
    vcs = {vcs}
"""


PARTIAL_CLONE = """\
[core]
    repositoryFormatVersion = 1
[extensions]
    partialClone = origin
"""


@pytest.fixture(params=["git of this machine", "git that knows no new settings"])
def any_git(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The second one passes over what Git 2.37 did not know, so that nothing hangs on it."""
    if request.param != "git of this machine":
        real = shutil.which("git")
        script = tmp_path / "old" / "git"
        script.parent.mkdir()
        script.write_text(
            "#!/bin/sh\nunset GIT_NO_LAZY_FETCH\nfor word do shift\n"
            ' case "$word" in safe.*|protocol.*) word=unknown.key=1;; esac\n set -- "$@" "$word"\n'
            f'done\nexec {real} "$@"\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    return str(request.param)


def assert_base_answers(checkout: Checkout) -> None:
    """Settings, manifests, packages and labels are those of the repository that was cloned."""
    assert checkout.url() == GOOD
    assert checkout.names() == ["good"]
    assert checkout.changes() == ["storage/bucket"]
    assert checkout.digest(BASE) == checkout.digest(checkout.base)
    assert checkout.recorded_head() == checkout.head
    assert str(checkout.top) in checkout.row()


def assert_nobody_answers(checkout: Checkout, why: str) -> None:
    """It is said why nothing is believed, wherever Git is asked."""
    for ask in (checkout.url, checkout.names, checkout.changes, lambda: checkout.digest(BASE)):
        with fails("InputError", match="Git repository not used") as caught:
            ask()
        assert why in caught.value.diagnostics[0].detail
        assert caught.value.diagnostics[0].hint
    assert checkout.recorded_head() == ""
    assert why in checkout.row()


class TestAnotherRepository:
    """What lies in the checkout, or is named by it, answers nothing."""

    @pytest.mark.usefixtures("any_git")
    @pytest.mark.parametrize("above", [False, True], ids=["in the project's folder", "above it"])
    @pytest.mark.parametrize("worktree", ["", "worktree = .", "worktree = /"])
    def test_a_bare_repository_in_the_checkout(
        self, checkout: Checkout, above: bool, worktree: str
    ) -> None:
        """Committed as plain files, also one that says where its work tree is."""
        place = checkout.top / "deploy" if above else checkout.folder
        prefix = f"{checkout.folder.relative_to(place)}/" if place != checkout.folder else ""
        checkout.make_evil(place, prefix=prefix)
        if worktree:
            (place / "config").write_text(f"[core]\n bare = false\n {worktree}\n")
        git(checkout.top, f"--git-dir={checkout.top / '.git'}", "add", "-A", "-f")
        assert_base_answers(checkout)

    @pytest.mark.usefixtures("any_git")
    def test_a_broken_folder_in_place_of_git(self, checkout: Checkout) -> None:
        """A .git that holds nothing is passed over, and so is the bare repository beside it."""
        checkout.make_evil(checkout.folder)
        write(checkout.folder, {".git/config": "[core]\n bare = false\n worktree = .\n"})
        assert_base_answers(checkout)

    @pytest.mark.usefixtures("any_git")
    def test_a_bare_repository_in_the_top_itself(self, checkout: Checkout) -> None:
        """Beside .git, where Git would come to it were .git broken."""
        checkout.make_evil(checkout.top, prefix=f"{checkout.folder.relative_to(checkout.top)}/")
        assert_base_answers(checkout)

    @pytest.mark.parametrize("gitdir", ["./stuff", "../stuff", "stuff/../../deploy/stuff"])
    def test_a_file_that_leads_into_the_checkout(self, checkout: Checkout, gitdir: str) -> None:
        """No commit can hold one called .git, but a cache or an archive can."""
        target = Path(os.path.normpath(checkout.folder / gitdir))
        checkout.make_evil(target)
        if "../" in gitdir and not (checkout.folder / "stuff").exists():
            (checkout.folder / "stuff").mkdir()
        (checkout.folder / ".git").write_text(f"gitdir: {gitdir}\n")
        inside = (checkout.folder / gitdir).resolve().is_relative_to(checkout.folder)
        assert_nobody_answers(checkout, "in the checkout itself" if inside else "tracks its files")

    def test_a_link_that_leads_into_the_checkout(self, checkout: Checkout) -> None:
        """In place of .git."""
        checkout.make_evil(checkout.folder / "stuff")
        (checkout.folder / ".git").symlink_to("stuff")
        assert_nobody_answers(checkout, "in the checkout itself")

    def test_a_repository_amid_the_files_of_another(self, checkout: Checkout) -> None:
        """Its .git came by a cache or an archive: the files are tracked by the one above."""
        checkout.make_evil(checkout.folder / ".git", bare=False)
        assert_nobody_answers(checkout, "has its own .git, but the repository of")

    def test_a_shared_folder_in_the_checkout(self, checkout: Checkout) -> None:
        """`commondir` of a linked worktree that leads to committed files."""
        checkout.make_evil(checkout.top / "stuff")
        (checkout.top / ".git" / "commondir").write_text("../stuff\n")
        assert_nobody_answers(checkout, "in the checkout itself")

    @pytest.mark.parametrize(
        "variable",
        ["GIT_DIR", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
         "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_NAMESPACE", "GIT_REPLACE_REF_BASE",
         "GIT_GRAFT_FILE", "GIT_SHALLOW_FILE", "GIT_CEILING_DIRECTORIES", "GIT_EXEC_PATH"],
    )  # fmt: skip
    def test_a_variable_that_leads_elsewhere(
        self, checkout: Checkout, variable: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As a hook that runs us has them, or a step of a pipeline that a change can steer."""
        checkout.make_evil(checkout.top.parent / "elsewhere")
        monkeypatch.setenv(variable, str(checkout.top.parent / "elsewhere"))
        assert checkout.url() == GOOD
        assert checkout.names() == ["good"]
        assert checkout.recorded_head() == checkout.head

    def test_an_object_put_in_the_place_of_another(self, checkout: Checkout) -> None:
        """Replacements and grafts are refs and files, and may be fetched."""
        git(checkout.top, "replace", checkout.base, checkout.head)
        assert checkout.url() == GOOD
        git(checkout.top, "replace", "-d", checkout.base)
        write(checkout.top / ".git", {"info/grafts": f"{checkout.head} {checkout.head}\n"})
        assert checkout.url("HEAD~1") == GOOD


class TestHonestRepositories:
    """What Git itself takes for one, where nobody attacks."""

    def test_a_linked_worktree_and_a_submodule(self, checkout: Checkout, tmp_path: Path) -> None:
        """Their .git is a file; both also where they lie in another checkout."""
        place = checkout.folder.relative_to(checkout.top)
        outer = tmp_path / "outer"
        write(outer, {"a": "x"})
        commit(outer)
        more = ("-c", "protocol.file.allow=always", "submodule", "add", "-q")
        git(outer, *more, str(checkout.top), "modules/one")
        git(outer / "modules/one", "update-ref", BASE, checkout.base)
        git(checkout.top, "worktree", "add", "-q", "--detach", str(outer / "linked"))
        git(outer, "commit", "-q", "-m", "module")
        for top in (outer / "linked", outer / "modules" / "one"):
            other = Checkout(top, top / place, checkout.canary)
            # What a name means in a submodule, a commit of the outer repository chooses.
            assert other.url(checkout.base if top.name == "one" else BASE) == GOOD
            assert f"{top}" in other.row()

    def test_a_clone_in_another_repository(self, checkout: Checkout, tmp_path: Path) -> None:
        """One that the outer repository does not track, as where a home is kept in Git."""
        write(tmp_path, {"dotfile": "x", ".gitignore": "*\n"})
        git(tmp_path, "init", "-q")
        git(tmp_path, "add", "-f", "dotfile")
        assert_base_answers(checkout)

    def test_bare_main_repository_with_worktrees(self, checkout: Checkout, tmp_path: Path) -> None:
        """`.bare` beside the worktrees, and a file .git that names it."""
        place = checkout.folder.relative_to(checkout.top)
        home = tmp_path / "cloned"
        git(tmp_path, "clone", "-q", "--bare", str(checkout.top), str(home / ".bare"))
        (home / ".git").write_text("gitdir: ./.bare\n")
        git(home / ".bare", "worktree", "add", "-q", "--detach", str(home / "work"))
        git(home / "work", "update-ref", BASE, checkout.base)
        assert Checkout(home / "work", home / "work" / place, checkout.canary).url() == GOOD


class TestOwners:
    """A repository of another user's is not believed unless the user's settings say so."""

    @pytest.fixture(autouse=True)
    def _another_user(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the machine of the tests calls safe does not count."""
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        real = shutil.which("git")
        text = f'#!/bin/sh\nGIT_CONFIG_NOSYSTEM=1 exec {real} "$@"\n'
        write(tmp_path / "alone", {"git": text})
        (tmp_path / "alone" / "git").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'alone'}{os.pathsep}{os.environ['PATH']}")

    @pytest.mark.parametrize("part", ["", "/", "*\n directory =", "{top}/deploy"])
    def test_a_repository_of_another_user(self, checkout: Checkout, part: str) -> None:
        """Whoever owns it decides what it answers, and which programs run."""
        settings(checkout, f"[safe]\n directory = {part}\n")
        assert_nobody_answers(checkout, "belongs to another user")

    @pytest.mark.parametrize("part", ["*", "{top}", "{top}/../*", "{top}/"])
    def test_one_that_the_user_calls_safe(self, checkout: Checkout, part: str) -> None:
        """As pipelines do whose containers mount a checkout of another user's."""
        settings(checkout, f"[safe]\n directory = {part}\n")
        assert checkout.url() == GOOD

    def test_one_of_the_user_who_called_sudo(
        self, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Root takes theirs for its own, as Git does; nobody else believes the variable."""
        monkeypatch.setenv("SUDO_UID", str(os.getuid()))
        assert_nobody_answers(checkout, "belongs to another user")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert checkout.url() == GOOD

    def test_the_repository_cannot_call_itself_safe(
        self, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither by its own settings nor by a committed file where HOME is the checkout."""
        git(checkout.top, "config", "safe.directory", "*")
        write(checkout.top, {".gitconfig": "[safe]\n directory = *\n"})
        monkeypatch.setenv("HOME", str(checkout.top))
        assert_nobody_answers(checkout, "belongs to another user")


def settings(checkout: Checkout, text: str) -> None:
    """What the user's own settings of Git say."""
    home = Path(os.environ["HOME"])
    write(home, {".gitconfig": text.format(top=checkout.top)})


class TestPrograms:
    """No program that a setting or a file names is started."""

    def plant(self, checkout: Checkout, url: str, vcs: str = "") -> str:
        """Settings that start programs, and the hooks; the text of the settings."""
        hooks = checkout.top / "hooks"
        names = ("program", "reference-transaction", "post-index-change", "post-checkout",
                 "fsmonitor-watchman", "pre-auto-gc", "git", "git-evil", "git-remote-evil")  # fmt: skip
        for name in names:
            write(hooks, {name: f"#!/bin/sh\ntouch {checkout.canary}\n"})
            (hooks / name).chmod(0o755)
        write(hooks, {"attributes": "* filter=bad diff=bad text\n"})
        settings_text = PROGRAMS.format(canary=checkout.canary, hooks=hooks, url=url, vcs=vcs)
        return settings_text if vcs else settings_text.replace("    vcs = \n", "")

    @pytest.mark.parametrize("by", ["config", "include", "includeIf"])
    def test_settings_of_the_repository(self, checkout: Checkout, by: str) -> None:
        """Its own, and those of a committed file that it includes, as some projects do."""
        settings_text = self.plant(checkout, f"file://{checkout.top.parent}/nowhere")
        own = checkout.top / ".git" / "config"
        if by == "config":
            own.write_text(own.read_text() + settings_text)
        else:
            write(checkout.top, {".gitsettings": settings_text})
            head = "include" if by == "include" else 'includeIf "gitdir:**"'
            own.write_text(own.read_text() + f"[{head}]\n path = ../.gitsettings\n")
        write(checkout.folder, {"p/config.yaml": "version: good\r\n"})
        checkout.changes()
        assert_base_answers(checkout)

    @pytest.mark.usefixtures("any_git")
    @pytest.mark.parametrize("url", ["file:///nowhere", "ext::sh -c 'touch {canary}'", "/nowhere",
                             "ssh://host.invalid/x", "git://host.invalid/x", "evil::x"])  # fmt: skip
    @pytest.mark.parametrize("vcs", ["", "evil"] if DEEP else [""])
    def test_an_object_that_would_be_fetched(
        self, checkout: Checkout, url: str, vcs: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A partial clone fetches what it lacks, by programs that its settings name."""
        monkeypatch.setenv("PATH", f"{os.environ['PATH']}{os.pathsep}{checkout.top / 'hooks'}")
        settings_text = self.plant(checkout, url.format(canary=checkout.canary), vcs)
        place = checkout.folder.relative_to(checkout.top)
        lost = git(checkout.top, "rev-parse", f"{BASE}:{place}/synapse-apply.yaml")
        (checkout.top / ".git" / "objects" / lost[:2] / lost[2:]).unlink()
        own = checkout.top / ".git" / "config"
        own.write_text(own.read_text() + PARTIAL_CLONE + settings_text)
        # Which of the two depends on whether Git has ended by the time it is asked.
        with fails("InputError", match=r"Git (object cannot be read|cannot read the file)"):
            checkout.url()

    @pytest.mark.parametrize("path", [".", "", "bin", "{top}", "{top}/bin", "{folder}/..", "{top}/out",
                             "{beside}/in", "{beside}/to"])  # fmt: skip
    def test_a_committed_git(
        self, checkout: Checkout, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """PATH may be relative, lie in the checkout, or pass through links in it or to it."""
        beside = checkout.top.parent / "beside"
        text = f"#!/bin/sh\ntouch {checkout.canary}\n"
        folders = {checkout.top, checkout.top / "bin", checkout.folder, checkout.folder / "bin",
                   checkout.folder.parent, beside / "stray"}  # fmt: skip
        for folder in folders:
            write(folder, {"git": text})
            (folder / "git").chmod(0o755)
        (checkout.top / "out").symlink_to(beside / "stray")
        (beside / "in").symlink_to(checkout.top / "bin")
        (beside / "to").mkdir()
        (beside / "to" / "git").symlink_to(checkout.top / "bin" / "git")
        named = path.format(top=checkout.top, folder=checkout.folder, beside=beside)
        monkeypatch.setenv("PATH", f"{named}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.chdir(checkout.folder)
        assert checkout.url() == GOOD
        monkeypatch.setenv("PATH", named)
        with fails("InputError", match="Git cannot be started"):
            checkout.url()

    def test_variables_reach_no_child_process(
        self, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is given PATH, HOME, the locale and what we say to Git, and none of all these."""
        seen = checkout.top.parent / "seen"
        script = checkout.top.parent / "spy" / "git"
        write(
            script.parent, {"git": f'#!/bin/sh\nenv >> {seen}\nexec {shutil.which("git")} "$@"\n'}
        )
        script.chmod(0o755)
        stray = self.plant(checkout, "/nowhere")
        write(checkout.top.parent / "stray", {"git/config": stray})
        set_variables = {
            "GIT_CONFIG_PARAMETERS": f"'core.fsmonitor=touch {checkout.canary}'",
            "GIT_CONFIG_GLOBAL": str(checkout.top.parent / "stray"),
            "GIT_SSH_COMMAND": f"touch {checkout.canary}",
            "GIT_PAGER": f"touch {checkout.canary}",
            "GIT_TRACE": str(checkout.canary),
            "GIT_TRACE2_EVENT": str(checkout.canary),
            "XDG_CONFIG_HOME": str(checkout.top.parent / "stray"),
            "LD_PRELOAD_OF_TESTS": "x",
            "SYNAPSE_ACCESS_TOKEN": "a-secret",
        }
        for name, value in set_variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
        assert_base_answers(checkout)
        names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
        given = {"PATH", "HOME", "LC_ALL", "GIT_DIR", "GIT_WORK_TREE", "GIT_ALLOW_PROTOCOL",
                 "GIT_GRAFT_FILE", "GIT_NO_LAZY_FETCH", "GIT_OPTIONAL_LOCKS",
                 "GIT_TERMINAL_PROMPT"}  # fmt: skip
        assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == given

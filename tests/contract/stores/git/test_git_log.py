"""A log in a ref of a bare repository: who is refused, what is believed, what a reader sees."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from contract.stores.git.repositories import (
    REF,
    KeySigner,
    NoKey,
    batch_of,
    first_batch,
    make_checkout,
    read_every_byte,
    record_change,
    replace_tree,
)
from git_repositories import git

from synapse_apply.model.errors import InputError, StateError
from synapse_apply.stores.database import DamagedLog, RowChange
from synapse_apply.stores.git.git_log import GitLog

OpenLog = Callable[..., GitLog]


def write_hook(remote: Path, name: str, script: str) -> Path:
    hook = remote / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)
    return hook


def read_addresses(log: GitLog, position: str = "") -> set[str]:
    tables = log.read_since_position_or_anew(position).tables
    return {str(row[0]) for row in (tables or {}).get("records", ())}


def test_batches_follow_one_another(checkout: Path, open_log: OpenLog) -> None:
    """What one log appends another reads whole, and goes on from."""
    first, second = open_log(checkout), open_log(checkout)
    assert not first.exists()
    assert second.read_since_position_or_anew("").position == ""
    made = first.append_or_none_if_overtaken(
        first_batch(record_change("one"), record_change("Two/ü")), ""
    )
    assert made is not None
    audit = [RowChange("audit", seq, (seq, "2026-01-31T", "x", "{}")) for seq in range(998, 1002)]
    more = first.append_or_none_if_overtaken(
        batch_of(RowChange("records", "storage/one", None), *audit), made.position
    )
    assert more is not None
    reading = second.read_since_position_or_anew("")
    assert reading.position == more.position
    assert reading.tables is not None
    assert [row[:4] for row in reading.tables["records"]] == [
        ("storage/Two/ü", "storage", "v2", "Two/ü")
    ]
    # Of the audit the newest file is read at once, the rest when somebody asks.
    assert [row[0] for row in second.read_audit_rows_not_read_yet()] == [998, 999]
    assert [row[0] for row in reading.tables["audit"]] == [1000, 1001]
    # A reader has fetched the last commit alone, and may append behind it.
    last = second.append_or_none_if_overtaken(batch_of(record_change("three")), reading.position)
    assert last is not None
    assert read_addresses(first, more.position) == {"storage/Two/ü", "storage/three"}
    assert first.append_or_none_if_overtaken(batch_of(record_change("late")), more.position) is None


def test_one_of_two_is_refused(checkout: Path, open_log: OpenLog) -> None:
    """Of two that append behind one commit one is refused, also where a state is made."""
    first, second = open_log(checkout), open_log(checkout)
    made = first.append_or_none_if_overtaken(first_batch(), "")
    assert made is not None
    assert second.append_or_none_if_overtaken(first_batch(), "") is None
    assert second.read_since_position_or_anew("").position == made.position
    assert (
        first.append_or_none_if_overtaken(batch_of(record_change("one")), made.position) is not None
    )
    assert second.append_or_none_if_overtaken(batch_of(record_change("two")), made.position) is None
    assert read_addresses(second) == {"storage/one"}


def test_a_lost_answer_is_found_out(remote: Path, checkout: Path, open_log: OpenLog) -> None:
    """A push whose answer is lost was done where the ref names the commit."""
    log = open_log(checkout)
    write_hook(remote, "post-receive", "kill -9 $PPID")
    made = log.append_or_none_if_overtaken(first_batch(), "")
    assert made is not None
    assert git(remote, "rev-parse", REF) == made.position


def test_whoever_was_overtaken_learns_it(remote: Path, checkout: Path, open_log: OpenLog) -> None:
    """A batch whose answer was lost, and that another one follows, is in the log, not its end."""
    log = open_log(checkout)
    made = log.append_or_none_if_overtaken(first_batch(), "")
    assert made is not None
    paths = [str(Path(__file__).parents[3]), str(Path(__file__).parents[4])]
    program = f"import sys; sys.path[:0] = {paths}; "
    program += f"from contract.stores.git.repositories import follow; follow('{remote}')"
    follower = f'rm "$0"; env -i PATH="$PATH" {sys.executable} -c "{program}"; kill -9 $PPID'
    write_hook(remote, "post-receive", follower)
    appended = log.append_or_none_if_overtaken(batch_of(record_change("ours")), made.position)
    assert appended is not None
    assert not appended.is_last
    assert appended.position == git(remote, "rev-parse", f"{REF}^")
    assert read_addresses(log, appended.position) == {"storage/ours", "storage/theirs"}


def test_a_refusal_is_no_loss(remote: Path, checkout: Path, open_log: OpenLog) -> None:
    """A host that refuses a push says why; the same batch goes later, and no other one before."""
    log = open_log(checkout)
    hook = write_hook(remote, "update", "echo 'only on Mondays' >&2; exit 1")
    batch = first_batch()
    with pytest.raises(StateError) as refused:
        log.append_or_none_if_overtaken(batch, "")
    assert "only on Mondays" in refused.value.diagnostics[0].detail
    assert "?ref=refs/heads/" in refused.value.diagnostics[0].hint
    hook.unlink()
    assert log.append_or_none_if_overtaken(batch, "") is not None


@pytest.mark.parametrize("denies", ["false", "true"])
def test_history_begins_anew(remote: Path, checkout: Path, denies: str, open_log: OpenLog) -> None:
    """Each third batch is a new root here, and the old history has a ref of its own.

    A host that takes no such push gets a commit with a parent.
    """
    git(remote, "config", "receive.denyNonFastForwards", denies)
    url, branch = "git:origin?ref=refs/heads/state", "refs/heads/state"
    log = open_log(checkout, url, batches_per_root=3)
    appended = log.append_or_none_if_overtaken(first_batch(), "")
    for name in ("one", "two", "three"):
        assert appended is not None
        appended = log.append_or_none_if_overtaken(batch_of(record_change(name)), appended.position)
    history = git(remote, "rev-list", branch).splitlines()
    assert len(history) == (4 if denies == "true" else 2)
    if denies == "false":
        assert len(git(remote, "rev-list", f"{branch}+previous").splitlines()) == 2
    assert read_addresses(open_log(checkout, url)) == {
        "storage/one",
        "storage/two",
        "storage/three",
    }


def test_who_has_no_key_cannot_write(remote: Path, checkout: Path, open_log: OpenLog) -> None:
    """A commit without a valid signature, or for another ref, is not believed.

    Who has the key may replace it, and nobody else.
    """
    made = open_log(checkout).append_or_none_if_overtaken(first_batch(), "")
    assert made is not None
    stranger = open_log(checkout, signer=NoKey())
    stranger.read_since_position_or_anew("")
    assert [finding.summary for finding in stranger.list_warnings()] == [
        "The state is not verified"
    ]
    with pytest.raises(StateError, match="state key is missing"):
        stranger.append_or_none_if_overtaken(batch_of(record_change("one")), made.position)
    log = open_log(checkout, signer=KeySigner(b"other"))
    log.read_since_position_or_anew("")
    assert "not signed with its key" in log.list_warnings()[0].summary
    with pytest.raises(StateError, match="not signed with its key"):
        log.append_or_none_if_overtaken(batch_of(record_change("one")), made.position)
    assert (
        log.append_or_none_if_overtaken(first_batch(record_change("two")), made.position)
        is not None
    )
    assert log.list_warnings() == ()
    git(remote, "update-ref", "refs/synapse-apply/state/stage", REF)
    with pytest.raises(StateError, match="not a state"):
        open_log(
            checkout, "git:origin?ref=refs/synapse-apply/state/stage"
        ).read_since_position_or_anew("")


def test_a_ref_that_went_back_is_seen(remote: Path, checkout: Path, open_log: OpenLog) -> None:
    """Who read a later batch does not believe an earlier one, until a restore."""
    log = open_log(checkout)
    made = log.append_or_none_if_overtaken(first_batch(), "")
    assert made is not None
    more = log.append_or_none_if_overtaken(batch_of(record_change("one")), made.position)
    assert more is not None
    git(remote, "update-ref", REF, made.position)
    with pytest.raises(DamagedLog, match="rolled back"):
        log.read_since_position_or_anew(more.position)
    with pytest.raises(DamagedLog, match="rolled back"):
        log.read_since_position_or_anew("")
    assert (
        log.restart_after_damage_unless_overtaken(first_batch(record_change("restored")))
        is not None
    )
    assert read_addresses(log) == {"storage/restored"}
    git(remote, "update-ref", "-d", REF)
    with pytest.raises(DamagedLog, match="rolled back"):
        log.read_since_position_or_anew(more.position)


def reopen(open_log: OpenLog, checkout: Path, bookmark: str, **options: int) -> GitLog:
    """Another process on a machine that remembers."""
    log = open_log(checkout, **options)
    log.require_continuation_in_reads(bookmark)
    return log


def test_a_ref_that_went_on_is_believed(checkout: Path, open_log: OpenLog) -> None:
    """A few batches later, many, and behind a history that began anew."""
    writer = open_log(checkout, batches_per_root=30)
    made = writer.append_or_none_if_overtaken(first_batch(), "")
    assert made is not None
    bookmark, position = writer.bookmark, made.position
    for number in range(2, 32):
        appended = writer.append_or_none_if_overtaken(
            batch_of(record_change(f"{number}")), position
        )
        assert appended is not None
        position = appended.position
        if number in (2, 25, 31):
            assert (
                reopen(open_log, checkout, bookmark).read_since_position_or_anew("").position
                == position
            )
    assert (
        reopen(open_log, checkout, "rubbish").read_since_position_or_anew("").position == position
    )


def test_a_ref_that_was_pushed_over_is_seen(
    remote: Path, checkout: Path, open_log: OpenLog
) -> None:
    """Also where others went on from the earlier commit; a restore ends it for everybody."""
    log = open_log(checkout)
    made = log.append_or_none_if_overtaken(first_batch(), "")
    assert made is not None
    assert (
        log.append_or_none_if_overtaken(batch_of(record_change("one")), made.position) is not None
    )
    bookmark = log.bookmark
    git(remote, "update-ref", REF, made.position)
    with pytest.raises(DamagedLog, match="rolled back"):
        reopen(open_log, checkout, bookmark).read_since_position_or_anew("")
    position = made.position
    for name in ("two", "three"):
        other = open_log(checkout)
        appended = other.append_or_none_if_overtaken(
            batch_of(record_change(name)), other.read_since_position_or_anew("").position
        )
        assert appended is not None
        position = appended.position
        with pytest.raises(DamagedLog, match="rolled back"):
            reopen(open_log, checkout, bookmark).read_since_position_or_anew("")
    assert open_log(checkout).read_since_position_or_anew("").position == position
    late = reopen(open_log, checkout, bookmark)
    with pytest.raises(DamagedLog, match="rolled back") as raised:
        late.read_since_position_or_anew("")
    assert f"commit {bookmark[2:]}" in raised.value.diagnostics[0].detail
    assert (
        late.restart_after_damage_unless_overtaken(first_batch(record_change("restored")))
        is not None
    )
    assert read_addresses(reopen(open_log, checkout, bookmark)) == {"storage/restored"}


def test_a_ref_that_was_removed_is_missed(remote: Path, checkout: Path, open_log: OpenLog) -> None:
    """No state is an error to who has seen one; what is made in its place counts on."""
    log = open_log(checkout)
    made = log.append_or_none_if_overtaken(first_batch(), "")
    assert made is not None
    assert (
        log.append_or_none_if_overtaken(batch_of(record_change("one")), made.position) is not None
    )
    git(remote, "update-ref", "-d", REF)
    late = reopen(open_log, checkout, log.bookmark)
    assert not late.exists()
    with pytest.raises(DamagedLog, match="rolled back"):
        late.read_since_position_or_anew("")
    assert late.restart_after_damage_unless_overtaken(first_batch()) is not None
    assert late.bookmark.startswith("3:")
    assert reopen(open_log, checkout, log.bookmark).read_since_position_or_anew("").position


@pytest.mark.parametrize(
    ("kind", "path", "reason"),
    [
        ("120000 blob {rubbish}", "lock.json", "neither a folder nor a plain file"),
        ("100755 blob {rubbish}", "lock.json", "neither a folder nor a plain file"),
        ("160000 commit {commit}", "plans", "neither a folder nor a plain file"),
        ("100644 blob {rubbish}", "README.md", "no such file"),
        ("100644 blob {rubbish}", "records", "no such file"),
        ("100644 blob {rubbish}", "lock.json", "not JSON"),
        ("100644 blob {list}", "lock.json", "not a JSON object"),
        ("100644 blob {deep}", "lock.json", "not JSON"),
        ("100644 blob {huge}", "lock.json", "larger than"),
        ("040000 tree {tree}", "records/wrong.json", "another name"),
    ],
)
def test_a_hostile_tree(
    remote: Path, checkout: Path, open_log: OpenLog, kind: str, path: str, reason: str
) -> None:
    """Anything that no run writes is an error that says where."""
    open_log(checkout).append_or_none_if_overtaken(first_batch(record_change("one")), "")
    row_file = git(remote, "ls-tree", "-r", f"{REF}:records").split("\t")[0]
    renamed = git(remote, "mktree", input=f"{row_file}\twrong.json\n".encode())
    replace_tree(remote, kind.replace("{tree}", renamed), path.partition("/")[0])
    log = open_log(checkout, signer=NoKey())
    with pytest.raises(DamagedLog) as damaged:
        log.read_since_position_or_anew("")
    detail = damaged.value.diagnostics[0].detail
    assert path in detail
    assert reason in detail


@pytest.mark.parametrize("megabytes", [2, 5])
def test_a_commit_of_another_that_is_too_large(
    remote: Path, checkout: Path, open_log: OpenLog, megabytes: int
) -> None:
    """It is said what stands there: nobody is sent to look for a broken network."""
    open_log(checkout).append_or_none_if_overtaken(first_batch(record_change("one")), "")
    message = ("a" * 79 + "\n") * (megabytes * 2**20 // 80)
    before = git(remote, "rev-parse", REF)
    made = git(remote, "commit-tree", f"{REF}^{{tree}}", "-p", REF, input=message.encode())
    git(remote, "update-ref", REF, made)
    with pytest.raises(StateError, match="not a state of synapse-apply") as caught:
        open_log(checkout).read_since_position_or_anew("")
    detail = caught.value.diagnostics[0].detail
    assert "its last commit: it is larger than 1024 KiB" in detail
    change = batch_of(record_change("two"))
    assert open_log(checkout).append_or_none_if_overtaken(change, before) is None
    assert git(remote, "rev-parse", REF) == made


def test_a_checkout_stays_as_it_is(tmp_path: Path, remote: Path, open_log: OpenLog) -> None:
    """Reading and writing a state changes no byte of a shallow clone."""
    git(remote, "update-ref", "refs/heads/main", make_child(remote))
    checkout = make_checkout(tmp_path, remote, "--depth=1")
    assert (checkout / ".git" / "shallow").exists()
    before = read_every_byte(checkout)
    log = open_log(checkout)
    made = log.append_or_none_if_overtaken(first_batch(record_change("one")), "")
    assert made is not None
    log.append_or_none_if_overtaken(batch_of(record_change("two")), made.position)
    assert read_addresses(open_log(checkout)) == {"storage/one", "storage/two"}
    log.close()
    assert read_every_byte(checkout) == before


def make_child(remote: Path) -> str:
    tree = git(remote, "rev-parse", "refs/heads/main^{tree}")
    return git(remote, "commit-tree", "-m", "second", "-p", "refs/heads/main", tree)


def test_what_is_no_place_for_a_state(
    tmp_path: Path, remote: Path, checkout: Path, open_log: OpenLog
) -> None:
    """A branch with files of somebody, a remote nobody has, a folder outside of any clone."""
    with pytest.raises(StateError, match="not a state of synapse-apply"):
        open_log(checkout, "git:origin?ref=refs/heads/main").read_since_position_or_anew("")
    assert (
        open_log(checkout, "git:origin?ref=refs/heads/main").append_or_none_if_overtaken(
            first_batch(), ""
        )
        is None
    )
    with pytest.raises(InputError, match="Unknown Git remote"):
        open_log(checkout, "git:upstream").exists()
    with pytest.raises(InputError, match="No Git repository found"):
        open_log(tmp_path, "git:origin").exists()
    assert not open_log(tmp_path, f"git:file://{remote}").exists()
    with pytest.raises(StateError, match="cannot be reached"):
        open_log(tmp_path, f"git:file://{tmp_path}/none").exists()


def test_sha256_repositories(tmp_path: Path, open_log: OpenLog) -> None:
    """A repository whose ids are SHA-256 holds a state as well."""
    remote = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", "--object-format=sha256", "-b", "main", str(remote))
    tree = git(remote, "mktree", input=b"")
    git(remote, "update-ref", "refs/heads/main", git(remote, "commit-tree", "-m", "m", tree))
    log = open_log(tmp_path, f"git:file://{remote}")
    assert not log.exists()
    log.append_or_none_if_overtaken(first_batch(record_change("one")), "")
    assert read_addresses(open_log(tmp_path, f"git:file://{remote}")) == {"storage/one"}

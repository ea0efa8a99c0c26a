"""What a Git ref means: each meaning is looked up in full, two of different commits are refused.

Git takes the first of several, a tag before a remote branch. So who may push a tag, or has a branch
fetched, that is called `origin/main` would answer for the base branch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NoReturn

from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.packages.source.repository import Repository, run_git

# Where a name that does not begin with refs/ may stand, as gitrevisions(7) lists it.
_REF_PATTERNS = (
    "refs/{}",
    "refs/tags/{}",
    "refs/heads/{}",
    "refs/remotes/{}",
    "refs/remotes/{}/HEAD",
)
# What is checked out has no other name, so that nothing else may have its.
_HEAD_NAMES = frozenset({"HEAD", "@"})
_ROOT_REF = re.compile(r"[A-Z]+(?:_[A-Z]+)*_HEAD")
_FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)
_SHORT_ID = re.compile(r"(?:.+-g)?([0-9a-f]{4,63})", re.IGNORECASE)
# Where the steps from a name to a commit begin, as in `main~2`, `v1^{commit}` and `main@{1}`.
_STEPS_START = re.compile(r"[~^]|@\{")
_LOG_SELECTOR = re.compile(r"@\{[^}]*\}")
_UPSTREAM_SELECTOR = re.compile(r"@\{(?:u|upstream|push|-\d+)\}", re.IGNORECASE)


@frozen
class RefMeaning:
    """One thing that a name means: `name` means it alone; `commit` is "" where it is none."""

    name: str
    commit: str

    def __str__(self) -> str:
        return f"{self.name} ({self.commit[:12] or 'no commit of this clone'})"


# Every place of gitrevisions(7) is looked at, and two different meanings are refused; within the
# tool a commit goes by its full id.
def resolve_unambiguous_ref(repository: Repository, ref: str) -> str:
    """The id of the one commit that a ref means, "" where it means none; InputError."""
    steps_match = _STEPS_START.search(ref)
    name, steps = (
        (ref[: steps_match.start()], ref[steps_match.start() :]) if steps_match else (ref, "")
    )
    selector_match = _LOG_SELECTOR.match(steps)
    if selector_match is not None:
        steps = steps[selector_match.end() :]
        commit = _resolve_log_selector(repository, ref, name, selector_match[0])
    else:
        commit = _require_single_commit(ref, _list_ref_meanings(repository, name))
    if commit and steps:
        return _resolve_revision(repository, f"{commit}{steps}^{{commit}}")
    return commit


def _resolve_log_selector(repository: Repository, ref: str, name: str, selector: str) -> str:
    """The commit of `NAME@{...}`: a branch's upstream, the branch of before, or an older value."""
    if _UPSTREAM_SELECTOR.fullmatch(selector):
        full_name = _run_git_or_empty(
            repository, "rev-parse", "--verify", "--symbolic-full-name", name + selector
        )
        return (
            _require_single_commit(ref, _list_ref_meanings(repository, full_name))
            if full_name.startswith("refs/")
            else ""
        )
    if not name:
        return _resolve_revision(repository, f"{selector}^{{commit}}")
    meanings = _list_ref_meanings(repository, name)
    if len(meanings) > 1:
        _raise_ambiguous_ref(ref, meanings)
    return (
        _resolve_revision(repository, f"{meanings[0].name}{selector}^{{commit}}")
        if meanings
        else ""
    )


def _require_single_commit(ref: str, meanings: list[RefMeaning]) -> str:
    """The commit of all meanings; InputError where they differ."""
    commits = {meaning.commit for meaning in meanings}
    if len(commits) > 1:
        _raise_ambiguous_ref(ref, meanings)
    return commits.pop() if commits else ""


def _raise_ambiguous_ref(ref: str, meanings: list[RefMeaning]) -> NoReturn:
    raise InputError(
        error_finding(
            "Ambiguous Git ref",
            f"{ref!r} means {len(meanings)} things here: {', '.join(map(str, meanings))}.",
            "Write the full name of the one that is meant. If another was given so as to be taken "
            "for it, delete that one.",
        )
    )


def _list_ref_meanings(repository: Repository, name: str) -> list[RefMeaning]:
    """All that a name means, in the order in which Git would take them."""
    short_id_meanings: list[RefMeaning] = []
    if _FULL_ID.fullmatch(name) and _resolve_revision(repository, name) == name.lower():
        ids_by_ref = {name: name}
    elif name in _HEAD_NAMES:
        head_id = _run_git_or_empty(repository, "show-ref", "--verify", "--hash", "HEAD")
        ids_by_ref = {"HEAD": head_id} if head_id else {}
    else:
        ids_by_ref = {**_read_root_ref(repository, name), **_read_matching_refs(repository, name)}
        short_id_meanings = _list_short_id_meanings(repository, name)
    commits = _resolve_commits(repository, list(ids_by_ref.values()))
    return [*map(RefMeaning, ids_by_ref, commits), *short_id_meanings]


def _read_root_ref(repository: Repository, name: str) -> dict[str, str]:
    """The object of FETCH_HEAD and its like, which stand beside HEAD."""
    if _ROOT_REF.fullmatch(name) and (repository.git_dir / name).is_file():
        return {name: _resolve_revision(repository, name)}
    return {}


def _read_matching_refs(repository: Repository, name: str) -> dict[str, str]:
    """The refs that a name may mean, with their objects; one in full means itself alone."""
    if not name:
        return {}
    names = (
        [name] if name.startswith("refs/") else [pattern.format(name) for pattern in _REF_PATTERNS]
    )
    out = _run_git_or_empty(repository, "for-each-ref", "--format=%(objectname) %(refname)", *names)
    ids_by_ref = {
        full_name: id_ for id_, _, full_name in (line.partition(" ") for line in out.split("\n"))
    }
    return {full_name: ids_by_ref[full_name] for full_name in names if full_name in ids_by_ref}


def _list_short_id_meanings(repository: Repository, name: str) -> list[RefMeaning]:
    """The commits whose ids begin with a name, or with what `git describe` puts after `-g`."""
    match = _SHORT_ID.fullmatch(name)
    if match is None or name.startswith("refs/"):
        return []
    ids = _run_git_or_empty(repository, "rev-parse", f"--disambiguate={match[1]}").split()
    commits = dict.fromkeys(commit for commit in _resolve_commits(repository, ids) if commit)
    return [RefMeaning(commit, commit) for commit in commits]


def _resolve_commits(repository: Repository, ids: Sequence[str]) -> list[str]:
    """The commits that objects are or tag, "" for one that is none or not here."""
    if not ids:
        return []
    input_text = "".join(f"{object_id}^{{commit}}\n" for object_id in ids)
    arguments = ("cat-file", "--batch-check=%(objectname) found")
    _, out, _ = run_git(repository.top, repository, *arguments, input_bytes=input_text.encode())
    answers = (line.partition(" ") for line in os.fsdecode(out).splitlines())
    commits = [id_ if status == "found" else "" for id_, _, status in answers]
    return commits + [""] * (len(ids) - len(commits))  # Git ends at an object that is broken


def _resolve_revision(repository: Repository, revision: str) -> str:
    """What Git makes of a revision, "" for nothing."""
    return _run_git_or_empty(repository, "rev-parse", "--verify", "--quiet", revision)


def _run_git_or_empty(repository: Repository, *arguments: str) -> str:
    """The output of one command, "" where it failed."""
    code, out, _ = run_git(repository.top, repository, *arguments)
    return "" if code else os.fsdecode(out).strip()

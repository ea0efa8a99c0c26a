"""What a Git ref means: each meaning is looked up in full, two of different commits are refused.

Git takes the first of several, a tag before a remote branch. So who may push a tag, or has a branch
fetched, that is called `origin/main` would answer for the base branch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NoReturn

from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.packages.repository import Repository, run_git

# Where a name that does not begin with refs/ may stand, as gitrevisions(7) lists it.
_PLACES = ("refs/{}", "refs/tags/{}", "refs/heads/{}", "refs/remotes/{}", "refs/remotes/{}/HEAD")
# What is checked out has no other name, so that nothing else may have its.
_CHECKED_OUT = frozenset({"HEAD", "@"})
_ROOT_REF = re.compile(r"[A-Z]+(?:_[A-Z]+)*_HEAD")
_FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)
_SHORT_ID = re.compile(r"(?:.+-g)?([0-9a-f]{4,63})", re.IGNORECASE)
# Where the steps from a name to a commit begin, as in `main~2`, `v1^{commit}` and `main@{1}`.
_STEPS = re.compile(r"[~^]|@\{")
_LOG = re.compile(r"@\{[^}]*\}")
_UPSTREAM = re.compile(r"@\{(?:u|upstream|push|-\d+)\}", re.IGNORECASE)


@frozen
class Meaning:
    """One thing that a name means: `name` means it alone; `commit` is "" where it is none."""

    name: str
    commit: str

    def __str__(self) -> str:
        return f"{self.name} ({self.commit[:12] or 'no commit of this clone'})"


def commit_meant(repository: Repository, ref: str) -> str:
    """The id of the one commit that a ref means, "" where it means none; InputError."""
    begin = _STEPS.search(ref)
    name, steps = (ref[: begin.start()], ref[begin.start() :]) if begin else (ref, "")
    log = _LOG.match(steps)
    if log is not None:
        steps = steps[log.end() :]
        commit = _commit_from_log(repository, ref, name, log[0])
    else:
        commit = _single_commit(ref, _meanings(repository, name))
    if commit and steps:
        return _resolve(repository, f"{commit}{steps}^{{commit}}")
    return commit


def _commit_from_log(repository: Repository, ref: str, name: str, place: str) -> str:
    """The commit of `NAME@{...}`: a branch's upstream, the branch of before, or an older value."""
    if _UPSTREAM.fullmatch(place):
        full = _output_of(repository, "rev-parse", "--verify", "--symbolic-full-name", name + place)
        return _single_commit(ref, _meanings(repository, full)) if full.startswith("refs/") else ""
    if not name:
        return _resolve(repository, f"{place}^{{commit}}")
    meanings = _meanings(repository, name)
    if len(meanings) > 1:
        _refuse_ambiguous(ref, meanings)
    return _resolve(repository, f"{meanings[0].name}{place}^{{commit}}") if meanings else ""


def _single_commit(ref: str, meanings: list[Meaning]) -> str:
    """The commit of all meanings; InputError where they differ."""
    commits = {meaning.commit for meaning in meanings}
    if len(commits) > 1:
        _refuse_ambiguous(ref, meanings)
    return commits.pop() if commits else ""


def _refuse_ambiguous(ref: str, meanings: list[Meaning]) -> NoReturn:
    raise InputError(
        error(
            "Ambiguous Git ref",
            f"{ref!r} means {len(meanings)} things here: {', '.join(map(str, meanings))}.",
            "Write the full name of the one that is meant. If another was given so as to be taken "
            "for it, delete that one.",
        )
    )


def _meanings(repository: Repository, name: str) -> list[Meaning]:
    """All that a name means, in the order in which Git would take them."""
    short: list[Meaning] = []
    if _FULL_ID.fullmatch(name) and _resolve(repository, name) == name.lower():
        objects = {name: name}
    elif name in _CHECKED_OUT:
        out = _output_of(repository, "show-ref", "--verify", "--hash", "HEAD")
        objects = {"HEAD": out} if out else {}
    else:
        objects = {**_root_refs(repository, name), **_refs(repository, name)}
        short = _short_ids(repository, name)
    commits = _commits(repository, list(objects.values()))
    return [*map(Meaning, objects, commits), *short]


def _root_refs(repository: Repository, name: str) -> dict[str, str]:
    """The object of FETCH_HEAD and its like, which stand beside HEAD."""
    if _ROOT_REF.fullmatch(name) and (repository.git_dir / name).is_file():
        return {name: _resolve(repository, name)}
    return {}


def _refs(repository: Repository, name: str) -> dict[str, str]:
    """The refs that a name may mean, with their objects; one in full means itself alone."""
    if not name:
        return {}
    names = [name] if name.startswith("refs/") else [place.format(name) for place in _PLACES]
    out = _output_of(repository, "for-each-ref", "--format=%(objectname) %(refname)", *names)
    known = {full: id_ for id_, _, full in (line.partition(" ") for line in out.split("\n"))}
    return {full: known[full] for full in names if full in known}


def _short_ids(repository: Repository, name: str) -> list[Meaning]:
    """The commits whose ids begin with a name, or with what `git describe` puts after `-g`."""
    short = _SHORT_ID.fullmatch(name)
    if short is None or name.startswith("refs/"):
        return []
    ids = _output_of(repository, "rev-parse", f"--disambiguate={short[1]}").split()
    commits = dict.fromkeys(commit for commit in _commits(repository, ids) if commit)
    return [Meaning(commit, commit) for commit in commits]


def _commits(repository: Repository, ids: Sequence[str]) -> list[str]:
    """The commits that objects are or tag, "" for one that is none or not here."""
    if not ids:
        return []
    given = "".join(f"{each}^{{commit}}\n" for each in ids)
    words = ("cat-file", "--batch-check=%(objectname) found")
    _, out, _ = run_git(repository.top, repository, *words, given=given.encode())
    answers = (line.partition(" ") for line in os.fsdecode(out).splitlines())
    commits = [id_ if mark == "found" else "" for id_, _, mark in answers]
    return commits + [""] * (len(ids) - len(commits))  # Git ends at an object that is broken


def _resolve(repository: Repository, words: str) -> str:
    """What Git makes of a revision, "" for nothing."""
    return _output_of(repository, "rev-parse", "--verify", "--quiet", words)


def _output_of(repository: Repository, *words: str) -> str:
    """The output of one command, "" where it failed."""
    code, out, _ = run_git(repository.top, repository, *words)
    return "" if code else os.fsdecode(out).strip()

"""Which commit a Git ref means; a ref with several meanings of different commits is refused.

Git takes the first meaning, a tag before a remote branch. So a person who may push a tag called
`origin/main` could substitute it for the base branch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

from synapse_apply.files.repository import Repository, run_git
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen

# What a name that does not begin with refs/ may mean (gitrevisions(7)), in Git's order.
_REF_PATTERNS = (
    "refs/{}",
    "refs/tags/{}",
    "refs/heads/{}",
    "refs/remotes/{}",
    "refs/remotes/{}/HEAD",
)
# These always mean the checked-out commit, whatever other refs have such a name.
_HEAD_NAMES = frozenset({"HEAD", "@"})
_PSEUDO_REF = re.compile(r"[A-Z]+(?:_[A-Z]+)*_HEAD")
_FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)
_SHORT_ID = re.compile(r"(?:.+-g)?([0-9a-f]{4,63})", re.IGNORECASE)
# Where the name ends in `main~2`, `v1^{commit}` or `main@{1}`.
_STEPS_START = re.compile(r"[~^]|@\{")
_AT_SELECTOR = re.compile(r"@\{[^}]*\}")
_UPSTREAM_SELECTOR = re.compile(r"@\{(?:u|upstream|push|-\d+)\}", re.IGNORECASE)


@frozen
class RefMeaning:
    """One meaning of a name: its unambiguous full name, and its commit, "" if it is none here."""

    name: str
    commit: str

    def __str__(self) -> str:
        return f"{self.name} ({self.commit[:12] or 'no commit of this clone'})"


# Every place of gitrevisions(7) is looked at, and two different meanings are refused; within the
# tool a commit goes by its full id.
def resolve_unambiguous_ref_or_empty(repository: Repository, ref: str) -> str:
    """The id of the commit that a ref means, "" for none; InputError for an ambiguous ref."""
    steps_match = _STEPS_START.search(ref)
    name, steps = (
        (ref[: steps_match.start()], ref[steps_match.start() :]) if steps_match else (ref, "")
    )
    # `NAME@{...}` is resolved with its name; all other steps start from the commit.
    selector_match = _AT_SELECTOR.match(steps)
    if selector_match is not None:
        steps = steps[selector_match.end() :]
        commit = _resolve_at_selector_or_empty(repository, ref, name, selector_match[0])
    else:
        commit = _require_all_meanings_are_one_commit_or_empty(
            ref, _list_ref_meanings(repository, name)
        )
    if commit and steps:
        return _resolve_revision_or_empty(repository, f"{commit}{steps}^{{commit}}")
    return commit


def _resolve_at_selector_or_empty(
    repository: Repository, ref: str, name: str, at_selector: str
) -> str:
    """The commit of `NAME@{...}` (upstream, previous branch, reflog entry), "" for none.

    InputError for an ambiguous name.
    """
    if _UPSTREAM_SELECTOR.fullmatch(at_selector):
        full_name = _run_git_or_empty(
            repository, "rev-parse", "--verify", "--symbolic-full-name", name + at_selector
        )
        return (
            _require_all_meanings_are_one_commit_or_empty(
                ref, _list_ref_meanings(repository, full_name)
            )
            if full_name.startswith("refs/")
            else ""
        )
    if not name:
        return _resolve_revision_or_empty(repository, f"{at_selector}^{{commit}}")
    meanings = _list_ref_meanings(repository, name)
    if len(meanings) > 1:
        _raise_ambiguous_ref(ref, meanings)
    return (
        _resolve_revision_or_empty(repository, f"{meanings[0].name}{at_selector}^{{commit}}")
        if meanings
        else ""
    )


def _require_all_meanings_are_one_commit_or_empty(ref: str, meanings: list[RefMeaning]) -> str:
    """The one commit of all meanings, "" without any; InputError if they differ."""
    commits = {meaning.commit for meaning in meanings}
    if len(commits) > 1:
        _raise_ambiguous_ref(ref, meanings)
    return commits.pop() if commits else ""


def _raise_ambiguous_ref(ref: str, meanings: list[RefMeaning]) -> NoReturn:
    raise InputError.from_summary(
        "Ambiguous Git ref",
        f"{ref!r} means {len(meanings)} things here: {', '.join(map(str, meanings))}.",
        "Write the full name of the one that is meant. If another was given so as to be taken "
        "for it, delete that one.",
    )


def _list_ref_meanings(repository: Repository, name: str) -> list[RefMeaning]:
    """All meanings of a name, in the order in which Git would choose."""
    if _FULL_ID.fullmatch(name):
        # A branch can be called like an id: Git takes one of full length for the object itself.
        object_id, commit = _resolve_to_ids_or_empty(repository, [name, f"{name}^{{commit}}"])
        if object_id in {name.lower(), ""}:
            return [RefMeaning(name, commit)]
    if name in _HEAD_NAMES:
        head_id = _run_git_or_empty(repository, "show-ref", "--verify", "--hash", "HEAD")
        ids_by_ref = {"HEAD": head_id} if head_id else {}
        return _build_meanings_of_objects(repository, ids_by_ref)
    return [
        *_build_meanings_of_objects(repository, _read_pseudo_ref_or_empty(repository, name)),
        *_list_meanings_by_matching_refs(repository, name),
        *_list_short_id_meanings(repository, name),
    ]


def _build_meanings_of_objects(
    repository: Repository, ids_by_ref: Mapping[str, str]
) -> list[RefMeaning]:
    commits = _resolve_each_to_commit_or_empty(repository, list(ids_by_ref.values()))
    return list(map(RefMeaning, ids_by_ref, commits))


def _read_pseudo_ref_or_empty(repository: Repository, name: str) -> dict[str, str]:
    """The object id of FETCH_HEAD, ORIG_HEAD and the like, not HEAD, by name; {} if there is none.

    The id is "" if Git gives none.
    """
    if _PSEUDO_REF.fullmatch(name) and (repository.git_dir / name).is_file():
        return {name: _resolve_revision_or_empty(repository, name)}
    return {}


def _list_meanings_by_matching_refs(repository: Repository, name: str) -> list[RefMeaning]:
    """The meanings of all refs that a name may mean, in Git's order.

    A name that begins with refs/ means only itself.
    """
    if not name:
        return []
    names = (
        [name] if name.startswith("refs/") else [pattern.format(name) for pattern in _REF_PATTERNS]
    )
    refs = [ref for ref in _list_matching_refs(repository, names) if ref.name in names]
    other_ids = {ref.name: ref.object_id for ref in refs if ref.kind != "commit"}
    commits = {ref.name: ref.object_id for ref in refs}
    for meaning in _build_meanings_of_objects(repository, other_ids):
        commits[meaning.name] = meaning.commit
    return [
        RefMeaning(full_name, commits[full_name]) for full_name in names if full_name in commits
    ]


class _Ref(NamedTuple):
    """A ref with what it names; `kind` is commit, tag, tree or blob, "" if Git cannot tell."""

    name: str
    object_id: str
    kind: str


def _list_matching_refs(repository: Repository, names: Sequence[str]) -> list[_Ref]:
    """The refs with these full names, and those below them."""
    arguments = ("for-each-ref", "--format=%(refname) %(objectname) %(objecttype)", *names)
    code, out, _ = run_git(repository.top, repository, *arguments)
    if code:
        # Git gives none of them a kind if it lacks the object of one.
        arguments = ("for-each-ref", "--format=%(refname) %(objectname) ", *names)
        _, out, _ = run_git(repository.top, repository, *arguments)
    return [_Ref(*line.split(" ")) for line in os.fsdecode(out).split("\n") if line]


def _list_short_id_meanings(repository: Repository, name: str) -> list[RefMeaning]:
    """The commits whose ids begin with the name, or with the part after `-g` (`git describe`)."""
    match = _SHORT_ID.fullmatch(name)
    if match is None or name.startswith("refs/"):
        return []
    ids = _run_git_or_empty(repository, "rev-parse", f"--disambiguate={match[1]}").split()
    commits = dict.fromkeys(
        commit for commit in _resolve_each_to_commit_or_empty(repository, ids) if commit
    )
    return [RefMeaning(commit, commit) for commit in commits]


def _resolve_each_to_commit_or_empty(repository: Repository, ids: Sequence[str]) -> list[str]:
    """The commit that each object is or tags, "" for another object or a missing one."""
    return _resolve_to_ids_or_empty(repository, [f"{object_id}^{{commit}}" for object_id in ids])


def _resolve_to_ids_or_empty(repository: Repository, revisions: Sequence[str]) -> list[str]:
    """The id of the object that each revision names, "" for a missing one."""
    if not revisions:
        return []
    input_text = "".join(f"{revision}\n" for revision in revisions)
    arguments = ("cat-file", "--batch-check=%(objectname) found")
    _, out, _ = run_git(repository.top, repository, *arguments, input_bytes=input_text.encode())
    answers = (line.partition(" ") for line in os.fsdecode(out).splitlines())
    ids = [id_ if status == "found" else "" for id_, _, status in answers]
    # Git stops at a damaged object; the rest counts as missing.
    return ids + [""] * (len(revisions) - len(ids))


def _resolve_revision_or_empty(repository: Repository, revision: str) -> str:
    """The object id that Git gives for a revision, "" for none."""
    return _run_git_or_empty(repository, "rev-parse", "--verify", "--quiet", revision)


def _run_git_or_empty(repository: Repository, *arguments: str) -> str:
    """The output of a Git command without blanks around it, "" if the command failed."""
    code, out, _ = run_git(repository.top, repository, *arguments)
    return "" if code else os.fsdecode(out).strip()

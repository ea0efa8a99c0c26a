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
FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)
_SHORT_ID = re.compile(r"(?:.+-g)?([0-9a-f]{4,63})", re.IGNORECASE)
# Where the name ends in `main~2`, `v1^{commit}` or `main@{1}`.
_STEPS_START = re.compile(r"[~^]|@\{")
_AT_SELECTOR = re.compile(r"@\{[^}]*\}")
_UPSTREAM_SELECTOR = re.compile(r"@\{(?:u|upstream|push|-\d+)\}", re.IGNORECASE)


class Meaning(NamedTuple):
    """One meaning of a name: its unambiguous full name, and its commit, "" if it is none here."""

    name: str
    commit: str

    def __str__(self) -> str:
        return f"{self.name} ({self.commit[:12] or 'no commit of this clone'})"


# Every place of gitrevisions(7) is looked at, and two different meanings are refused; within the
# tool a commit goes by its full id.
class Refs:
    """What refs mean in one repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def commit(self, ref: str) -> str:
        """The id of the commit that a ref means, "" for none; InputError for an ambiguous ref."""
        start = _STEPS_START.search(ref)
        name, steps = (ref[: start.start()], ref[start.start() :]) if start else (ref, "")
        # `NAME@{...}` is resolved with its name; all other steps start from the commit.
        selector = _AT_SELECTOR.match(steps)
        if selector is not None:
            steps = steps[selector.end() :]
            commit = self._at_selector(ref, name, selector[0])
        else:
            commit = self._one_commit(ref, self._meanings(name))
        return self._id(f"{commit}{steps}^{{commit}}") if commit and steps else commit

    def _at_selector(self, ref: str, name: str, selector: str) -> str:
        """The commit of `NAME@{...}` (upstream, previous branch, reflog entry), "" for none."""
        if _UPSTREAM_SELECTOR.fullmatch(selector):
            full_name = self._git("rev-parse", "--verify", "--symbolic-full-name", name + selector)
            if not full_name.startswith("refs/"):
                return ""
            return self._one_commit(ref, self._meanings(full_name))
        if not name:
            return self._id(f"{selector}^{{commit}}")
        meanings = self._meanings(name)
        if len(meanings) > 1:
            _raise_ambiguous(ref, meanings)
        return self._id(f"{meanings[0].name}{selector}^{{commit}}") if meanings else ""

    def _one_commit(self, ref: str, meanings: list[Meaning]) -> str:
        """The one commit of all meanings, "" without any."""
        commits = {meaning.commit for meaning in meanings}
        if len(commits) > 1:
            _raise_ambiguous(ref, meanings)
        return commits.pop() if commits else ""

    def _meanings(self, name: str) -> list[Meaning]:
        """All meanings of a name, in the order in which Git would choose."""
        if FULL_ID.fullmatch(name):
            # A branch can be called like an id: Git takes one of full length for the object itself.
            object_id, commit = self._ids([name, f"{name}^{{commit}}"])
            if object_id in {name.lower(), ""}:
                return [Meaning(name, commit)]
        if name in _HEAD_NAMES:
            head_id = self._git("show-ref", "--verify", "--hash", "HEAD")
            return self._of_objects({"HEAD": head_id} if head_id else {})
        pseudo_refs = {}
        # FETCH_HEAD, ORIG_HEAD and the like.
        if _PSEUDO_REF.fullmatch(name) and (self._repository.git_dir / name).is_file():
            pseudo_refs[name] = self._id(name)
        return [*self._of_objects(pseudo_refs), *self._of_refs(name), *self._of_short_id(name)]

    def _of_objects(self, ids_by_ref: Mapping[str, str]) -> list[Meaning]:
        return list(map(Meaning, ids_by_ref, self._commits(list(ids_by_ref.values()))))

    def _of_refs(self, name: str) -> list[Meaning]:
        """The meanings of all refs that a name may mean, in Git's order.

        A name that begins with refs/ means only itself.
        """
        if not name:
            return []
        is_full = name.startswith("refs/")
        names = [name] if is_full else [pattern.format(name) for pattern in _REF_PATTERNS]
        refs = [ref for ref in self._list(names) if ref.name in names]
        commits = {ref.name: ref.object_id for ref in refs}
        others = self._of_objects({ref.name: ref.object_id for ref in refs if ref.kind != "commit"})
        commits.update(others)
        return [
            Meaning(full_name, commits[full_name]) for full_name in names if full_name in commits
        ]

    def _list(self, names: Sequence[str]) -> list[_Ref]:
        """The refs with these full names, and those below them."""
        arguments = ("for-each-ref", "--format=%(refname) %(objectname) %(objecttype)", *names)
        code, out, _ = run_git(self._repository.top, self._repository, *arguments)
        if code:
            # Git gives none of them a kind if it lacks the object of one.
            arguments = ("for-each-ref", "--format=%(refname) %(objectname) ", *names)
            _, out, _ = run_git(self._repository.top, self._repository, *arguments)
        return [_Ref(*line.split(" ")) for line in os.fsdecode(out).split("\n") if line]

    def _of_short_id(self, name: str) -> list[Meaning]:
        """The commits whose ids begin with the name, or what follows `-g` (`git describe`)."""
        match = _SHORT_ID.fullmatch(name)
        if match is None or name.startswith("refs/"):
            return []
        ids = self._git("rev-parse", f"--disambiguate={match[1]}").split()
        return [Meaning(id_, id_) for id_ in dict.fromkeys(filter(None, self._commits(ids)))]

    def _commits(self, ids: Sequence[str]) -> list[str]:
        """The commit that each object is or tags, "" for another object or a missing one."""
        return self._ids([f"{object_id}^{{commit}}" for object_id in ids])

    def _ids(self, revisions: Sequence[str]) -> list[str]:
        """The id of the object that each revision names, "" for a missing one."""
        if not revisions:
            return []
        text = "".join(f"{revision}\n" for revision in revisions)
        arguments = ("cat-file", "--batch-check=%(objectname) found")
        repository = self._repository
        _, out, _ = run_git(repository.top, repository, *arguments, input_bytes=text.encode())
        answers = (line.partition(" ") for line in os.fsdecode(out).splitlines())
        ids = [id_ if status == "found" else "" for id_, _, status in answers]
        # Git stops at a damaged object; the rest counts as missing.
        return ids + [""] * (len(revisions) - len(ids))

    def _id(self, revision: str) -> str:
        """The object id that Git gives for a revision, "" for none."""
        return self._git("rev-parse", "--verify", "--quiet", revision)

    def _git(self, *arguments: str) -> str:
        """The output of a Git command without blanks around it, "" if the command failed."""
        code, out, _ = run_git(self._repository.top, self._repository, *arguments)
        return "" if code else os.fsdecode(out).strip()


class _Ref(NamedTuple):
    """A ref with what it names; `kind` is commit, tag, tree or blob, "" if Git cannot tell."""

    name: str
    object_id: str
    kind: str


def _raise_ambiguous(ref: str, meanings: list[Meaning]) -> NoReturn:
    raise InputError.from_summary(
        "Ambiguous Git ref",
        f"{ref!r} means {len(meanings)} things here: {', '.join(map(str, meanings))}.",
        "Write the full name of the one that is meant. If another was given so as to be taken "
        "for it, delete that one.",
    )

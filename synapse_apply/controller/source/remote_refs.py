"""Which refs of a source's repository are followed, and under which names its mirror has them.

In the mirror `refs/synapse-apply/` is ours: `head` is what the source's ref named last, `pin/NAME`
the revision whose settings count, `kept/COMMIT` the commits that must not be pruned, and
`followed/REF` the refs that were meant. Tags keep their names, since manifests name packages by
them, and what they named first: a tag that is moved or deleted changes no package. A followed
branch is `origin/BRANCH`, as in a clone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from synapse_apply.controller.settings import Source
from synapse_apply.model.errors import InputError

HEAD_REF = "refs/synapse-apply/head"
KEPT_FOLDER = "refs/synapse-apply/kept"
FOLLOWED_FOLDER = "refs/synapse-apply/followed"
_PIN_FOLDER = "refs/synapse-apply/pin"
_REMOTE_FOLDER = "refs/remotes/origin"
# What lies there depends on what the source's settings name.
FOLLOWED_FOLDERS = (_PIN_FOLDER, _REMOTE_FOLDER)
_BRANCH_FOLDER, _TAG_FOLDER = "refs/heads/", "refs/tags/"
TAGS_PATTERN = f"{_TAG_FOLDER}*"

# A subset of git-check-ref-format(1).
_NAME_PATTERN = re.compile(
    r"[A-Za-z0-9_%+][A-Za-z0-9._%+@#=-]{0,199}(/[A-Za-z0-9_%+][A-Za-z0-9._%+@#=-]{0,199}){0,9}"
)
_NO_NAME_PATTERN = re.compile(r"\.\.|@\{|\.(?=/|$)|\.lock(?=/|$)|^HEAD$")
_COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def is_commit_id(text: str) -> bool:
    """Whether a text is the full id of a commit."""
    return bool(_COMMIT_ID.fullmatch(text))


def refs_meant_by(source: Source, ref: str) -> tuple[str, ...]:
    """The full refs that a name may mean, a branch before a tag; InputError for no ref's name."""
    if is_commit_id(ref):
        raise InputError.from_summary(
            "A source cannot follow a commit",
            f"sources.{source.name}.ref is {ref}: neither a branch nor a tag is called that.",
            "Write a branch or a tag; `git tag NAME COMMIT` gives the commit a name.",
            position=source.position,
        )
    if not _NAME_PATTERN.fullmatch(ref) or _NO_NAME_PATTERN.search(ref):
        raise InputError.from_summary(
            "The ref of a source cannot be used",
            f"sources.{source.name}: {ref!r} is no name of a branch or a tag.",
            "Write a branch, a tag, or a full ref such as refs/heads/main.",
            position=source.position,
        )
    return (ref,) if ref.startswith("refs/") else (f"{_BRANCH_FOLDER}{ref}", f"{_TAG_FOLDER}{ref}")


def build_pin_revision_or_empty(source: Source) -> str:
    """The ref or commit of the mirror whose settings count; "" for the revision's own."""
    if not source.project_from or is_commit_id(source.project_from):
        return source.project_from
    return f"{_PIN_FOLDER}/{source.project_from.removeprefix('refs/').removeprefix('heads/')}"


def build_own_refspecs(source: Source, head_name: str, pin_name: str) -> list[str]:
    """What is fetched under names of ours: the head's full ref, and that of the pin ("": none)."""
    refspecs = [f"+{head_name}:{HEAD_REF}"]
    if head_name.startswith(_BRANCH_FOLDER):
        branch = head_name.removeprefix(_BRANCH_FOLDER)
        refspecs.append(f"+{head_name}:{_REMOTE_FOLDER}/{branch}")
    if pin_name:
        refspecs.append(f"+{pin_name}:{build_pin_revision_or_empty(source)}")
    return refspecs


def build_tag_refspecs(moved_tags: Iterable[str]) -> list[str]:
    """What is fetched of tags: those that have not moved. Git refuses one that moves meanwhile."""
    return [f"{TAGS_PATTERN}:{TAGS_PATTERN}", *(f"^{tag}" for tag in moved_tags)]

"""Which files of the checkout Git takes for those of a commit, whatever it made of their bytes.

On the way out Git converts line ends (`.gitattributes`, core.autocrlf), `$Id$` and encodings, so
that a file that nobody touched has other bytes than its blob.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from synapse_apply.model.desired import PackageSource
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.packages.content import UnreadableError
from synapse_apply.packages.git import GitTree, commit_at, place_in_repository, plumbing
from synapse_apply.packages.tree import file_behind

_CONVERTS = ("text", "crlf", "eol", "ident", "working-tree-encoding")
_FILTER = "filter"


@frozen
class Unmodified:
    """`same` are what Git has; of those `filtered` only a filter could tell."""

    same: frozenset[str] = frozenset()
    filtered: frozenset[str] = frozenset()


def unmodified(then: PackageSource, root: Path, folder: str, names: Collection[str]) -> Unmodified:
    """Which `names` in a folder of the checkout are, for Git, what `then` has under them.

    `then` is a source at a Git ref, `folder` is relative to `root`. Nothing is written and no
    filter runs. A file that is converted otherwise than at that ref is not among them. InputError
    as reading the Git ref raises it.
    """
    top, _ = place_in_repository(root)
    places = dict(_places(top.resolve(), root / folder, names))
    blobs = _blobs(then, root, places)
    now = _attributes(top, places.values())
    commit = commit_at(root, then.ref).id
    before = _attributes(top, places.values(), "--source", commit) or now  # Git before 2.40
    filters = filter_names(top)
    filtered = frozenset(
        name for name, place in places.items() if now.get(place, {}).get(_FILTER) in filters
    )
    asked = [
        name
        for name, place in places.items()
        if name in blobs and name not in filtered and now.get(place) == before.get(place)
    ]
    given = "".join(f"{places[name]}\n" for name in asked)
    _, out, _ = plumbing(top, "hash-object", "--stdin-paths", given=os.fsencode(given))
    ids = out.decode("ascii").split()
    if len(ids) != len(asked):  # a file went away meanwhile
        ids = [""] * len(asked)
    same = (name for name, found in zip(asked, ids, strict=True) if found == blobs[name])
    return Unmodified(frozenset(same), filtered)


def _places(top: Path, folder: Path, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Where the files are, from the top of the repository, links followed."""
    for name in names:
        place = os.path.relpath(os.path.realpath(folder / name), top).replace(os.sep, "/")
        if not place.startswith(("../", '"')) and "\n" not in place:  # one a line, unquoted
            yield name, place


def _blobs(then: PackageSource, root: Path, names: Collection[str]) -> dict[str, str]:
    found = {}
    with GitTree(root, then.path or ".", then.ref) as tree:
        for name in names:
            node = tree.node(name)
            try:
                file = None if node is None else file_behind(tree, node)
            except UnreadableError:
                continue
            if file is not None and not isinstance(file, Diagnostic):
                found[name] = file.key
    return found


def filter_names(top: Path) -> set[str]:
    """The filters that Git is told how to run."""
    words = ("config", "--null", "--name-only", "--get-regexp", "^filter\\.")
    names = os.fsdecode(plumbing(top, *words)[1]).split("\0")
    return {name.removeprefix("filter.").rpartition(".")[0] for name in names if name}


def _attributes(top: Path, places: Iterable[str], *source: str) -> dict[str, dict[str, str]]:
    given = os.fsencode("".join(f"{place}\0" for place in places))
    words = ("check-attr", *source, "-z", "--stdin", *_CONVERTS, _FILTER)
    code, out, _ = plumbing(top, *words, given=given)
    if code:
        return {}
    fields = [os.fsdecode(field) for field in out.split(b"\0")[:-1]]
    found: dict[str, dict[str, str]] = {}
    for place, name, value in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        found.setdefault(place, {})[name] = value
    return found

"""Whether a bucket does what a state needs of it, and what of ended chains lies in it.

A state is a chain of objects, each made only if there is none of its name. A store that ignores the
condition makes two, one over the other, and two runs would believe that they hold the lock.
"""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from synapse_apply.model.errors import StateError
from synapse_apply.stores.chain.chain_log import ChainReader
from synapse_apply.stores.chain.link_format import PRUNE_AGE_SECONDS, ChainView, ObjectFolder
from synapse_apply.stores.database import UnsignedStateSigner

# Requests that try to make one object at once.
WRITER_COUNT = 16
PROBE_FOLDER = "probe/"

_HINT = (
    "Use a store that creates an object only if its name is free (If-None-Match: *), as Amazon "
    "S3 and Azure do, and that you read and write at one endpoint. Some servers for S3 accept "
    "the condition and ignore it."
)


def require_suitable_bucket(folder: ObjectFolder) -> bool:
    """Make one object by sixteen requests at once, list, read, make, delete and make it again.

    StateError where the store lets two through, or does not list or read what was made. The object
    is deleted at the end; False where that is not permitted, so that old objects stay.
    """
    name = f"{PROBE_FOLDER}{secrets.token_hex(16)}"
    contents = [f"{number}".encode() for number in range(WRITER_COUNT)]
    with ThreadPoolExecutor(WRITER_COUNT, thread_name_prefix="probe") as pool:
        outcomes = pool.map(
            lambda content: folder.try_put_if_absent_and_tell_if_certain(name, content), contents
        )
        winners = [content for content, is_made in zip(contents, outcomes, strict=True) if is_made]
    try:
        problem = _probe_problem(folder, name, winners, contents)
        may_delete = folder.delete_and_count_undeleted([name]) == 0
        if (
            not problem
            and may_delete
            and not folder.try_put_if_absent_and_tell_if_certain(name, b"anew")
        ):
            problem = "the store does not create a deleted object again"
    finally:
        folder.delete_and_count_undeleted([name])
    if problem:
        raise StateError.from_summary(
            "This bucket cannot hold a state", f"{folder.location}: {problem}.", _HINT
        )
    return may_delete


def _probe_problem(
    folder: ObjectFolder, name: str, winners: list[bytes], contents: list[bytes]
) -> str:
    """What the store does wrong with the object that it just made, as a sentence; "" if nothing.

    `winners` are those of the `contents` whose writers were told that they made the object.
    """
    if len(winners) > 1:
        return (
            f"{len(winners)} of {WRITER_COUNT} concurrent requests were each told that they "
            "created the same object"
        )
    if name not in [info.name for info in folder.list_objects(PROBE_FOLDER)]:
        return "the store does not list an object that was just created"
    # An answer may be lost: then no request knows that it made the object that is read.
    read = folder.get_or_none_if_absent(name)
    if read not in (winners or contents):
        return "the store does not return an object that was just created"
    if (
        folder.try_put_if_absent_and_tell_if_certain(name, b"again")
        or folder.get_or_none_if_absent(name) != read
    ):
        return "the store replaced an object that it had listed"
    return ""


def count_prunable_objects(
    folder: ObjectFolder, prune_age_seconds: float = PRUNE_AGE_SECONDS
) -> int:
    """How many links, snapshots and audit objects could have been deleted and were not.

    Some are there until the next snapshot is made. StateError where the store cannot be read.
    """
    reader = ChainReader(folder, UnsignedStateSigner(), time.sleep)
    last_folder = reader.read_start_view().folder
    newest_numbers = reader.list_numbers_above(last_folder, "snapshots")[-2:]
    kept_snapshots = list(islice(reader.iter_readable_snapshots(last_folder), 2))
    if not newest_numbers or newest_numbers != [each.number for each in reversed(kept_snapshots)]:
        return 0
    newest = kept_snapshots[0]
    view = ChainView(last_folder, newest.number, never_pruned=frozenset(newest.never_pruned))
    return len(reader.list_prunable(view, kept_snapshots, prune_age_seconds))

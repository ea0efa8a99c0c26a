"""Whether a bucket does what a state needs of it, and what of ended chains lies in it.

A state is a chain of objects, each made only if there is none of its name. A store that ignores the
condition makes two, one over the other, and two runs would believe that they hold the lock.
"""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor

from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.stores.chain.chain_reader import ChainReader
from synapse_apply.stores.chain.link_format import (
    PRUNE_AGE_SECONDS,
    NewerContent,
    ObjectFolder,
    Snapshot,
    WrongContent,
    build_snapshot_name,
    decode_object_of_number,
    folder_prefix_of,
    parse_object_number,
    select_links_to_prune,
    unnamed_audit_objects,
)
from synapse_apply.stores.database import UnsignedStateSigner

# Requests that try to make one object at once.
WRITER_COUNT = 16
PROBE_FOLDER = "probe/"

_HINT = (
    "Use a store that makes an object only if there is none of its name (If-None-Match: *), as"
    " Amazon S3 and Azure do, and that is read and written at one endpoint. Some servers for"
    " S3 accept the condition and ignore it."
)


@frozen
class ProbeResult:
    """A bucket that a state can be kept in; `may_delete` is whether old objects can be deleted."""

    may_delete: bool


def require_suitable_bucket(folder: ObjectFolder) -> ProbeResult:
    """Make one object by sixteen requests at once, list, read, make, delete and make it again.

    StateError where the store lets two through, or does not list or read what was made. The object
    is deleted at the end, as far as that is permitted.
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
            problem = "it does not make an object anew that was deleted"
    finally:
        folder.delete_and_count_undeleted([name])
    if problem:
        raise StateError.from_summary(
            "This bucket cannot hold a state", f"{folder.location}: {problem}.", _HINT
        )
    return ProbeResult(may_delete)


def _probe_problem(
    folder: ObjectFolder, name: str, winners: list[bytes], contents: list[bytes]
) -> str:
    """What the store does wrong with the object that it just made, as a sentence; "" if nothing.

    `winners` are those of the `contents` whose writers were told that they made the object.
    """
    if len(winners) > 1:
        return (
            f"{len(winners)} of {WRITER_COUNT} requests at once were told that they made one and"
            " the same object"
        )
    if name not in [info.name for info in folder.list_objects(PROBE_FOLDER)]:
        return "it does not list an object that was just made"
    # An answer may be lost: then no request knows that it made the object that is read.
    read = folder.get_or_none_if_absent(name)
    if read not in (winners or contents):
        return "it does not read what was just made"
    if (
        folder.try_put_if_absent_and_tell_if_certain(name, b"again")
        or folder.get_or_none_if_absent(name) != read
    ):
        return "it made an object over one that it had listed"
    return ""


def count_prunable_objects(
    folder: ObjectFolder, prune_age_seconds: float = PRUNE_AGE_SECONDS
) -> int:
    """How many links, snapshots and audit objects could have been deleted and were not.

    Some are there until the next snapshot is made. StateError where the store cannot be read.
    """
    last_folder = ChainReader(folder, UnsignedStateSigner(), time.sleep).read_start_view().folder
    prefix = folder_prefix_of(last_folder)
    snapshots = _ages_by_number(folder, f"{prefix}snapshots/")
    links = _ages_by_number(folder, f"{prefix}links/")
    if not snapshots:
        return 0
    kept_numbers = sorted(snapshots)[-2:]
    contents = folder.get_objects_or_none_in_order(
        [build_snapshot_name(last_folder, number) for number in kept_numbers]
    )
    kept_snapshots: list[Snapshot] = []
    for number, content in zip(kept_numbers, contents, strict=True):
        try:
            snapshot = decode_object_of_number(content or b"", number, UnsignedStateSigner()).value
        except (WrongContent, NewerContent):
            return 0
        if isinstance(snapshot, Snapshot):
            kept_snapshots.append(snapshot)
    never_pruned = kept_snapshots[-1].never_pruned if kept_snapshots else ()
    newest = kept_numbers[-1]
    replaced_links = select_links_to_prune(links, sorted(snapshots), never_pruned, newest)
    ages = [links[number] for number in replaced_links]
    ages += [snapshots[number] for number in sorted(snapshots)[:-2]]
    if len(kept_snapshots) > 1:
        kept_names = {audit[0] for snapshot in kept_snapshots for audit in snapshot.audit_objects}
        audit_ages = {
            info.name: info.age_seconds or 0.0 for info in folder.list_objects(f"{prefix}audit/")
        }
        ages += [audit_ages[name] for name in unnamed_audit_objects(audit_ages, kept_names)]
    return sum(age >= prune_age_seconds for age in ages)


def _ages_by_number(folder: ObjectFolder, prefix: str) -> dict[int, float]:
    """The age in seconds of each link or snapshot by its number; 0 where the store does not say."""
    numbered = [(parse_object_number(info.name), info) for info in folder.list_objects(prefix)]
    return {number: info.age_seconds or 0.0 for number, info in numbered if number is not None}

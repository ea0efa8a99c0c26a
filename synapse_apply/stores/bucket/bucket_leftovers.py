"""Which objects of a chain two snapshots have replaced long ago, and still stand."""

from __future__ import annotations

import time

from synapse_apply.stores.chain.chain_reader import ChainReader
from synapse_apply.stores.chain.chain_rules import (
    PRUNE_AGE_SECONDS,
    select_links_to_prune,
    unnamed_audit_objects,
)
from synapse_apply.stores.chain.chain_view import (
    build_snapshot_name,
    folder_prefix_of,
    parse_object_number,
)
from synapse_apply.stores.chain.link_format import (
    NewerContent,
    Snapshot,
    WrongContent,
    decode_object_of_number,
)
from synapse_apply.stores.chain.object_folder import ObjectFolder
from synapse_apply.stores.chain.signer import UnsignedStateSigner


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

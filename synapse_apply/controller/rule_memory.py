"""What the operator of a controller's machine forgets: for what a target's rule was given."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from synapse_apply.controller.configuration.own_secrets import OwnSecretReader
from synapse_apply.controller.configuration.reading import (
    read_and_check_configuration,
    require_usable_configuration,
)
from synapse_apply.controller.fleet.opening import build_store_without_connecting
from synapse_apply.controller.rows import TargetRow
from synapse_apply.controller.store_ports import StoreWriter, WritableStore


def forget_rules(file: Path, data: Path, environ: Mapping[str, str], pattern: str) -> list[str]:
    """Forget what the rules of matching targets were given for; a sentence for each of them.

    Of targets that are declared only those that mean something else now are meant: what is new
    is accepted or, where another target has that, nothing is known of them any more.
    """
    controller = require_usable_configuration(read_and_check_configuration(file))
    url = OwnSecretReader(environ)(controller.store_url) if controller.store_url else None
    source, _, target_pattern = pattern.partition("/")
    with closing(build_store_without_connecting(data, url).store) as store, store.write() as writer:
        rows = store.list_present_and_gone_targets_of_source(source)
        matching = [row for row in rows if fnmatchcase(row.name.target, target_pattern)]
        return [
            line for row in matching if (line := _forget_rule_or_say_nothing(store, writer, row))
        ]


def _forget_rule_or_say_nothing(store: WritableStore, writer: StoreWriter, row: TargetRow) -> str:
    new = None if row.is_gone else row.found_binding
    if new and any(
        other.binding == new and other.name != row.name
        for other in store.list_targets_of_backend(new.backend)
    ):
        new = None
    if new == row.binding:
        return ""
    now, name = time.time(), str(row.name)
    line = f"{name} is bound to {new} now." if new else f"{name} is not bound any more."
    row_after = replace(row, binding=new, found_binding=new, due_at=now)
    writer.put_target_keeping_claim_and_newer_revision(row_after)
    for approval in () if new else store.list_approvals_even_used_or_expired(row.name):
        writer.delete_unused_approvals_of_row(row.name, approval.row_digest)
    writer.append_audit(now, "operator", "forget rule", name, f"{line} It was: {row.binding}")
    return line

"""What targets of a source named for their credentials in any commit: manifests never read it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cache
from itertools import accumulate, chain

from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.rows import SourceRow, TargetName, TargetRow
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import Source
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.store.store_writer import StoreWriter
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import replace

# Names of credentials and of their targets.
_MOST_CREDENTIALS = 100_000
# Hosts of a credential that goes to no host: no url has a host with a slash.
_NOWHERE = ("none/no rule matches the target that named it first",)


def choose_pin(parts: LoopParts, target: TargetRow) -> str:
    """The commit of the pin that a worker is to read for a target; "" without a pin.

    What is named for credentials there is remembered: the pin may have moved since the last fetch
    of the source, and move on before the next one.
    """
    name, commit = target.name.source, target.wanted_commit
    source, mirror = parts.settings.sources.get(name), parts.configured.mirrors.get(name)
    pin = mirror.read_pin() if source and mirror else ""
    if source and mirror and pin and (name, pin, commit) not in parts.chosen_pins:
        remember_credentials(parts, source, mirror, pin, [commit])
        parts.chosen_pins.add((name, pin, commit))
    return pin


def remember_credentials(
    parts: LoopParts, source: Source, mirror: GitMirror, pin: str, commits: Iterable[str]
) -> None:
    """Remember what targets at these commits name for credentials by a pin's settings.

    Looks and applies read a pin that moved at once, whatever the head is.
    """
    row = known = parts.store.find_source(source.name)
    if row is None or known is None:
        return
    for commit in commits:
        # Where the project file of the pin cannot be used, nothing is read by it.
        with suppress(InputError):
            credentials = collect_credentials(source, row, mirror, commit, pin)
            row = replace(row, credentials=credentials)
    if row == known:
        return
    with parts.write() as writer:
        # Somebody may have asked for a fetch meanwhile, or the configuration lost the source.
        current = parts.store.find_source(source.name)
        if current is not None and source.name in parts.settings.sources:
            put_source(parts, writer, replace(current, credentials=row.credentials))


def put_source(parts: LoopParts, writer: StoreWriter, row: SourceRow) -> None:
    """Write a source; what others remembered of credentials since it was read stays."""
    current = parts.store.find_source(row.name)
    others = [one for one in (current.credentials if current else ()) if one not in row.credentials]
    writer.put(replace(row, credentials=(*row.credentials, *others)))


def collect_credentials(
    source: Source, row: SourceRow, mirror: GitMirror, commit: str, pin: str = ""
) -> tuple[tuple[str, ...], ...]:
    """What the targets of a source named for credentials until now, and at a commit.

    Variables only within `may_read`; files wherever they are outside of the checkout, as one file
    has many spellings, and what a link leads to is known on the machine of a worker alone.

    Each with the targets that named it first, and again with those that a later head added. The
    oldest first: a commit can add names without an end, and must not push out others.
    """
    named = defaultdict[str, set[str]](set)
    for credential, *targets in row.credentials:
        named[credential].update(targets)
    added = defaultdict[str, list[str]](list)
    for target in mirror.list_targets(commit, pin):
        for name in target.credentials:
            if target.name not in named[name]:
                added[name].append(target.name)
    entries = [*row.credentials]
    entries += [
        (name, *targets)
        for name, targets in added.items()
        # A reference of a source of secrets, such as a file of sops, is in no list of `may_read`.
        if "?" in name
        or os.path.normpath(name).startswith(("/", ".."))
        or any(fnmatchcase(name, pattern.upper()) for pattern in source.may_read.variables)
    ]
    sizes = accumulate(map(len, entries))
    return tuple(
        entry for entry, size in zip(entries, sizes, strict=True) if size <= _MOST_CREDENTIALS
    )


def find_closed_credentials(parts: LoopParts, name: TargetName) -> Mapping[str, tuple[str, ...]]:
    """What targets of a source named for credentials in any commit, but for what is opened.

    Each with the hosts of the rules that the targets which named it first have now, () where one
    of them has none: then those of who named it next count, up to the target itself. Where rules
    have hosts, that of a target which none of them matches goes to no host by another one.
    """
    row = parts.store.find_source(name.source)
    # Another configuration may have been taken since the target was claimed.
    source = parts.settings.sources.get(name.source, Source(name.source, ""))
    # Earlier versions stored patterns of rules in the place of names.
    patterns = {rule.pattern: rule for rule in source.rules if "[" in rule.pattern}

    @cache
    def hosts_of(target: str) -> tuple[str, ...]:
        rule = patterns.get(target) or find_rule(source, target)
        if rule is not None:
            return rule.hosts
        is_name = set("*?[").isdisjoint(target)
        return _NOWHERE if is_name and any(rule.hosts for rule in source.rules) else ()

    closed, settled = dict[str, tuple[str, ...]](), set(source.may_read.opened)
    for credential, *targets in row.credentials if row else ():
        if credential in settled:
            continue
        is_own, limits = name.target in targets, [*map(hosts_of, targets)]
        is_limited = all(limits) and not is_own
        closed[credential] = tuple(dict.fromkeys(chain(*limits))) if is_limited else ()
        if is_own or is_limited:
            settled.add(credential)
    return closed

"""How `policy:`, `moved:` and `removed:` are decoded, and how rules are merged for a target."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, timedelta, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.dated_exception import DAY_HINT, DatedException, is_day
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    warning_finding,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import SettingsBlock
from synapse_apply.model.phrases import find_similar_word, suggest_words
from synapse_apply.model.project import (
    DEFAULT_RULES,
    DENY,
    OFF,
    AllowedSecret,
    MovedAddress,
    PolicyRule,
    Project,
    RemovedAddress,
    iter_move_chains,
)

if TYPE_CHECKING:
    from synapse_apply.model.cron import Window


# Called with the path in the project file, and summary, detail and hint of a finding; a hint that
# is searched for is called only if it is wanted.
ReportFinding = Callable[[FieldPath, str, str, str | Callable[[], str]], None]
_SECONDS_BY_UNIT = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60}
_MAX_DURATION = timedelta(days=366)
_IANA_HINT = (
    "write an IANA name such as Europe/Berlin; a system without time zones needs the package tzdata"
)


def decode_rules(
    settings: SettingsBlock,
    owner_path: FieldPath,
    positions: Mapping[FieldPath, Position],
    report_finding: ReportFinding,
) -> tuple[PolicyRule, ...]:
    """The rules of the `policy:` block in `settings`, which fits its schema.

    `owner_path` is the path of `settings` in the project file. Two rules of one name are reported.
    """
    rules: dict[str, PolicyRule] = {}
    for index, block in enumerate(settings.get("policy", {}).get("rules", ())):
        rule_path = (*owner_path, "policy", "rules", index)
        check, severity = block["rule"], block.get("severity", DENY)
        has_window = "cron" in block and severity != OFF
        name = block.get("name", check)
        if name in rules:
            detail = f"an earlier rule is already named `{name}`"
            hint = "set a different `name:` for one of them"
            report_finding(rule_path, "Two rules with one name", detail, hint)
        rules[name] = PolicyRule(
            check,
            name=name,
            severity=severity,
            only=_to_texts(block.get("addresses", block.get("only", ()))),
            excepted=tuple(one for one in block.get("except", ()) if isinstance(one, str)),
            exceptions=tuple(_decode_exceptions(block, name, rule_path, positions, report_finding)),
            values=_to_texts(block.get("values", ())),
            labels=_to_texts(block.get("labels", ())),
            limit=block.get("limit", 0),
            window=_decode_window(block, rule_path, report_finding) if has_window else None,
            position=positions.get(rule_path),
        )
    return tuple(rules.values())


def _decode_exceptions(
    block: SettingsBlock,
    name: str,
    rule_path: FieldPath,
    positions: Mapping[FieldPath, Position],
    report_finding: ReportFinding,
) -> Iterator[DatedException]:
    """The exceptions of a rule that end."""
    for index, entry in enumerate(block.get("except", ())):
        path = (*rule_path, "except", index)
        if isinstance(entry, dict) and _is_valid_until(entry, path, report_finding):
            pattern = entry["address"]
            yield DatedException(
                pattern,
                f"`except: {pattern}` of policy rule {name}",
                entry["until"],
                entry.get("reason", ""),
                position=positions.get(path),
            )


def decode_allowed_secrets(
    settings: SettingsBlock,
    owner_path: FieldPath,
    positions: Mapping[FieldPath, Position],
    report_finding: ReportFinding,
) -> Iterator[AllowedSecret]:
    """The secrets in packages that the `policy:` block in `settings` allows."""
    for index, block in enumerate(settings.get("policy", {}).get("allow_package_secrets", ())):
        path = (*owner_path, "policy", "allow_package_secrets", index)
        entry, exception = dict(block), None
        until = entry.pop("until", "")
        if until and _is_valid_until(block, path, report_finding):
            exception = DatedException(
                entry["file"],
                f"The allowed secret in {entry['file']}",
                until,
                entry["reason"],
                position=positions.get(path),
            )
        yield AllowedSecret(**entry, exception=exception)


def _is_valid_until(block: SettingsBlock, path: FieldPath, report_finding: ReportFinding) -> bool:
    """Whether the `until` of an entry is a day of the calendar; reports any other."""
    if not is_day(block["until"]):
        detail = f"`{block['until']}` is not a date"
        report_finding((*path, "until"), "Malformed date", detail, DAY_HINT)
        return False
    return True


def add_default_rules(common: Sequence[PolicyRule]) -> tuple[PolicyRule, ...]:
    """The common rules, and each default rule whose name none of them has."""
    names = {rule.name for rule in common}
    return (*common, *(rule for rule in DEFAULT_RULES if rule.name not in names))


def merge_rules_for_target(
    common: Sequence[PolicyRule],
    own: Sequence[PolicyRule],
    target_path: FieldPath,
    report_finding: ReportFinding,
) -> tuple[PolicyRule, ...]:
    """The rules of a target: its own replace common ones of the same name; `off` removes them.

    `off` for a name that no common rule has is reported.
    """
    names = {rule.name for rule in common}
    for index, rule in enumerate(own):
        if rule.severity == OFF and rule.name not in names:
            rule_path = (*target_path, "policy", "rules", index)
            hint = partial(suggest_words, rule.name, names)
            detail = f"no common rule is named `{rule.name}`"
            report_finding(rule_path, "No rule to remove", detail, hint)
    own_by_name = {rule.name: rule for rule in own}
    # A target's rule takes the place of the common one, so that the order stays.
    rules = [own_by_name[rule.name] if rule.name in own_by_name else rule for rule in common]  # noqa: SIM401 - without a call for each
    rules += [rule for rule in own_by_name.values() if rule.name not in names]
    return tuple([rule for rule in rules if rule.severity != OFF])


def _to_texts(items: Iterable[Any]) -> tuple[str, ...]:
    return tuple(map(str, items))


def _decode_window(
    block: SettingsBlock, rule_path: FieldPath, report_finding: ReportFinding
) -> Window | None:
    from synapse_apply.model.cron import Cron, Window  # noqa: PLC0415 - few have windows

    cron, text = None, block["cron"]
    try:
        cron = Cron.parse(text)
    except ValueError as problem:
        hint = 'write minute, hour, day, month and day of the week, such as "0 17 * * 5"'
        report_finding((*rule_path, "cron"), "Malformed cron", f"`{text}`: {problem}", hint)
    seconds = _parse_seconds(block["duration"])
    duration = timedelta(seconds=seconds) if 0 < seconds <= _MAX_DURATION.total_seconds() else None
    if duration is None:
        detail = f"{block['duration']} is not a valid length of a window"
        hint = "write a length above zero, at most 366d"
        report_finding((*rule_path, "duration"), "Value out of range", detail, hint)
    zone_name = block.get("timezone", "UTC")
    time_zone = _load_time_zone(zone_name, (*rule_path, "timezone"), report_finding)
    if cron is None or duration is None or time_zone is None:
        return None
    return Window(cron, duration, time_zone)


def decode_brake(block: SettingsBlock) -> dict[str, float]:
    """The figures of a policy's `brake:` by name, its times in seconds."""
    return {
        name: _parse_seconds(figure) if isinstance(figure, str) else figure
        for name, figure in block.items()
    }


def _parse_seconds(length: str) -> int:
    parts = re.findall(r"([0-9]+)([wdhm])", length)
    return sum(int(number) * _SECONDS_BY_UNIT[unit] for number, unit in parts)


def _load_time_zone(
    name: str, zone_path: FieldPath, report_finding: ReportFinding
) -> tzinfo | None:
    """The time zone of an IANA name; None (reported) for an unknown one."""
    # UTC needs no time zone database, which minimal containers lack.
    if name == "UTC":
        return UTC
    import zoneinfo  # noqa: PLC0415 - only a project with a window pays

    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        detail = f"this system has no time zone `{name}`"
        report_finding(zone_path, "Unknown time zone", detail, partial(_suggest_time_zone, name))
    return None


def _suggest_time_zone(name: str) -> str:
    from zoneinfo import available_timezones  # noqa: PLC0415 - as above

    closest_name = find_similar_word(name, available_timezones())
    return f"did you mean `{closest_name}`?" if closest_name else _IANA_HINT


# Each of its addresses is looked for by way of all that come after it.
_MAX_MOVES_IN_ROW = 100
_KEEP_ONE = "keep one of the two"


@frozen
class RefactoringDecoder:
    """Decodes both lists of a project file that fits its schema; contradictions are reported."""

    _value: Mapping[str, Any]
    _positions: Mapping[FieldPath, Position]
    _report_finding: ReportFinding

    def decode_moves(self) -> tuple[MovedAddress, ...]:
        """The moves of the file without wrong ones; those of a circle are reported, and stay."""
        moves: list[MovedAddress] = []
        row_by_old: dict[Address, int] = {}
        sources: set[Address] = set()
        targets: set[Address] = set()
        for index, row in enumerate(self._value.get("moved", ())):
            row_path: FieldPath = ("moved", index)
            old, new = (self._parse_address((*row_path, key), row[key]) for key in ("from", "to"))
            if old is None or new is None:
                continue
            report = partial(self._report_finding, (*row_path, "to"))
            if old.kind != new.kind:
                detail = f"{old} cannot become {new}: they are of different kinds"
                report(
                    "A move cannot change the kind", detail, "give two addresses of the same kind"
                )
            elif old in sources:
                report = partial(self._report_finding, (*row_path, "from"))
                report("Moved twice", f"an earlier entry already moves {old}", _KEEP_ONE)
            elif new in targets:
                detail = f"an earlier entry already moves another address to {new}"
                report("Two moves to one address", detail, _KEEP_ONE)
            else:
                moves.append(MovedAddress(old, new, self._positions.get(row_path)))
                row_by_old[old] = index
            sources.add(old)
            targets.add(new)
        self._report_chains(moves, row_by_old)
        return tuple(moves)

    def decode_removals(self, moves: Sequence[MovedAddress]) -> tuple[RemovedAddress, ...]:
        """The removed addresses, each once; one that is also moved is reported."""
        removal_by_address: dict[Address, RemovedAddress] = {}
        sources = {move.old for move in moves}
        for index, row in enumerate(self._value.get("removed", ())):
            address_path: FieldPath = ("removed", index, "address")
            address = self._parse_address(address_path, row["address"])
            if address is None:
                continue
            if address in sources:
                detail = f"{address} is also moved to another address"
                self._report_finding(address_path, "Moved and removed", detail, _KEEP_ONE)
            removal = RemovedAddress(address, self._positions.get(address_path))
            removal_by_address.setdefault(address, removal)
        return tuple(removal_by_address.values())

    def _parse_address(self, path: FieldPath, text: str) -> Address | None:
        kind, slash, name = text.partition("/")
        if slash and name and kind in CATALOGUE:
            return Address(kind, name)
        kind_hint = suggest_words(kind, sorted(CATALOGUE)) if slash else ""
        hint = kind_hint or "write plugin/NAME, release/NAME@VERSION or storage/NAME"
        self._report_finding(path, "Malformed address", f"`{text}` is not an address", hint)
        return None

    def _report_chains(
        self, moves: Iterable[MovedAddress], row_by_old: Mapping[Address, int]
    ) -> None:
        """Report each cycle of moves once, at its first row, and chains that are too long."""
        in_cycles = {move.old: move.new for move in moves}
        for chain, addresses in iter_move_chains(moves):
            for move in chain:
                del in_cycles[move.old]
            if len(chain) > _MAX_MOVES_IN_ROW:
                detail = (
                    f"{addresses[0]} becomes {addresses[-1]} through a chain of {len(chain)} moves"
                )
                hint = (
                    f"keep at most {_MAX_MOVES_IN_ROW}: remove the moves that every target "
                    "has applied"
                )
                path: FieldPath = ("moved", row_by_old[addresses[0]])
                self._report_finding(path, "Too many moves in a row", detail, hint)
        while in_cycles:
            start = next(iter(in_cycles))
            cycle = [start]
            while (following := in_cycles.pop(cycle[-1])) != start:
                cycle.append(following)
            chain_text = " -> ".join(map(str, [*cycle, start]))
            hint, path = "remove the move that leads back", ("moved", row_by_old[start])
            self._report_finding(path, "Moves in a circle", chain_text, hint)


def findings_of_moves(
    project: Project, declared_addresses: Collection[Address], target: str, ref: str
) -> Iterator[Diagnostic]:
    """An error for each address that is moved away or removed, and still declared.

    Manifests of a Git ref `ref` stay so: what they declare counts as not removed, and moves lead to
    what they declare. Only where they declare both ends of a move is it unknown which of the two a
    record belongs to.
    """
    moved = [(move.old, move.new, move.position) for move in project.moved]
    moved = [move for move in moved if move[0] in declared_addresses]
    reason, hint = "a manifest declares it", "remove that manifest, or the move"
    if ref:
        moved = []
        reason = f"the manifests of {ref} declare both"
        hint = "remove that move from the project file for this run"
        for chain, addresses in iter_move_chains(project.moved):
            declared = [address for address in addresses if address in declared_addresses]
            if len(declared) > 1:
                moved.append((declared[0], declared[-1], chain[0].position))
    for old, new, position in moved:
        yield error_finding(
            "Moved and still declared",
            f"{old} is moved to {new}, but {reason}",
            hint,
            position=position,
            address=str(old),
            target=target,
        )
    for removal in [one for one in project.removed if one.address in declared_addresses]:
        address = removal.address
        if ref:
            finding = warning_finding(
                "Removed and declared again",
                f"the manifests of {ref} declare {address}, so `removed:` has no effect on it",
                Text(
                    "if it was already forgotten and the plan would create a second object: ",
                    Command("import", address, "ID"),
                    " records the existing object",
                ),
            )
        else:
            finding = error_finding(
                "Removed and still declared",
                f"{address} is listed as removed, but a manifest declares it",
                "remove that manifest, or the line of `removed:`",
            )
        yield finding.with_changes(position=removal.position, address=str(address), target=target)


def names_after_moves(address: Address, new_by_old: Mapping[Address, Address]) -> tuple[str, ...]:
    """An address, and those that moves gave it or its owner since, by which overlays name it."""
    names, current = [str(address)], address
    while current in new_by_old:
        current = new_by_old[current]
        names.append(str(current))
    kind = CATALOGUE.get(address.kind)
    owner_name, separator, version = address.name.rpartition("@")
    if kind is not None and kind.series_field and separator:
        owner_address = Address(kind.rules[kind.series_field].references, owner_name)
        owner_names = names_after_moves(owner_address, new_by_old)[1:]
        names += (f"{address.kind}/{name.partition('/')[2]}@{version}" for name in owner_names)
    return tuple(names)

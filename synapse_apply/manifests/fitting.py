"""What the API versions of a target take of what is declared, and what they cannot carry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.descriptor import Binding, ResourceType
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Diagnostic, Position, Severity, error, warning
from synapse_apply.model.project import Target


@dataclass(slots=True)
class Fitting:
    """Everything a target declares as its API versions can carry it, and every finding."""

    target: Target
    findings: list[Diagnostic] = field(default_factory=list)

    def of(self, declared: Mapping[Address, Desired]) -> dict[Address, Desired]:
        """The same resources without the fields that cannot be carried."""
        fitted = dict(declared)
        by_kind: dict[str, list[Desired]] = {}
        for one in declared.values():
            by_kind.setdefault(one.address.kind, []).append(one)
        for kind in CATALOGUE.values():
            if ours := by_kind.get(kind.prefix, []):
                binding = kind.binding(self.target.api)
                self.findings.extend(self._apart(kind, binding, ours))
                self.findings.extend(self._left_out(kind, binding, ours))
                self.findings.extend(self._retained(kind, binding, declared))
                self.findings.extend(self._values(kind, binding, ours))
                fitted.update(
                    (one.address, _carried(binding, one)) for one in _lacking(binding, ours)
                )
        return fitted

    def _apart(
        self, kind: ResourceType, binding: Binding, ours: Iterable[Desired]
    ) -> Iterator[Diagnostic]:
        """Ids of two API versions are not one space: who refers and who is referred to go along."""
        for rule in kind.rules.values():
            other = CATALOGUE.get(rule.references)
            theirs = other.binding(self.target.api).api if other else binding.api
            one = next((one for one in ours if rule.name in one.spec), None)
            if other and one and theirs != binding.api:
                newest = max(kind.bindings.keys() & other.bindings.keys())
                yield error(
                    "Two API versions for what belongs together",
                    f"target {self.target.name} uses api {binding.api} for a {kind.prefix} and "
                    f"{theirs} for the {other.prefix} it refers to by its id",
                    f"give both one version: `api: {{{other.prefix}: {newest}, "
                    f"{kind.prefix}: {newest}}}`",
                    position=self.target.position or one.position,
                    target=self.target.name,
                )

    def _left_out(
        self, kind: ResourceType, binding: Binding, ours: Iterable[Desired]
    ) -> Iterator[Diagnostic]:
        """One finding for all resources of a kind; the place is that of the first such field."""
        having = _lacking(binding, ours)
        if not having:
            return
        names = [
            name
            for name in kind.rules
            if name not in binding.fields and any(name in one.spec for one in having)
        ]
        place = next(one.place((name,)) for one in having for name in names if name in one.spec)
        yield self._cannot(binding, ", ".join(names), having, kind.prefix, place)

    def _cannot(
        self,
        binding: Binding,
        names: str,
        ours: Sequence[Desired],
        prefix: str,
        place: Position | None,
    ) -> Diagnostic:
        leaves_out = self.target.unsupported_fields == "warning"
        count = f"{len(ours)} {prefix}{'s' if len(ours) != 1 else ''}"
        way = "`unsupported_fields: warning` of the target leaves them out, an overlay with null "
        return Diagnostic(
            Severity.WARNING if leaves_out else Severity.ERROR,
            "Fields that the API version cannot carry",
            f"target {self.target.name}: api {binding.api} cannot carry {names} ({count})",
            "they are neither sent nor compared here"
            if leaves_out
            else f"{way}does so for one resource",
            position=place,
            target=self.target.name,
        )

    def _retained(
        self, kind: ResourceType, binding: Binding, declared: Mapping[Address, Desired]
    ) -> Iterator[Diagnostic]:
        """To keep only the newest of a series asks for a delete."""
        owner = kind.rules[kind.series].references if kind.series else ""
        asked = [one for one in declared.values() if one.address.kind == owner and one.retain]
        if asked and binding.delete is None:
            yield self._cannot(binding, "retain", asked, owner, asked[0].place(("retain",)))

    def _values(
        self, kind: ResourceType, binding: Binding, ours: Sequence[Desired]
    ) -> Iterator[Diagnostic]:
        """What is missing is told for each; a value that nothing is made with once for all."""
        for name, takes in binding.takes.items():
            alike: dict[str, list[Desired]] = {}
            for one in ours:
                value = one.spec.get(name)
                if value is None and takes.required:
                    yield self._not_taken(kind, binding, name, [one])
                elif takes.to_create if value is None else not takes.fits(value):
                    alike.setdefault(f"{value}", []).append(one)
            for group in alike.values():
                yield self._not_taken(kind, binding, name, group)

    def _not_taken(
        self, kind: ResourceType, binding: Binding, name: str, ours: Sequence[Desired]
    ) -> Diagnostic:
        """The place is that of the first."""
        takes, first, value = binding.takes[name], ours[0], ours[0].spec.get(name)
        who = f"{first.address}"
        if len(ours) > 1:
            who += f" and {len(ours) - 1} more {kind.prefix}{'s' if len(ours) > 2 else ''}"
        what = f"{who}: api {binding.api} of target {self.target.name} makes no {kind.prefix} "
        if value is None:
            told, hint = f"{what}without `{name}`", f"add `{name}:`, {takes.words}"
        else:
            shown = value if value != "" else '""'
            told = f"{what}with {name} {shown}"
            hint = f"it takes {takes.words}; what is there already may be as it is"
        say = error if value is None and takes.required else warning
        return say(
            "Not taken by the API version",
            told,
            hint,
            position=first.place((name,)),
            address=str(first.address),
            path=("spec", name),
            target=self.target.name,
        )


def _lacking(binding: Binding, ours: Iterable[Desired]) -> list[Desired]:
    """The resources with a field that the API version does not have."""
    return [one for one in ours if not binding.fields >= one.spec.keys()]


def _carried(binding: Binding, one: Desired) -> Desired:
    """The resource with the fields that the API version has."""
    spec = {name: value for name, value in one.spec.items() if name in binding.fields}
    return replace(one, spec=spec)

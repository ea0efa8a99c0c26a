"""How the targets of a project are made when they are asked for: of thousands, few are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from synapse_apply.model.project import Target


class LazyTargets(Mapping[str, Target]):
    """Targets by name, each made at its first use; names are known without making any."""

    def __init__(self, names: Collection[str], build_target: Callable[[str], Target]) -> None:
        """`build_target` gets one of the names."""
        self._names = dict.fromkeys(names)
        self._build_target = build_target
        self._built: dict[str, Target] = {}

    def __getitem__(self, name: str) -> Target:
        if name not in self._built:
            if name not in self._names:
                raise KeyError(name)
            self._built[name] = self._build_target(name)
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

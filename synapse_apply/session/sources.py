"""Package sources: each read once for all that ask, or told by a saved plan and never read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synapse_apply.manifests.draft import Config
from synapse_apply.manifests.reader import read_mapping
from synapse_apply.model.desired import Package, PackageSource
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.package_rules import Flaw
from synapse_apply.model.project import Project, Target

if TYPE_CHECKING:
    from synapse_apply.packages.digests import Digests
    from synapse_apply.packages.lint import PackageLint
    from synapse_apply.session.digests import KeptDigests

_Key = tuple[PackageSource, tuple[str, ...]]


@frozen
class ConfigText:
    """A package's config.yaml, and how messages call it."""

    text: str
    name: str


@frozen
class Held:
    """What a source held when it was read; `package` is None where only its config was needed."""

    source: PackageSource
    config: ConfigText | None = None
    package: Package | None = None


@frozen
class Carrier:
    """A file that carries packages: what it tells of sources, and its entries' bytes by name."""

    file: Path
    held: tuple[Held, ...]
    sizes: Mapping[str, int] = field(default_factory=dict)


class Sources:
    """The package sources of a project. What `told` has is believed and not looked at.

    With `ref` folders and zips are read as that Git ref has them. `environ` says whether what
    files held is kept for the next run. With `linted` packages are looked into while they are read.
    """

    def __init__(
        self,
        project: Project,
        told: Iterable[Held] = (),
        ref: str = "",
        environ: Mapping[str, str] | None = None,
        *,
        linted: bool = False,
    ) -> None:
        self._project = project
        self._linted = linted
        self._flaws: dict[_Key, list[Flaw]] = {}
        self._ref = ref
        self._environ = environ
        self._kept: KeptDigests | None = None
        self._told = {one.source: one for one in told}
        self._configs: dict[_Key, ConfigText | None] = {}
        self._packages: dict[_Key, tuple[Package | None, list[Diagnostic]]] = {}

    def reader(self, target: Target) -> Callable[[PackageSource], Config | None]:
        """Reads the config.yaml of a source for one target; InputError."""

        def read(source: PackageSource) -> Config | None:
            found = self._config(*self._key(source, target))
            return None if found is None else read_mapping(found.text, found.name)

        return read

    def package(
        self, source: PackageSource, target: Target
    ) -> tuple[Package | None, list[Diagnostic]]:
        """A source's content and what is to be said of it; None where it cannot be used."""
        key = self._key(source, target)
        if key not in self._packages:
            told = self._told.get(key[0])
            known = told.package if told else None
            self._packages[key] = (known, []) if known else self._inspected(key)
        return self._packages[key]

    def flaws(self, source: PackageSource, target: Target) -> list[Flaw]:
        """What a source is against; it is read where nobody has asked for it."""
        self.package(source, target)
        return self._flaws.get(self._key(source, target), [])

    def asked_for(self, target: Target) -> tuple[PackageSource, ...]:
        """The sources whose config.yaml one target needed, for whatever document."""
        return tuple(source for source, allowed in self._configs if allowed == target.allow_files)

    def keep(self) -> Digests | None:
        """Write down what files held; what is known of them, None where nobody was asked."""
        return None if self._kept is None else self._kept.keep()

    def held(self, target: Target) -> tuple[Held, ...]:
        """All that one target asked for, for a plan that is to need no source again."""
        keys = dict.fromkeys((*self._configs, *self._packages))
        return tuple(
            Held(key[0], self._configs.get(key), self._packages.get(key, (None, []))[0])
            for key in sorted(keys, key=str)
            if key[1] == target.allow_files
        )

    def _config(self, source: PackageSource, allow_files: tuple[str, ...]) -> ConfigText | None:
        key = (source, allow_files)
        if key not in self._configs:
            told = self._told.get(source)
            self._configs[key] = told.config if told else self._read(source, allow_files)
        return self._configs[key]

    def _key(self, source: PackageSource, target: Target) -> _Key:
        bare = replace(source, position=None)
        if self._ref:
            from synapse_apply.packages.sources import as_of

            bare = as_of(bare, self._ref)
        return bare, target.allow_files

    def _is_left_out(self, source: PackageSource) -> bool:
        """Whether it is a zip that was built and never committed, of a commit that is read."""
        from synapse_apply.packages.sources import FILE, is_committed

        is_zip = source.kind == FILE and bool(source.ref)
        return is_zip and not is_committed(source, self._project.root)

    def _read(self, source: PackageSource, allow_files: tuple[str, ...]) -> ConfigText | None:
        # Here, not above: a project of storages alone needs no package reader.
        from synapse_apply.packages.sources import config_text

        if self._is_left_out(source):
            return None
        found = config_text(source, self._project.root, allow_files)
        return None if found is None else ConfigText(*found)

    def _inspected(self, key: _Key) -> tuple[Package | None, list[Diagnostic]]:
        from synapse_apply.packages.inspect import inspect
        from synapse_apply.session.digests import kept_digests

        findings: list[Diagnostic] = []
        source, allow_files = key
        if self._kept is None and self._environ is not None:
            self._kept = kept_digests(self._project, self._environ)
        if self._is_left_out(source):
            return None, [_left_out(source)]
        watch = linter(source) if self._linted else None
        try:
            package = inspect(
                source,
                self._project.root,
                self._project.max_package_size,
                allow_files=allow_files,
                warn=findings.append,
                digests=self._kept.digests if self._kept else None,
                watch=watch,
            )
        except InputError as problem:
            return None, [*findings, *problem.diagnostics]
        finally:
            if watch is not None:
                self._flaws[key] = watch.flaws()
        return package, findings


def linter(source: PackageSource) -> PackageLint:
    """What looks into a package while it is read."""
    from synapse_apply.manifests.package_config import read_package_config
    from synapse_apply.packages.lint import PackageLint

    return PackageLint(source, read_package_config)


def _left_out(source: PackageSource) -> Diagnostic:
    return warning(
        "Package file not in that Git ref",
        f"{source.path} is not in {source.shown_ref}, so its content is not known.",
        "What is published already is compared by its fields alone; nothing can be published.",
    )


def held_to_json(held: Held) -> dict[str, Any]:
    """As a saved plan has it."""
    from synapse_apply.model.json_shapes import coder_of

    encoded: dict[str, Any] = coder_of(Held).encode(held)
    return encoded


def held_from_json(data: Any) -> Held:
    """The inverse of held_to_json; ValueError for any other shape."""
    from synapse_apply.model.json_shapes import coder_of

    decoded: Held = coder_of(Held).decode(data)
    return decoded

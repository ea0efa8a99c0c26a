"""Which methods a script has for packages: what the commands `package` and `bump` do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from synapse_apply.library.arguments import require_and_join_path, require_text
from synapse_apply.library.target_connection import TargetConnection

if TYPE_CHECKING:
    from synapse_apply.model.diagnostic import Diagnostic
    from synapse_apply.operations.bump import BumpResult
    from synapse_apply.operations.package import (
        PackageDifference,
        PackageInside,
        PackageQuery,
        WrittenZip,
    )
    from synapse_apply.packages.inspection import PackageListing


class TargetPackages:
    """The packages of a target's releases, as `OpenTarget.packages` returns it.

    Needs no backend. Where a `package` is wanted, it is what `find_package` returns, or a name for
    it: an existing folder or zip, else the release that declares it.
    """

    def __init__(self, connection: TargetConnection) -> None:
        """`OpenTarget.packages` is the way to get one."""
        self._connection = connection

    def find_package(self, name: str, *, ref: str = "") -> PackageQuery:
        """The package of a name; with `ref`, a folder as it is at that tag, branch or commit.

        InputError where there is none. Its files are not read yet.
        """
        from synapse_apply.operations.package import resolve_path_or_release_to_package_query

        name, ref = require_text("name", name), require_text("ref", ref)
        with self._connection.pin_refs_and_convert_errors():
            return resolve_path_or_release_to_package_query(self._connection.invocation, name, ref)

    def check_package(self, package: str | PackageQuery) -> tuple[Diagnostic, ...]:
        """All that the platform would refuse or ignore, and what prevents building the package."""
        from synapse_apply.operations.package import list_package_problems

        package = self._find_package_if_name(package)
        with self._connection.pin_refs_and_convert_errors():
            return list_package_problems(package, strict=self._connection.invocation.strict)

    def read_package(self, package: str | PackageQuery) -> PackageInside:
        """The digest of a package, and the size and digest of each file; InputError."""
        from synapse_apply.operations.package import read_and_hash_package_or_raise

        package = self._find_package_if_name(package)
        with self._connection.pin_refs_and_convert_errors():
            return read_and_hash_package_or_raise(package)

    def list_contents(self, package: str | PackageQuery) -> PackageListing:
        """What goes into a package, and what is left out by which rule; nothing is hashed."""
        from synapse_apply.operations.package import list_included_and_excluded_package_files

        package = self._find_package_if_name(package)
        with self._connection.pin_refs_and_convert_errors():
            return list_included_and_excluded_package_files(package)

    def write_zip(self, package: str | PackageQuery, file: Path | str | None = None) -> WrittenZip:
        """Write the zip that a release uploads; the same files give the same bytes.

        Without a `file` it is NAME-VERSION.zip in `folder`. A zip there is replaced. InputError
        where the package is not usable or the file cannot be written.
        """
        from synapse_apply.operations.package import suggest_zip_name, write_package_zip

        package = self._find_package_if_name(package)
        with self._connection.pin_refs_and_convert_errors():
            path = require_and_join_path(
                "file",
                suggest_zip_name(package) if file is None else file,
                self._connection.invocation.directory,
            )
            return write_package_zip(package, path)

    def compare_with_published(self, release: str, *, against: str = "") -> PackageDifference:
        """The files in which a declared release differs from what was published of it.

        Where it is not published yet, from the newest release of its plugin that is; `against`
        names another one, by address or version. InputError where the state knows no bytes.
        """
        from synapse_apply.operations.package import compare_with_recorded_package

        release, against = require_text("release", release), require_text("against", against)
        with self._connection.pin_refs_and_convert_errors():
            return compare_with_recorded_package(self._connection.invocation, release, against)

    def bump_version(
        self,
        plugin: str,
        *,
        part: str = "",
        exact_version: str = "",
        changelog: str | None = None,
        write: bool = True,
    ) -> BumpResult:
        """Raise the version of a plugin's release in the files that say it; returns the edits.

        By a `part`, which is `major`, `minor` or `patch`, or to the `exact_version`: one of the
        two. Looks at every target, unless one was named. `write=False` only returns the edits.
        InputError, with nothing written, where it cannot be edited.
        """
        from synapse_apply.operations.bump import BumpRequest, bump_version_of_only_release

        request = BumpRequest(
            require_text("plugin", plugin), require_text("part", part),
            require_text("exact_version", exact_version), changelog,
        )  # fmt: skip
        request.require_either_part_or_exact_version()
        with self._connection.pin_refs_and_convert_errors():
            return bump_version_of_only_release(self._connection.invocation, request, write=write)

    def _find_package_if_name(self, package: str | PackageQuery) -> PackageQuery:
        return self.find_package(package) if isinstance(package, str) else package

"""How the published package of a release is fetched and hashed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

from synapse_apply.kinds.descriptor import ApiBinding
from synapse_apply.model.coding.json_types import ServerObject
from synapse_apply.model.frozen import frozen
from synapse_apply.model.resource import PackageSource
from synapse_apply.packages.content import compute_package_digest
from synapse_apply.packages.inspection import measure_or_raise
from synapse_apply.packages.upload import large_file_folder
from synapse_apply.packages.zips import gather_zip_files, open_zip

if TYPE_CHECKING:
    from synapse_apply.workspace.target_session import TargetSession


@frozen
class PublishedBytes:
    """The digest of a published package, and its files in the form of a record."""

    digest: str
    files: Mapping[str, str]


def read_published(
    session: TargetSession, binding: ApiBinding, raw: ServerObject, name: object
) -> PublishedBytes | None:
    """Fetch and hash the package of a live object; None where the server shows no URL of it.

    `name` is for messages. RemoteError when it cannot be fetched, InputError, with every finding,
    when it is no package, or one that is too large for the project.
    """
    max_bytes = session.project.max_package_size
    url = binding.extract_file_url(raw) if binding.extract_file_url is not None else ""
    if not url:
        return None
    # On disk and not in memory: a package may have gigabytes.
    with tempfile.TemporaryFile(dir=large_file_folder()) as file:
        session.api.fetch_release_file(url, file, max_bytes)
        file.seek(0)
        package_label = f"the published package of {name}"
        with open_zip(file, package_label) as archive:
            source = PackageSource("file", package_label)
            measured = measure_or_raise(gather_zip_files(archive), max_bytes, source)
        return PublishedBytes(compute_package_digest(measured.files), measured.files)

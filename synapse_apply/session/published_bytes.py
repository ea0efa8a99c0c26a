"""What bytes a release was published with, read from where its server says that they are."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import BinaryIO

from synapse_apply.kinds.descriptor import Binding, Raw
from synapse_apply.model.desired import PackageSource
from synapse_apply.model.frozen import frozen
from synapse_apply.model.ports import Api
from synapse_apply.packages.archive import gather_zip, open_zip
from synapse_apply.packages.content import digest_of
from synapse_apply.packages.inspect import measured_within
from synapse_apply.packages.opening import folder_for_large_files


@frozen
class PublishedBytes:
    """The content of a published package: its digest, and its files as a Record keeps them."""

    digest: str
    files: Mapping[str, str]


def read_published_bytes(
    api: Api, binding: Binding, raw: Raw, name: str, most: int
) -> PublishedBytes | None:
    """The package of a live object; None where the server shows no URL of it.

    `name` is what to call it, `most` bounds its bytes, packed and unpacked. RemoteError when it
    cannot be fetched, InputError when it is no package, with every finding.
    """
    url = binding.file_of(raw) if binding.file_of is not None else ""
    if not url:
        return None
    with tempfile.TemporaryFile(dir=folder_for_large_files()) as file:
        api.fetch_release_file(url, file, most)
        file.seek(0)
        return _measure(file, name, most)


def _measure(file: BinaryIO, name: str, most: int) -> PublishedBytes:
    called = f"the published package of {name}"
    with open_zip(file, called) as archive:
        measured = measured_within(gather_zip(archive), most, PackageSource("file", called))
    return PublishedBytes(digest_of(measured.files), measured.files)

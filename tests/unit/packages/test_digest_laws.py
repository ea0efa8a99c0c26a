"""The canonical digest and the zip depend on content, and on nothing else."""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from git_repositories import commit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from unit.packages.trees import AT_HEAD, FOLDER, ZIP

from synapse_apply.model.address import Address
from synapse_apply.model.resource import Package, PackageSource
from synapse_apply.packages.content import compute_package_digest
from synapse_apply.packages.ignore import find_collisions
from synapse_apply.packages.sources import read_source_as_package
from synapse_apply.packages.upload import SourcePackages

RELEASE = Address("release", "x@1")
LAW = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))

parts = some.text("abgé가한z_ ~#!", min_size=1, max_size=4).map(
    lambda text: unicodedata.normalize("NFC", text)
)
# Hypothesis knows the source's own constants, and an LFS pointer is refused.
blobs = some.binary(max_size=40).filter(lambda data: not data.startswith(b"version"))
paths = some.lists(parts, min_size=1, max_size=3).map("/".join)
contents = some.dictionaries(
    paths, some.tuples(blobs, some.booleans()), min_size=1, max_size=6
).filter(lambda tree: not find_collisions(tree))


def lay(
    root: Path, tree: dict[str, tuple[bytes, bool]], *, form: str, umask: int, seed: int
) -> None:
    """Write a tree in some order, under some umask, with names in some spelling, at some time."""
    chance = random.Random(seed)
    names = list(tree)
    chance.shuffle(names)
    old = os.umask(umask)
    try:
        for name in names:
            data, executable = tree[name]
            path = root / "p" / unicodedata.normalize(form, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod((0o777 if executable else 0o666) & ~umask)
            os.utime(path, (chance.randrange(2**31), chance.randrange(2**31)))
    finally:
        os.umask(old)


@contextmanager
def laid(tree: dict[str, tuple[bytes, bool]], **how: object) -> Iterator[Path]:
    """A project's folder with the tree as `p`; nothing of it looks like a built-in pattern."""
    with tempfile.TemporaryDirectory() as root:
        lay(Path(root), tree, **how)  # type: ignore[arg-type]
        yield Path(root)


def zip_of(source: PackageSource, root: Path) -> bytes:
    """The bytes that would be uploaded."""
    with SourcePackages({RELEASE: read_source_as_package(source, root)}, root).open_package(
        RELEASE
    ) as file:
        return file.read()


@LAW
@given(contents)
def test_umask_times_order_and_spelling_do_not_count(tree: dict[str, tuple[bytes, bool]]) -> None:
    """Neither for the digest nor for a single byte of the zip."""
    with (
        laid(tree, form="NFC", umask=0o022, seed=1) as one,
        laid(tree, form="NFD", umask=0o077, seed=2) as other,
    ):
        assert (
            read_source_as_package(FOLDER, one).digest
            == read_source_as_package(FOLDER, other).digest
        )
        assert zip_of(FOLDER, one) == zip_of(FOLDER, other)


@LAW
@given(contents)
def test_folder_ref_and_zip_of_one_content_have_one_digest(
    tree: dict[str, tuple[bytes, bool]],
) -> None:
    """And the zip made from the ref is the zip made from the folder."""
    with laid(tree, form="NFC", umask=0o022, seed=3) as root:
        package = read_source_as_package(FOLDER, root)
        (root / "p.zip").write_bytes(zip_of(FOLDER, root))
        zipped = read_source_as_package(ZIP, root)
        assert (zipped.digest, zipped.files) == (package.digest, package.files)
        commit(root)
        assert read_source_as_package(AT_HEAD, root).digest == package.digest
        assert zip_of(AT_HEAD, root) == (root / "p.zip").read_bytes()


@LAW
@given(contents, some.randoms(use_true_random=False))
def test_one_byte_one_bit_or_one_name_changes_the_digest(
    tree: dict[str, tuple[bytes, bool]], chance: random.Random
) -> None:
    """Whatever the platform would see differently."""
    name = chance.choice(sorted(tree))
    data, executable = tree[name]
    flipped = bytes([data[0] ^ 1]) + data[1:] if data else b"\0"
    others = [
        tree | {name: (flipped, executable)},
        tree | {name: (data, not executable)},
        {f"{key}x" if key == name else key: value for key, value in tree.items()},
    ]
    digests = set()
    for one in (tree, *others):
        with laid(one, form="NFC", umask=0o022, seed=4) as root:
            digests.add(read_source_as_package(FOLDER, root).digest)
    assert len(digests) == 4


def test_the_digests_encoding_is_fixed() -> None:
    """Stored digests must hold in every later version; spelled out here byte for byte."""
    a, b = (hashlib.sha256(data) for data in (b"A", b"B"))
    spelled = (
        b"synapse-apply package 1\0" + bytes(7) + b"\x02"
        + bytes(7) + b"\x01" + b"z" + b"x" + a.digest()
        + bytes(7) + b"\x03" + "가".encode() + b"-" + b.digest()
    )  # fmt: skip
    files = {"가": b.hexdigest(), "z": f"{a.hexdigest()} x"}
    assert compute_package_digest(files) == "pkg1:sha256:" + hashlib.sha256(spelled).hexdigest()


def test_a_package_says_what_it_holds(tmp_path: Path) -> None:
    """Paths to digests, and the sum of bytes."""
    lay(tmp_path, {"a": (b"A", False), "d/b": (b"BB", True)}, form="NFC", umask=0o022, seed=5)
    assert read_source_as_package(FOLDER, tmp_path) == Package(
        compute_package_digest(read_source_as_package(FOLDER, tmp_path).files),
        {"a": hashlib.sha256(b"A").hexdigest(), "d/b": hashlib.sha256(b"BB").hexdigest() + " x"},
        3,
        FOLDER,
    )

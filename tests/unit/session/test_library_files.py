"""`OpenTarget.packages`, exports and resources: what is read from files and written to them."""

from __future__ import annotations

from pathlib import Path

from failing import fails

from synapse_apply import OpenTarget, library

RELEASE = "release/image-processing@1.0.0"


def test_a_package_is_read_by_its_name(target: OpenTarget, folder: Path) -> None:
    """By the release that declares it; its zip lies where it is said, and has the same digest."""
    query = target.packages.find_package(RELEASE)
    digest = target.packages.read_package(RELEASE).package.digest
    assert target.packages.check_package(query) == target.packages.check_package(RELEASE)
    written = target.packages.write_zip(query)
    assert written.file == folder / "image-processing-1.0.0.zip"
    assert target.packages.read_package(str(written.file)).package.digest == digest
    assert set(target.packages.list_contents(query).included) == set(written.file_sizes)
    with fails("InputError", match="There is no such package"):
        target.packages.read_package("nope")


def test_what_was_published_is_compared(target: OpenTarget) -> None:
    target.apply(auto_approve=True)
    assert not target.packages.compare_with_published(RELEASE).is_different


def test_a_version_is_raised_one_way(target: OpenTarget, folder: Path) -> None:
    """`write=False` writes nothing."""
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = target.packages.bump_version("image-processing", part="minor", write=False)
    assert result.new_version == "1.1.0"
    for options in ({}, {"part": "minor", "exact_version": "2.0.0"}, {"part": "huge"}):
        with fails("InputError"):
            target.packages.bump_version("image-processing", **options)
    assert files == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_export_is_written_and_imported_again(target: OpenTarget, folder: Path) -> None:
    """All that is listed, and ids of a range as far as they are there."""
    target.apply(auto_approve=True)
    exported = target.live.export_manifests("out", ids={"plugin": [range(1, 9)]})
    kinds = sorted(exported_object.address.kind for exported_object in exported.report.objects)
    assert kinds == ["plugin", "release", "storage", "storage"]
    assert exported.inventory == folder / "inventory.yaml"
    assert all(path.is_file() for path in exported.files)
    assert "first" in exported.next_steps[0]
    for options, text in (
        ({"only": ["bucket"]}, "There is no such kind"),
        ({"releases": "some"}, "Which releases"),
        ({"inventory": "synapse-apply.yaml"}, "The inventory cannot be written"),
    ):
        with fails("InputError", match=text):
            target.live.export_manifests("out", **options)


def test_a_resource_is_found_from_all_sides(target: OpenTarget) -> None:
    """Before and after it is live; a name of nothing is told apart from other errors."""
    assert target.find_resource("raw-data").shown_fields() == {}
    target.apply(auto_approve=True)
    sides = target.find_resource("raw-data")
    assert sides.resource.record is not None
    assert ("name",) in sides.shown_fields().keys() & sides.declared_fields_with_defaults().keys()
    with fails("NameNotFound"):
        target.find_resource("nope")


def test_changes_since_a_plan_was_saved(target: OpenTarget, folder: Path) -> None:
    """Nothing at first; then the manifests."""
    target.save_plan(target.plan(), "next.plan")
    assert library.is_saved_plan(folder / "next.plan")
    assert not library.is_saved_plan(folder / "synapse-apply.yaml")
    plans = target.read_saved_plan("next.plan")
    assert target.find_changes_since(plans) == []
    (manifest,) = folder.glob("manifests/*storage*")
    manifest.write_text(manifest.read_text().replace("Results", "Outcomes"))
    (warning,) = target.find_changes_since(plans)
    assert warning.summary == "The manifests changed since this plan was made"

"""Which of two keys a storage is written with: the one that the platform's own tools read."""

from __future__ import annotations

import json

import pytest
from e2e.scenarios.workplace import STORAGE, Workplace

NOTE = "The platform's own tools do not read this key"


def declare(place: Workplace, provider: str, **configuration: str) -> None:
    text = STORAGE.replace("file_system", provider)
    place.write(
        "manifests/storage.yaml",
        text.replace("{base_path: /data/raw}", json.dumps({"bucket_name": "b", **configuration})),
    )


@pytest.mark.parametrize("provider", ["amazon_s3", "minio"])
def test_a_region_that_the_tools_do_not_read(place: Workplace, provider: str) -> None:
    """A note with the key that they read, strict or not; the platform's key needs none."""
    declare(place, provider, region="eu")
    for strict in ((), ("--strict",)):
        said = place.run("validate", *strict, code=0).text
        assert f"Note: {NOTE}" in said
        assert "`region` is a documented key, but they read only `region_name`" in said
        assert "manifests/storage.yaml:8:" in said
    declare(place, provider, region_name="eu")
    assert NOTE not in place.run("validate", code=0).text
    declare(place, provider, region="eu", region_name="eu")
    said = place.run("validate", code=1).text
    assert "Keys from two vocabularies" in said
    assert NOTE not in said


@pytest.mark.parametrize("provider", ["amazon_s3", "minio", "file_system"])
def test_a_new_storage_has_the_keys_that_the_tools_read(place: Workplace, provider: str) -> None:
    """It fits the schema, and `validate` notes nothing of its keys."""
    written = place.run("init", "storage", "scaffolded", "--provider", provider, code=0).out
    own = {"file_system": ("location",)}.get(provider, ("access_key", "secret_key", "region_name"))
    for key in own:
        assert f" {key}: " in written
    for key in ("region", "access_key_id", "secret_access_key", "base_path", "permissions"):
        assert f" {key}: " not in written
    place.write(
        "manifests/storage.yaml", written.replace("CHANGE-ME", "x").replace("# region", "region")
    )
    said = place.run("validate", code=0).text
    assert NOTE not in said

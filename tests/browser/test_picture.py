"""`make picture`: the picture of the README is made from the code as it is."""

from __future__ import annotations

import importlib.util
import os
from types import ModuleType

from installed import ROOT


def test_the_picture_of_the_readme_can_be_made(tmp_path):
    """The quickstart is still what docs/picture.py changes, and the PNG is small enough."""
    picture = load_picture_program()
    page = picture.make_plan_page(tmp_path)
    assert "cannot be changed" in page.read_text(encoding="utf-8")
    picture.take_picture(page, os.environ["CHROMIUM"], tmp_path / "plan.png")
    assert 20_000 < (tmp_path / "plan.png").stat().st_size <= 150_000


def test_the_picture_of_a_rollout_can_be_made(tmp_path):
    """Its rows are still what the page reads."""
    picture = load_picture_program()
    with picture.open_rollout_page(tmp_path) as address:
        picture.take_picture(address, os.environ["CHROMIUM"], tmp_path / "rollout.png", 760)
    assert 20_000 < (tmp_path / "rollout.png").stat().st_size <= 150_000


def load_picture_program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("picture", ROOT / "docs" / "picture.py")
    assert spec
    assert spec.loader
    picture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(picture)
    return picture

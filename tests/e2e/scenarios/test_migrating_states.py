"""`state backup --to '{env: NAME}'`: as the project file says it, with the url in a variable."""

from __future__ import annotations

import json

import pytest
from e2e.scenarios.workplace import Workplace

FORMS = ["{env: STATE_URL}", '{"env": "STATE_URL"}', " {env:  STATE_URL } "]


@pytest.mark.parametrize("form", FORMS)
def test_the_url_may_be_in_a_variable(applied: Workplace, form: str) -> None:
    """The state is there afterwards, and the line to write is said without the url."""
    applied.environ["STATE_URL"] = "sqlite:///elsewhere/secret-name.db"
    (applied.root / "elsewhere").mkdir()
    ran = applied.run("state", "backup", "--to", form, code=0)
    assert "Copied 3 records of target prod" in ran.out
    assert "Now set targets.prod.state.url: {env: STATE_URL} in the project file." in ran.out
    assert "secret-name" not in ran.text
    assert (applied.root / "elsewhere/secret-name.db").is_file()
    settings = json.loads((applied.root / "synapse-apply.yaml").read_text())
    settings["targets"]["prod"]["state"] = {"url": {"env": "STATE_URL"}}
    (applied.root / "synapse-apply.yaml").write_text(json.dumps(settings))
    applied.unchanged()


def test_a_variable_that_is_not_set_is_named(applied: Workplace) -> None:
    """Nothing is made under the name of the braces."""
    before = sorted(applied.root.rglob("*"))
    ran = applied.run("state", "backup", "--to", "{env: STATE_URL}", code=1)
    assert "STATE_URL" in ran.err
    assert sorted(applied.root.rglob("*")) == before

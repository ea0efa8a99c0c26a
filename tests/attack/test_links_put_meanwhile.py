"""A link that is put in the place of a file after it was looked at."""

from __future__ import annotations

import pytest
from attack.test_links import SECRET, checkout, outcome

from synapse_apply.files import checkout as files

__all__ = ["checkout"]


@pytest.mark.parametrize("named", ["synapse.log", "logs/key.yaml", "logs/new.log", "to/key.yaml"])
def test_the_log_goes_through_no_link_that_is_put_there_meanwhile(
    checkout, tmp_path, monkeypatch, named
):
    """A step of the pull request replaces what was there after it was looked at."""
    (checkout / "logs").mkdir()
    (checkout / "to").symlink_to("logs")
    explain = files.explain_link_out

    def explain_then_replace(path):
        reason = explain(path)
        if not (checkout / "logs").is_symlink():
            (checkout / "logs").rename(checkout / "before")
            (checkout / "logs").symlink_to("../../home")
            (checkout / "synapse.log").symlink_to("../../home/key.yaml")
        return reason

    monkeypatch.setattr(files, "explain_link_out", explain_then_replace)
    monkeypatch.setenv("SYNAPSE_APPLY_LOG", "debug")
    monkeypatch.setenv("SYNAPSE_APPLY_LOG_PATH", named)
    code, said = outcome("validate")
    assert code == 64
    assert "SYNAPSE_APPLY_LOG_PATH cannot be written" in said
    assert (tmp_path / "home" / "key.yaml").read_text() == f"{SECRET}\n"
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["key.yaml"]

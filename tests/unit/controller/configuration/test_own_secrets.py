"""The controller's own secrets: read from where the file says, and shown nowhere."""

import pytest

from synapse_apply.controller.configuration.secrets import OwnSecretReader
from synapse_apply.controller.settings import SecretName
from synapse_apply.model.errors import SecretUnavailable


def test_a_file_is_read_anew_each_time(tmp_path):
    """One newline at the end is dropped, and a renewed secret counts."""
    read, file = OwnSecretReader({"TOKEN": "t0ken"}), tmp_path / "secret"
    assert read(SecretName("env", "TOKEN")).reveal() == "t0ken"
    file.write_text("first\n\n", encoding="utf-8")
    name = SecretName("file", str(file))
    assert read(name).reveal() == "first\n"
    file.write_text("second\n", encoding="utf-8")
    assert read(name).reveal() == "second"
    assert "second" not in repr(read(name))


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe"])
def test_what_cannot_be_used_is_said_without_its_value(tmp_path, content):
    """Empty, blank, no text, missing."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    read = OwnSecretReader({"EMPTY": " "})
    for name in (
        SecretName("file", str(file)),
        SecretName("file", str(tmp_path / "missing")),
        SecretName("env", "EMPTY"),
        SecretName("env", "MISSING"),
    ):
        with pytest.raises(SecretUnavailable) as caught:
            read(name)
        assert name.name in caught.value.diagnostics[0].detail

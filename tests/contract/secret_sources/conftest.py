"""A project's folder with a file that sops has encrypted, and a PATH with sops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import sops

from synapse_apply.manifests.yaml.reader import read_single_mapping
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.values import SecretRef
from synapse_apply.secret_sources.catalogue import SECRET_SOURCES
from synapse_apply.secret_sources.source import SourceContext, build_reference_or_none_if_malformed
from synapse_apply.secrets.resolve import SecretResolver

CANARY = 'cAn4ry/sops+7777="quoted"\\é'
PLAIN = """\
# who may read it
raw-data:
    secret_access_key: 'cAn4ry/sops+7777="quoted"\\é'
    port: 8080
    hosts: [a, {name: b}]
    empty: ""
a/b: slash
emoji: "\\U0001F600"
when_unencrypted: 2020-01-01
count_unencrypted: 9007199254740993
"""
AGE = {"age": {"env": "AGE_KEY"}}


class Place:
    """The project's folder; resolvers of it are each one run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "secrets" / "prod.yaml"
        self.file.parent.mkdir(parents=True)
        self.environ: dict[str, str] = {"AGE_KEY": sops.KEY, "VAULT_TOKEN": "ambient", "OTHER": "x"}
        self.settings: dict[str, Any] = {"sops": AGE}

    def resolver(self, **more: Any) -> SecretResolver:
        given = {
            "settings": self.settings,
            "target": "prod",
            "read_single_mapping": read_single_mapping,
            **more,
        }
        return SecretResolver(self.root, self.environ, **given)

    def value(self, key: str, form: str = "text", resolver: SecretResolver | None = None) -> Any:
        resolver = resolver or self.resolver()
        return resolver.resolve_secret(self.ref(key, form)).reveal()

    def ref(self, key: str, form: str = "text", file: str = "secrets/prod.yaml") -> SecretRef:
        ref = build_reference_or_none_if_malformed(
            SECRET_SOURCES["sops"], {"file": file, "key": key}, form
        )
        assert ref is not None
        return ref

    def failure(self, key: str = "raw-data/secret_access_key", form: str = "text") -> str:
        """All that is said where a value cannot be read; a canary is not."""
        with pytest.raises(SecretUnavailable) as caught:
            self.value(key, form)
        (finding,) = caught.value.diagnostics
        assert finding.hint
        said = f"{finding.summary}: {finding.detail}. {finding.hint}"
        chain = caught.value.__cause__ or caught.value.__context__
        assert chain is None
        assert "cAn4ry" not in said
        assert sops.KEY not in said
        return said

    def denial(self, key: str = "raw-data/secret_access_key", **more: Any) -> str:
        """What `validate` says of a reference, without any variable."""
        denial = SECRET_SOURCES["sops"].find_denial(
            self.ref(key), SourceContext(self.root, **{"settings": self.settings, "target": "prod",
                                                       "read_single_mapping": read_single_mapping, **more})
        )  # fmt: skip
        return f"{denial.summary}: {denial.detail}. {denial.hint}" if denial else ""


@pytest.fixture(scope="session")
def encrypted_text() -> str:
    return sops.encrypt(PLAIN)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encrypted_text: str) -> Place:
    made = Place(tmp_path / "project")
    made.file.write_text(encrypted_text)
    monkeypatch.setenv("PATH", sops.install(tmp_path / "bin"))
    return made


Settings = Mapping[str, Any]
Starter = Callable[[str], None]

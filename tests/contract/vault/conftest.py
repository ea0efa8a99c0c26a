"""The Vaults that the reader is tried on: the stand-in of all other tests, and a real OpenBao."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from vault.stand_in import StandInVault

from synapse_apply.client.http.environment import build_route_with_environment_proxies_and_tls
from synapse_apply.client.http.exchange import ExchangeLimits, HttpExchanger
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.values import SecretRef, Sensitive
from synapse_apply.secret_sources.vault.reader import VaultReader
from synapse_apply.secret_sources.vault.source import build_settings_of_valid_block

TOKEN_VARIABLE, JWT_VARIABLE = "VAULT_TOKEN", "JOB_JWT"
OpenReader = Callable[..., VaultReader]


@pytest.fixture(params=["stand-in", "openbao"])
def vault(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each of the two, with an empty KV engine at `kv` and a JWT login."""
    if request.param == "openbao":
        yield request.getfixturevalue("openbao")
        return
    with StandInVault() as made:
        yield made
        assert made.violations == []


@pytest.fixture
def open_reader() -> Iterator[OpenReader]:
    """Opens readers of a Vault by token or JWT, as a target's settings and variables say."""
    with ExitStack() as closing:

        def open_one(
            url: str,
            token: str = "",
            jwt: str = "",
            *,
            role: str = "ci",
            limits: ExchangeLimits | None = None,
            unset: tuple[str, ...] = (),
            **more: Any,
        ) -> VaultReader:
            block = {"address": url, "allow": ["*"], **more}
            variables = {}
            if token:
                block["token"], variables[TOKEN_VARIABLE] = {"env": TOKEN_VARIABLE}, token
            if jwt:
                block["jwt"] = {"role": role, "token": {"env": JWT_VARIABLE}}
                block["jwt"]["mount"] = more.get("jwt_mount", "jwt")
                variables[JWT_VARIABLE] = jwt

            def resolve(ref: SecretRef) -> Sensitive:
                if ref.name not in variables or ref.name in unset:
                    raise SecretUnavailable.from_summary("Secret", f"{ref.name} is not set")
                return Sensitive(variables[ref.name])

            settings = build_settings_of_valid_block(block)
            route = build_route_with_environment_proxies_and_tls(
                settings.origin, more.get("ca_file") or None
            )
            exchanger = HttpExchanger(route, limits, sleep=lambda _seconds: None)
            closing.callback(exchanger.close)
            return VaultReader(settings, exchanger.send_request, resolve)

        yield open_one

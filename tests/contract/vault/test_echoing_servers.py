"""A Vault that repeats what it was sent: in errors, headers, key names and redirects.

Neither the value, nor the token, nor the JWT is in a finding, a traceback, a repr or a log.
"""

from __future__ import annotations

import json
import logging
import traceback
from functools import partial

import pytest
from e2e.scenarios.canaries import forms
from vault import jwts
from vault.echoes import VALUE, WAYS, build_echo
from vault.stand_in import StandInVault

from synapse_apply.client.http.exchange import ExchangeLimits
from synapse_apply.client.http.pacing import Backoff
from synapse_apply.model.errors import SecretUnavailable

TOKEN = "hvs.cAn4ry-token-6666"
ONCE = ExchangeLimits(backoff=Backoff(max_repeats=0))


@pytest.mark.parametrize("status", [200, 307, 400, 403, 404, 429, 500, 503])
@pytest.mark.parametrize("how", WAYS)
def test_nothing_of_it_is_told(open_reader, caplog, how, status):
    """With a token, and with a JWT; of the login, and of the read behind it."""
    jwt = jwts.sign()
    written, texts = [], {VALUE}

    def echo(request):
        sent = json.loads(request.body)["jwt"] if request.body else request.headers["x-vault-token"]
        texts.add(sent)
        return build_echo(how, status, [VALUE, sent])

    def echo_behind_login(request):
        return None if request.path.endswith("/login") else echo(request)

    with caplog.at_level(logging.DEBUG), StandInVault() as vault:
        vault.make_role("ci", "*")
        for credential, override in (
            ({"token": TOKEN}, echo),
            ({"jwt": jwt}, echo),
            ({"jwt": jwt}, echo_behind_login),
        ):
            vault.override = override
            reader = open_reader(vault.url, **credential, limits=ONCE)
            for ask in (
                partial(reader.require_value_of_key, "kv/raw-data", "nothing"),
                partial(reader.require_value_of_key, "kv/raw-data", "nothing", 1),
                reader.log_in_and_check_token,
                reader.close,
            ):
                try:
                    written.append(repr(ask()))
                except SecretUnavailable as failure:
                    written += [*traceback.format_exception(failure), repr(failure.diagnostics)]
            written.append(repr(vars(reader)))
    told = ("".join(written) + caplog.text).encode()
    assert "Vault: " in caplog.text
    assert len(texts) == 4
    assert not [text for text in texts if any(form in told for form in forms(text))]


def test_names_of_keys_are_not_told(open_reader):
    """They are words of the server: the JWT in pieces, a token in hexadecimal."""
    jwt = jwts.sign()
    with StandInVault() as vault:
        vault.make_role("ci", "*")
        pieces = [jwt[start : start + 7] for start in range(0, len(jwt), 7)]
        vault.put("kv/raw-data", dict.fromkeys((*pieces, TOKEN.encode().hex()), VALUE))
        for credential in {"token": vault.make_token("*")}, {"jwt": jwt}:
            reader = open_reader(vault.url, **credential, limits=ONCE)
            with pytest.raises(SecretUnavailable) as failure:
                reader.require_value_of_key("kv/raw-data", "nothing")
            (finding,) = failure.value.diagnostics
            assert finding.detail == "kv/raw-data has no key nothing"
            assert not [piece for piece in pieces[:-1] if piece in repr(finding)]
            assert TOKEN.encode().hex() not in repr(finding)


def test_what_is_kept_in_memory_shows_nothing(open_reader):
    """Nor does what a debugger or a crash report prints of the reader after a good read."""
    with StandInVault() as vault:
        vault.make_role("ci", "*")
        vault.put("kv/raw-data", {"secret": VALUE})
        reader = open_reader(vault.url, jwt=jwts.sign())
        value = reader.require_value_of_key("kv/raw-data", "secret")
        (token,) = vault.tokens
        assert value.reveal() == VALUE
        told = f"{value} {value!r} {vars(reader)}".encode()
        assert not any(form in told for text in (VALUE, token) for form in forms(text))

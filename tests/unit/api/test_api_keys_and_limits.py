"""Keys, tokens, limits and ids, without a server."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import time

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from recon3d_api.auth.keys import KeyRing, KeysError, digest_of, new_key, parse_keys
from recon3d_api.auth.limits import AtOnce, LimitedError, Rate
from recon3d_api.auth.oidc import Oidc
from recon3d_api.names import ALPHABET, NAME, id_of, key_digest, random_id
from recon3d_api.settings import Settings
from recon3d_contract.environment import SettingsError

ENV = {"RECON3D_STORE": "/store", "RECON3D_ID_SECRET": "0123456789abcdef", "RECON3D_AUTH": "none"}


def test_a_key_is_known_by_its_hash_only_and_ends_with_its_day(tmp_path):
    key, line = new_key("alice")
    assert key not in line
    path = tmp_path / "keys"
    path.write_text(f"# our people\n\n{line}  scope=namespace  expires=2026-03-01\n")
    day = dt.date(2026, 3, 1)
    ring = KeyRing(path, lambda: day)
    found = ring.principal(key)
    assert found is not None
    assert (found.name, found.namespace_scope) == ("alice", True)
    assert ring.principal(key + "x") is None
    day = dt.date(2026, 3, 2)
    assert ring.principal(key) is None


@pytest.mark.parametrize(
    "line",
    ["alice", "alice sha256:12", f"-x sha256:{'0' * 64}", f"a sha256:{'0' * 64} scope=all", f"a sha256:{'0' * 64} x"],
)
def test_a_wrong_line_is_told_with_its_number(line):
    with pytest.raises(KeysError, match="line 2"):
        parse_keys(f"# first\n{line}\n")


def test_a_rate_lets_a_burst_through_and_says_when_to_come_back():
    now = [0.0]
    rate = Rate(2.0, 3, lambda: now[0])
    for _ in range(3):
        rate.take("alice")
    with pytest.raises(LimitedError) as error:
        rate.take("alice")
    assert error.value.retry_after_s == 1
    rate.take("bob")
    now[0] = 0.5
    rate.take("alice")


def test_at_once_counts_what_goes_on():
    both = AtOnce(1, "uploads")
    with both.one("alice"), both.one("bob"), pytest.raises(LimitedError), both.one("alice"):
        pass
    with both.one("alice"):
        pass


def test_ids_are_eight_letters_that_nobody_mixes_up():
    ids = {random_id() for _ in range(200)} | {id_of(key_digest("s" * 16, "alice", str(n))) for n in range(200)}
    assert len(ids) == 400
    assert all(len(each) == 8 and set(each) <= set(ALPHABET) and NAME.fullmatch(each) for each in ids)
    assert not set("01ilo") & set(ALPHABET)


def test_an_id_depends_on_the_secret_the_principal_and_the_key():
    told = {
        id_of(key_digest(*each))
        for each in (("s1" * 8, "a", "k"), ("s2" * 8, "a", "k"), ("s1" * 8, "b", "k"), ("s1" * 8, "a", "l"))
    }
    assert len(told) == 4
    assert key_digest("s", "ab", "c") != key_digest("s", "a", "bc")


def test_settings_tell_everything_wrong_at_once(tmp_path):
    with pytest.raises(SettingsError) as error:
        Settings.from_env({"RECON3D_PORT": "many", "RECON3D_AUTH": "maybe"})
    assert {re.split("[ :=]", line)[0] for line in str(error.value).splitlines()} == {
        "RECON3D_STORE", "RECON3D_ID_SECRET", "RECON3D_PORT",
    }  # fmt: skip
    secret = tmp_path / "secret"
    secret.write_text("a secret in a file\n")
    settings = Settings.from_env({**ENV, "RECON3D_ID_SECRET": "", "RECON3D_ID_SECRET_FILE": str(secret)})
    assert settings.id_secret == "a secret in a file"
    assert "a secret" not in repr(settings)


def test_no_keys_need_an_explicit_word():
    with pytest.raises(SettingsError, match="RECON3D_AUTH=none"):
        Settings.from_env({**ENV, "RECON3D_AUTH": ""})


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ISSUER = "https://issuer.example"


def oidc() -> Oidc:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("openid-configuration"):
            return httpx.Response(200, json={"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"})
        listed = jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
        return httpx.Response(200, json={"keys": [{**listed, "kid": "one", "use": "sig", "alg": "RS256"}]})

    settings = Settings.from_env(
        {
            **ENV,
            "RECON3D_OIDC_ISSUER": ISSUER,
            "RECON3D_OIDC_AUDIENCE": "recon3d",
            "RECON3D_OIDC_NAMESPACE_GROUP": "studio",
        }
    )
    return Oidc(settings, httpx.AsyncClient(transport=httpx.MockTransport(answer)))


def token(key=KEY, *, kid="one", **changes) -> str:
    claims = {"iss": ISSUER, "aud": "recon3d", "sub": "u-1", "exp": time.time() + 60, "groups": ["studio"], **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid})


def test_a_token_of_the_issuer_names_a_principal():
    found = asyncio.run(oidc().principal(token()))
    assert found is not None
    assert (found.name, found.namespace_scope) == ("oidc:u-1", True)
    assert asyncio.run(oidc().principal(token(groups=[]))).namespace_scope is False


@pytest.mark.parametrize(
    "wrong",
    [
        token(OTHER), token(kid="two"), token(aud="else"), token(iss="https://evil.example"), token(sub=None),
        token(exp=time.time() - 120), token(exp=None), "a.b.c",
        jwt.encode({"sub": "u-1"}, "x" * 32, algorithm="HS256", headers={"kid": "one"}),
    ],
)  # fmt: skip
def test_every_other_token_is_refused(wrong):
    assert asyncio.run(oidc().principal(wrong)) is None


def test_digests_are_sha256():
    assert digest_of("abc").startswith("ba7816bf")

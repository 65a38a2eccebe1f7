"""Tokens of real issuers over TLS: the API server's own (it is an OpenID provider of ServiceAccounts), and one that
rotates its keys, goes away, and lies about itself.
"""

from __future__ import annotations

import asyncio
import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from kubecluster.pki import Authority
from recon3d_api.auth import oidc
from recon3d_api.settings import Settings
from recon3d_contract.errors import Recon3dError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240, func_only=True)]
RBAC = "/apis/rbac.authorization.k8s.io/v1"


# --- a provider that is not ours


@pytest.fixture
def discovery(admin, plane) -> str:
    """Let everybody read the provider's documents, as an administrator does for outside verifiers."""
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole"}
    subject = {"kind": "Group", "name": "system:unauthenticated", "apiGroup": "rbac.authorization.k8s.io"}
    body = {
        "metadata": {"name": "oidc-reviewer"},
        "roleRef": {**role, "name": "system:service-account-issuer-discovery"},
        "subjects": [subject],
    }
    admin.ensure(f"{RBAC}/clusterrolebindings", body)
    return str(plane.server)


def account_token(admin, namespace: str, audience: str) -> str:
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    admin.ensure(accounts, {"metadata": {"name": "robot"}})
    spec = {"audiences": [audience], "expirationSeconds": 600}
    return str(admin.create(f"{accounts}/robot/token", {"spec": spec})["status"]["token"])


def test_the_clusters_own_tokens_are_principals(start_shim, admin, plane, namespace, discovery):
    shim = start_shim(
        RECON3D_OIDC_ISSUER=discovery,
        RECON3D_OIDC_AUDIENCE="recon3d",
        RECON3D_OIDC_CA=str(plane.authority.folder / "ca.crt"),
    )
    client = shim.client(None)

    def ask(token: str) -> Any:
        return client.post(
            "/jobs", json={"input": {"builtin": "example"}}, headers={"Authorization": f"Bearer {token}"}
        )

    token = account_token(admin, namespace, "recon3d")
    made = ask(token)
    assert made.status_code == 202, made.text
    job = made.json()["id"]
    seen = client.get(f"/jobs/{job}", headers={"Authorization": f"Bearer {token}"})
    assert seen.status_code == 200
    assert shim.client("alice").get(f"/jobs/{job}").status_code == 404, "a job of the token's principal only"
    assert ask(account_token(admin, namespace, "somebody-else")).status_code == 401
    head, body, signature = token.split(".")
    assert ask(f"{head}.{body}.{signature[:-6]}AAAAAA").status_code == 401


def test_without_trust_in_its_certificate_nobody_gets_in(start_shim, admin, namespace, discovery):
    shim = start_shim(RECON3D_OIDC_ISSUER=discovery, RECON3D_OIDC_AUDIENCE="recon3d")
    token = account_token(admin, namespace, "recon3d")
    answer = shim.client(None).get("/jobs", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["code"]) == (503, "CLUSTER_UNAVAILABLE")
    assert shim.client("alice").get("/jobs").status_code == 200, "keys do not need the issuer"


# --- a provider that changes


class Issuer:
    """Discovery and keys over HTTPS; tests change what it serves."""

    def __init__(self, authority: Authority) -> None:
        self.keys: dict[str, Any] = {}
        self.claims_to_be = ""
        self.away = False
        self.asked = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                found = outer.documents().get(self.path)
                body = json.dumps(found).encode()
                self.send_response(503 if outer.away else 200 if found else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Tests count what was asked."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("issuer", hosts=("127.0.0.1",)))
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"

    def documents(self) -> dict[str, Any]:
        listed = []
        for name, key in self.keys.items():
            algorithm = (
                jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
            )
            listed.append({**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig"})
        issuer = self.claims_to_be or self.url
        document = {"issuer": issuer, "jwks_uri": f"{self.url}/jwks"}
        return {"/.well-known/openid-configuration": document, "/jwks": {"keys": listed}}

    def token(self, kid: str, **changes: Any) -> str:
        key = self.keys[kid]
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        claims = {"iss": self.url, "aud": "recon3d", "sub": "u-1", "exp": time.time() + 60, **changes}
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    made = Issuer(Authority(tmp_path / "pki"))
    made.keys["one"] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    yield made
    made.close()


@pytest.fixture
def settings(issuer: Issuer, tmp_path: Path) -> Settings:
    env = {
        "RECON3D_STORE": "/store",
        "RECON3D_ID_SECRET": "0123456789abcdef",
        "RECON3D_OIDC_ISSUER": issuer.url,
        "RECON3D_OIDC_AUDIENCE": "recon3d",
        "RECON3D_OIDC_CA": str(tmp_path / "pki" / "ca.crt"),
    }
    return Settings.from_env(env)


async def name_of(checker: oidc.Oidc, token: str) -> str | None:
    found = await checker.principal(token)
    return found.name if found else None


def test_keys_are_fetched_once_and_a_new_one_is_found_without_a_restart(issuer, settings, monkeypatch):
    async def tell() -> None:
        checker = oidc.Oidc(settings)
        assert await name_of(checker, issuer.token("one")) == "oidc:u-1"
        assert await name_of(checker, issuer.token("one", sub="u-2")) == "oidc:u-2"
        assert issuer.asked == 2, "discovery and keys, once"
        old = issuer.token("one")
        issuer.keys = {"two": ec.generate_private_key(ec.SECP256R1())}
        assert await name_of(checker, issuer.token("two")) is None, "asked a moment ago"
        monkeypatch.setattr(oidc, "_AGAIN_S", 0.0)
        assert await name_of(checker, issuer.token("two")) == "oidc:u-1"
        assert await name_of(checker, old) is None, "the issuer no longer stands for it"

    asyncio.run(tell())


def test_many_unknown_keys_at_once_ask_the_issuer_once(issuer, settings):
    issuer.keys["evil"] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = issuer.token("evil")
    del issuer.keys["evil"]

    async def tell() -> None:
        checker = oidc.Oidc(settings)
        assert await asyncio.gather(*(name_of(checker, forged) for _ in range(50))) == [None] * 50
        assert issuer.asked == 2

    asyncio.run(tell())


def test_an_issuer_that_is_away_is_told_and_known_keys_go_on(issuer, settings, monkeypatch):
    monkeypatch.setattr(oidc, "_AGAIN_S", 0.0)
    monkeypatch.setattr(oidc, "_KEEP_S", 0.0)

    async def tell() -> None:
        checker = oidc.Oidc(settings)
        issuer.away = True
        with pytest.raises(Recon3dError) as error:
            await checker.principal(issuer.token("one"))
        assert error.value.code == "CLUSTER_UNAVAILABLE"
        issuer.away = False
        assert await name_of(checker, issuer.token("one")) == "oidc:u-1"
        issuer.away = True
        assert await name_of(checker, issuer.token("one")) == "oidc:u-1"

    asyncio.run(tell())


def test_a_document_of_another_issuer_is_not_believed(issuer, settings):
    issuer.claims_to_be = "https://evil.example"

    async def tell() -> None:
        with pytest.raises(Recon3dError):
            await oidc.Oidc(settings).principal(issuer.token("one"))

    asyncio.run(tell())

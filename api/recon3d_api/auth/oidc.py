"""OIDC bearer tokens: signed by the configured issuer for our audience. Its keys are fetched, kept, and renewed."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

import httpx
import jwt
from recon3d_contract.errors import Code, Recon3dError

from recon3d_api.auth.principal import Principal
from recon3d_api.settings import Settings

_LOG: Final = logging.getLogger(__name__)
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
_KEEP_S: Final = 3600.0
_AGAIN_S: Final = 10.0
"""An unknown key id asks the issuer anew, but not more often than this."""
_LEEWAY_S: Final = 30.0
_TIMEOUT_S: Final = 10.0


class Oidc:
    """Checks tokens of one issuer."""

    def __init__(self, settings: Settings, client: httpx.AsyncClient | None = None) -> None:
        """Use `client` for the issuer's documents; tests bring their own."""
        self._settings = settings
        self._client = client or httpx.AsyncClient(timeout=_TIMEOUT_S)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = -_KEEP_S
        self._lock = asyncio.Lock()

    async def principal(self, token: str) -> Principal | None:
        """Return who the token stands for; None if it is not accepted. CLUSTER_UNAVAILABLE without the issuer."""
        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(str(header.get("kid") or ""))
            if key is None or header.get("alg") not in _ALGORITHMS:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=[str(header["alg"])],
                audience=self._settings.oidc_audience,
                issuer=self._settings.oidc_issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            _LOG.info("a token is refused: %s", type(error).__name__)
            return None
        return self._named(claims)

    def _named(self, claims: dict[str, Any]) -> Principal | None:
        name = claims.get(self._settings.oidc_claim)
        if not isinstance(name, str) or not 0 < len(name) <= 200:
            return None
        groups = claims.get("groups")
        wanted = self._settings.oidc_namespace_group
        scope = bool(wanted) and isinstance(groups, list) and wanted in groups
        return Principal(f"oidc:{name}", scope)

    async def _key(self, kid: str) -> jwt.PyJWK | None:
        age = time.monotonic() - self._fetched
        if age > _KEEP_S or (kid not in self._keys and age > _AGAIN_S):
            async with self._lock:
                if time.monotonic() - self._fetched >= min(age, _AGAIN_S):
                    await self._fetch()
        return self._keys.get(kid)

    async def _fetch(self) -> None:
        issuer = self._settings.oidc_issuer.rstrip("/")
        try:
            found = (await self._client.get(f"{issuer}/.well-known/openid-configuration")).raise_for_status().json()
            address = str(found["jwks_uri"])
            if not address.startswith("https://"):
                raise ValueError("jwks_uri is no https address")
            listed = (await self._client.get(address)).raise_for_status().json()
            keys = jwt.PyJWKSet.from_dict(listed).keys
        except (httpx.HTTPError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
            _LOG.warning("the issuer's keys cannot be had: %s", error)
            if self._keys:
                return
            raise Recon3dError(Code.CLUSTER_UNAVAILABLE, "The token's issuer does not answer.") from None
        self._keys = {str(key.key_id or ""): key for key in keys}
        self._fetched = time.monotonic()

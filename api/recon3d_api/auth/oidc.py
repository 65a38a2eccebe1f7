"""OIDC bearer tokens: signed by the configured issuer for our audience. Its keys are fetched, kept, and renewed."""

from __future__ import annotations

import asyncio
import logging
import ssl
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
"""An unknown key id, or a failure, asks the issuer anew, but not more often than this."""
_LEEWAY_S: Final = 30.0
_TIMEOUT_S: Final = 10.0


class Oidc:
    """Checks tokens of one issuer."""

    def __init__(self, settings: Settings, client: httpx.AsyncClient | None = None) -> None:
        """Use `client` for the issuer's documents; tests bring their own."""
        self._settings = settings
        trusted = ssl.create_default_context(cafile=settings.oidc_ca) if settings.oidc_ca else True
        self._client = client or httpx.AsyncClient(timeout=_TIMEOUT_S, verify=trusted)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = self._tried = float("-inf")
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
        if self._due(kid) or self._lock.locked():
            async with self._lock:  # whoever comes while others ask waits for their answer
                if self._due(kid):
                    await self._fetch()
        if not self._keys:
            raise Recon3dError(Code.CLUSTER_UNAVAILABLE, "The token's issuer does not answer.")
        return self._keys.get(kid)

    def _due(self, kid: str) -> bool:
        """Whether to ask the issuer: for keys that are old or lack this one, if it was not asked a moment ago."""
        now = time.monotonic()
        return (now - self._fetched > _KEEP_S or kid not in self._keys) and now - self._tried > _AGAIN_S

    async def _fetch(self) -> None:
        """Renew the keys; those of before stay where the issuer does not answer."""
        self._tried = time.monotonic()
        issuer = self._settings.oidc_issuer.rstrip("/")
        try:
            found = (await self._client.get(f"{issuer}/.well-known/openid-configuration")).raise_for_status().json()
            if found["issuer"] != self._settings.oidc_issuer:
                raise ValueError("it says that it is another issuer")
            address = str(found["jwks_uri"])
            if not address.startswith("https://"):
                raise ValueError("jwks_uri is no https address")
            listed = (await self._client.get(address)).raise_for_status().json()
            keys = jwt.PyJWKSet.from_dict(listed).keys
        except (httpx.HTTPError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
            _LOG.warning("the issuer's keys cannot be had: %s: %s", type(error).__name__, error)
            return
        self._keys = {str(key.key_id or ""): key for key in keys}
        self._fetched = time.monotonic()

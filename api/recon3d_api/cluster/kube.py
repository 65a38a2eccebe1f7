"""The port over the API server, with plain dicts and one connection pool.

kubernetes.aio finds the credentials and renews them; requests are our own, since its models cost more than they do.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from recon3d_contract.resource import GROUP, KIND, PLURAL, VERSION

from recon3d_api.cluster.port import ClusterError, Object
from recon3d_api.settings import Settings

CAPACITY: Final = "recon3d-capacity"
_TIMEOUT_S: Final = 15.0
_WATCH_S: Final = 300
_STALL_S: Final = 70.0
"""A bookmark comes every minute; a watch that is silent for longer is dead."""
_CHUNK: Final = 500
_LINE: Final = 4 * 1024 * 1024


async def load_configuration() -> Configuration:
    """Return the client's configuration: the Pod's ServiceAccount, else the kubeconfig."""
    configuration = Configuration()
    try:
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    return configuration


class KubeCluster:
    """Implements recon3d_api.cluster.port.Cluster; use it as an asynchronous context."""

    def __init__(self, configuration: Configuration, settings: Settings) -> None:
        self._configuration = configuration
        namespace = settings.jobs_namespace
        self._jobs = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}"
        self._capacity = f"/api/v1/namespaces/{settings.capacity_namespace or namespace}/configmaps/{CAPACITY}"

    async def __aenter__(self) -> KubeCluster:
        """Open the pool."""
        self._auth = ApiClient(self._configuration)
        connector = aiohttp.TCPConnector(ssl=self._auth.rest_client.ssl_context, limit=64, keepalive_timeout=30)
        self._session = aiohttp.ClientSession(connector=connector, read_bufsize=_LINE)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self._session.close()
        await self._auth.close()  # type: ignore[no-untyped-call]

    async def create_job(self, job: Object) -> Object:
        """See Cluster.create_job."""
        return await self._request("POST", self._jobs, job)

    async def get_job(self, name: str) -> Object:
        """See Cluster.get_job."""
        return await self._request("GET", f"{self._jobs}/{name}")

    async def patch_job(self, name: str, patch: Mapping[str, Any]) -> Object:
        """See Cluster.patch_job."""
        return await self._request("PATCH", f"{self._jobs}/{name}", patch)

    async def delete_job(self, name: str, uid: str) -> None:
        """See Cluster.delete_job."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        await self._request("DELETE", f"{self._jobs}/{name}", {"apiVersion": "v1", "kind": "DeleteOptions", **options})

    async def list_jobs(self) -> tuple[list[Object], str]:
        """See Cluster.list_jobs; in parts, so that the API server never holds them all."""
        items: list[Object] = []
        parameters = {"limit": str(_CHUNK)}
        while True:
            try:
                answer = await self._request("GET", self._jobs, parameters=parameters)
            except ClusterError as error:
                if error.status != 410 or "continue" not in parameters:
                    raise
                items, parameters = [], {"limit": str(_CHUNK)}  # the list grew too old between two parts
                continue
            items += answer["items"]
            more = answer["metadata"].get("continue")
            if not more:
                return items, str(answer["metadata"]["resourceVersion"])
            parameters = {"limit": str(_CHUNK), "continue": more}

    async def watch_jobs(self, version: str) -> AsyncIterator[tuple[str, Object]]:
        """See Cluster.watch_jobs."""
        parameters = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_S),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_S, sock_read=_STALL_S)
        try:
            async with self._session.get(
                self._url(self._jobs), params=parameters, headers=await self._headers(), timeout=timeout
            ) as response:
                if response.status != 200:
                    raise _error(response.status, await response.read())
                async for line in response.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise ClusterError(
                            int(status.get("code") or 500), str(status.get("message")), str(status.get("reason"))
                        )
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterError(0, f"the watch broke off ({type(error).__name__})") from error

    async def capacity(self) -> Mapping[str, str] | None:
        """See Cluster.capacity."""
        try:
            answer = await self._request("GET", self._capacity)
        except ClusterError as error:
            if error.status in (403, 404):
                return None
            raise
        return dict(answer.get("data") or {})

    def _url(self, path: str) -> str:
        return str(self._configuration.host).rstrip("/") + path

    async def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "recon3d-api"}
        await self._auth.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        return headers

    async def _request(
        self, method: str, path: str, body: Any = None, *, parameters: Mapping[str, str] | None = None
    ) -> Object:
        headers = await self._headers()
        patch = method == "PATCH"
        headers["Content-Type"] = "application/merge-patch+json" if patch else "application/json"
        if method == "POST":
            body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, **body}
        try:
            async with self._session.request(
                method,
                self._url(path),
                params=parameters,
                data=None if body is None else json.dumps(body),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
            ) as response:
                data = await response.read()
                if 200 <= response.status < 300:
                    return dict(json.loads(data))
                raise _error(response.status, data)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterError(0, f"no answer from the API server ({type(error).__name__})") from error


def _error(status: int, data: bytes) -> ClusterError:
    try:
        answer = json.loads(data)
        return ClusterError(status, str(answer.get("message", "")), str(answer.get("reason", "")))
    except (ValueError, AttributeError):
        return ClusterError(status, data[:500].decode(errors="replace"))

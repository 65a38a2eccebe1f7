"""The port over kubernetes.aio, with plain dicts: the client's models cost more than the requests."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from kubernetes.aio.client import ApiClient
from recon3d_contract.resource import GROUP, KIND, PLURAL, VERSION

from recon3d_operator.cluster.port import Object
from recon3d_operator.cluster.refusals import ApiError, Kind

_TIMEOUT_S: Final = 30


class KubeCluster:
    """Implements recon3d_operator.cluster.port.Cluster; `api` is configured and closed by the caller."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._host = str(api.configuration.host).rstrip("/")

    async def request(self, method: str, path: str, body: Any = None) -> Object:
        """Return the answer to one request; raise ApiError for anything but success."""
        headers = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "recon3d-operator"}
        queries: list[tuple[str, str]] = []
        url = self._host + path
        await self._api.update_params_for_auth(headers, queries, ["BearerToken"], url, method, body)
        try:
            response = await self._api.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=_TIMEOUT_S
            )
            data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, f"no answer from the API server ({type(error).__name__})") from error
        if 200 <= response.status < 300:
            return dict(json.loads(data))
        raise _error(response.status, data, response.headers.get("Retry-After"))

    async def create_pod(self, namespace: str, pod: Object) -> Object:
        """See Cluster.create_pod."""
        return await self.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod)

    async def get_pod(self, namespace: str, name: str) -> Object:
        """See Cluster.get_pod."""
        return await self.request("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")

    async def delete_pod(self, namespace: str, name: str, uid: str, grace_s: int | None = None) -> None:
        """See Cluster.delete_pod."""
        options: Object = {"preconditions": {"uid": uid}}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        await self._delete(f"/api/v1/namespaces/{namespace}/pods/{name}", options)

    async def get_job(self, namespace: str, name: str) -> Object:
        """See Cluster.get_job."""
        return await self.request("GET", _job_path(namespace, name))

    async def write_status(self, job: Object, status: Object) -> Object:
        """See Cluster.write_status."""
        meta = job["metadata"]
        # Only the status of what is sent counts here; the spec travels along because the schema requires one.
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {key: meta[key] for key in ("name", "namespace", "uid", "resourceVersion")},
            "spec": job["spec"],
            "status": status,
        }
        return await self.request("PUT", f"{_job_path(meta['namespace'], meta['name'])}/status", body)

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        """See Cluster.delete_job."""
        await self._delete(
            _job_path(namespace, name), {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        )

    async def get_quota(self, namespace: str, name: str) -> Object:
        """See Cluster.get_quota."""
        return await self.request("GET", f"/api/v1/namespaces/{namespace}/resourcequotas/{name}")

    async def get_claim(self, namespace: str, name: str) -> Object:
        """See Cluster.get_claim."""
        return await self.request("GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{quote(name)}")

    async def get_secret(self, namespace: str, name: str) -> Object:
        """See Cluster.get_secret."""
        return await self.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{quote(name)}")

    async def create_event(self, namespace: str, event: Object) -> None:
        """See Cluster.create_event."""
        await self.request("POST", f"/api/v1/namespaces/{namespace}/events", event)

    async def _delete(self, path: str, options: Object) -> None:
        try:
            await self.request("DELETE", path, {"apiVersion": "v1", "kind": "DeleteOptions", **options})
        except ApiError as error:
            # A conflict here is the uid's: the name now belongs to another object.
            if error.kind not in (Kind.GONE, Kind.CONFLICT):
                raise


def _job_path(namespace: str, name: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}/{name}"


def _error(status: int, data: bytes, retry_after: str | None) -> ApiError:
    try:
        answer = json.loads(data)
        message, reason = str(answer.get("message", "")), str(answer.get("reason", ""))
    except (ValueError, AttributeError):
        message, reason = data[:500].decode(errors="replace"), ""
    delay = float(retry_after) if retry_after and retry_after.isdecimal() else None
    return ApiError(status, message, reason, delay)

"""What must hold before the operator begins: the CRD is there and new enough, and its rights suffice.

A missing GPU or quota never stops it: those can come later.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from recon3d_contract.resource import GROUP, PLURAL, VERSION

from recon3d_operator.cluster.kube import KubeCluster
from recon3d_operator.cluster.refusals import ApiError, Kind
from recon3d_operator.settings import Settings

_LOG: Final = logging.getLogger(__name__)
_WAIT_S: Final = 60.0
_PAUSE_S: Final = 1.0
_NEEDED_FIELDS: Final = ("queuePosition", "cancellation", "attempts", "summary", "artifacts")
RIGHTS: Final[tuple[tuple[str, str, str, str], ...]] = (
    *((verb, GROUP, PLURAL, "") for verb in ("get", "list", "watch", "delete")),
    ("update", GROUP, PLURAL, "status"),
    *((verb, "", "pods", "") for verb in ("get", "list", "watch", "create", "delete")),
    *((verb, "", "resourcequotas", "") for verb in ("get", "list", "watch")),
    ("get", "", "persistentvolumeclaims", ""),
    ("create", "", "events", ""),
)
"""(verb, group, resource, subresource): all that the operator does, in each of its namespaces."""


LEASE_RIGHTS: Final = tuple((verb, "coordination.k8s.io", "leases", "") for verb in ("get", "create", "update"))
"""In the Lease's namespace, if there is one."""
CAPACITY_RIGHTS: Final = (
    *((verb, "", "configmaps", "") for verb in ("get", "create", "update")),
    ("list", "", "nodes", ""),
)
"""To tell what the cluster offers: in the jobs' namespaces, and for the whole cluster. It works without them."""
WEBHOOK_RIGHTS: Final = (("get", "", "secrets", ""),)
"""In each of the jobs' namespaces, if jobs may have webhooks."""
PROGRESS_RIGHTS: Final = (("create", "authentication.k8s.io", "tokenreviews", ""),)
"""For the whole cluster, if progress is served."""


class StartError(RuntimeError):
    """A line for everything that is missing."""


async def check(cluster: KubeCluster, settings: Settings) -> None:
    """Return if the operator can work. Raises StartError.

    An API server that is away is waited for; and one that has just come back answers for a moment as if nobody had any
    rights, so what is missing then is looked at again.
    """
    end, away = time.monotonic() + _WAIT_S, False
    while True:
        try:
            return await _check(cluster, settings)
        except ApiError as error:
            problem = StartError(f"the API server does not answer as it should: {error}")
            away = away or error.kind is Kind.RETRY
        except StartError as error:
            problem = error
        if not away or time.monotonic() > end:
            raise problem
        _LOG.warning("the API server is waited for: %s", problem)
        await asyncio.sleep(_PAUSE_S)


async def _check(cluster: KubeCluster, settings: Settings) -> None:
    problems = await _missing_crd(cluster)
    rights = (*RIGHTS, *(WEBHOOK_RIGHTS if settings.webhooks else ()))
    wanted = [(namespace, right, "") for namespace in settings.namespaces or ("",) for right in rights]
    if settings.lease_namespace:  # get and update may be limited to the one Lease; a create cannot be
        names = ((right, "" if right[0] == "create" else settings.lease_name) for right in LEASE_RIGHTS)
        wanted += [(settings.lease_namespace, right, name) for right, name in names]
    wanted += [("", right, "") for right in PROGRESS_RIGHTS if settings.progress_cert]
    answers = await asyncio.gather(*(_may(cluster, namespace, right, name) for namespace, right, name in wanted))
    for (namespace, (verb, group, resource, subresource), _), allowed in zip(wanted, answers, strict=True):
        if not allowed:
            what = f"{resource}/{subresource}" if subresource else resource
            where = f"in the namespace {namespace}" if namespace else "in all namespaces"
            problems.append(f"the operator may not {verb} {what}{f'.{group}' if group else ''} {where}")
    if problems:
        raise StartError("\n".join(problems))


async def _missing_crd(cluster: KubeCluster) -> list[str]:
    name = f"{PLURAL}.{GROUP}"
    try:
        crd = await cluster.request("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    except ApiError as error:
        if error.kind is Kind.GONE:
            return [f"the CustomResourceDefinition {name} is not installed; apply crds/reconstructionjobs.yaml"]
        if error.status == 403:
            return [f"the operator may not get the CustomResourceDefinition {name}"]
        raise
    for version in crd["spec"]["versions"]:
        if version["name"] == VERSION and version["served"]:
            properties = version["schema"]["openAPIV3Schema"]["properties"]
            known = properties.get("status", {}).get("properties", {})
            missing = [field for field in _NEEDED_FIELDS if field not in known]
            text = f"the CustomResourceDefinition {name} is older than this operator"
            lacks = f"it lacks status.{', status.'.join(missing)}"
            return [f"{text}: {lacks}; apply crds/reconstructionjobs.yaml"] if missing else []
    return [f"the CustomResourceDefinition {name} does not serve {VERSION}; apply crds/reconstructionjobs.yaml"]


async def _may(cluster: KubeCluster, namespace: str, right: tuple[str, str, str, str], name: str) -> bool:
    verb, group, resource, subresource = right
    attributes = {
        "namespace": namespace,
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "name": name,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await cluster.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    return bool(answer["status"]["allowed"])

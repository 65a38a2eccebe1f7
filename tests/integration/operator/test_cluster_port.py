"""One contract for the port to the cluster: the fake and the real API server answer every case alike."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubecluster.client import JOBS, Client, eventually
from kubecluster.world import GPU, job_spec
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from recon3d_operator.cluster.fake import FakeCluster
from recon3d_operator.cluster.kube import KubeCluster
from recon3d_operator.cluster.port import Cluster
from recon3d_operator.cluster.refusals import ApiError, Kind
from recon3d_operator.pod import build_pod
from recon3d_operator.settings import Settings

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120, func_only=True)]
SETTINGS = Settings(runner_image="registry.example/runner:1", store="s3://results")
_numbers = itertools.count(1)


class Backend:
    """A back end with an empty namespace, and what users and controllers do in it."""

    def __init__(self, cluster: Cluster, namespace: str, run: Callable[[Any], Any]) -> None:
        self.cluster, self.namespace, self._run = cluster, namespace, run

    def call(self, name: str, *arguments: Any) -> Any:
        return self._run(getattr(self.cluster, name)(*arguments))

    def kind_of(self, name: str, *arguments: Any) -> Kind:
        with pytest.raises(ApiError) as caught:
            self.call(name, *arguments)
        return caught.value.kind

    def job(self, name: str = "chair") -> dict[str, Any]:
        raise NotImplementedError

    def quota(self, count: int) -> None:
        raise NotImplementedError

    def exists(self, pod: str) -> bool:
        try:
            self.call("get_pod", self.namespace, pod)
        except ApiError as error:
            if error.kind is not Kind.GONE:
                raise
            return False
        return True


class FakeBackend(Backend):
    cluster: FakeCluster

    def job(self, name: str = "chair") -> dict[str, Any]:
        return self.cluster.add_job(self.namespace, name, job_spec())

    def quota(self, count: int) -> None:
        self.cluster.set_quota(self.namespace, {GPU: str(count)})


class RealBackend(Backend):
    admin: Client

    def job(self, name: str = "chair") -> dict[str, Any]:
        body = {"apiVersion": "recon3d.io/v1alpha1", "kind": "ReconstructionJob", "metadata": {"name": name}}
        path = f"{JOBS}/namespaces/{self.namespace}/reconstructionjobs"
        return self.admin.create(path, {**body, "spec": {"input": {"builtin": "example"}}})

    def quota(self, count: int) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/resourcequotas"
        self.admin.create(path, {"metadata": {"name": "gpu"}, "spec": {"hard": {GPU: str(count)}}})
        eventually(lambda: self.admin.get(f"{path}/gpu").get("status", {}).get("used"), what="the quota is counted")


@pytest.fixture(params=["fake", "real"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    loop = asyncio.new_event_loop()
    place = f"port-{next(_numbers)}"
    try:
        if request.param == "fake":
            yield FakeBackend(FakeCluster(), place, loop.run_until_complete)
            return
        admin: Client = request.getfixturevalue("admin")
        admin.namespace(place, None)
        configuration = Configuration()

        async def connect() -> ApiClient:
            file = str(request.getfixturevalue("operator_kubeconfig"))
            await config.load_kube_config(config_file=file, client_configuration=configuration)
            return ApiClient(configuration)

        api = loop.run_until_complete(connect())
        try:
            made = RealBackend(KubeCluster(api), place, loop.run_until_complete)
            made.admin = admin
            yield made
        finally:
            loop.run_until_complete(api.close())
            admin.delete(f"/api/v1/namespaces/{place}")
    finally:
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()


def test_a_pod_is_created_once(backend):
    job = backend.job()
    pod = build_pod(job, 1, SETTINGS)
    created = backend.call("create_pod", backend.namespace, copy.deepcopy(pod))
    assert created["metadata"]["uid"]
    assert created["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    assert created["status"]["phase"] == "Pending"
    assert backend.kind_of("create_pod", backend.namespace, pod) is Kind.EXISTS
    found = backend.call("get_pod", backend.namespace, pod["metadata"]["name"])
    assert found["metadata"]["uid"] == created["metadata"]["uid"]


def test_a_full_quota_refuses(backend):
    backend.quota(1)
    job = backend.job()
    backend.call("create_pod", backend.namespace, build_pod(job, 1, SETTINGS))
    with pytest.raises(ApiError) as caught:
        backend.call("create_pod", backend.namespace, build_pod(job, 2, SETTINGS))
    assert (caught.value.kind, caught.value.row.reason) == (Kind.WAIT, "QuotaExceeded")
    assert "used: requests.nvidia.com/gpu=1, limited: requests.nvidia.com/gpu=1" in caught.value.message


def test_only_the_very_pod_is_deleted(backend):
    job = backend.job()
    created = backend.call("create_pod", backend.namespace, build_pod(job, 1, SETTINGS))
    name, uid = created["metadata"]["name"], created["metadata"]["uid"]
    backend.call("delete_pod", backend.namespace, name, "00000000-0000-4000-8000-00000000dead")
    assert backend.exists(name)
    backend.call("delete_pod", backend.namespace, name, uid, 0)
    assert not backend.exists(name)
    backend.call("delete_pod", backend.namespace, name, uid)  # no error


def test_a_status_is_replaced_whole_and_only_at_its_version(backend):
    job = backend.job()
    first = backend.call("write_status", job, {"phase": "Queued", "queuePosition": 3, "waitingFor": "x"})
    assert first["status"] == {"phase": "Queued", "queuePosition": 3, "waitingFor": "x"}
    assert first["spec"]["engine"] == "nvdiffrec"
    assert backend.kind_of("write_status", job, {"phase": "Failed"}) is Kind.CONFLICT
    second = backend.call("write_status", first, {"phase": "Processing"})
    assert second["status"] == {"phase": "Processing"}
    assert backend.call("get_job", backend.namespace, "chair")["status"] == {"phase": "Processing"}
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])


def test_what_is_not_there_is_gone(backend):
    assert backend.kind_of("get_job", backend.namespace, "nobody") is Kind.GONE
    assert backend.kind_of("get_pod", backend.namespace, "nobody") is Kind.GONE
    assert backend.kind_of("get_claim", backend.namespace, "nobody") is Kind.GONE
    assert backend.kind_of("get_quota", backend.namespace, "nobody") is Kind.GONE
    backend.quota(3)
    assert backend.call("get_quota", backend.namespace, "gpu")["spec"]["hard"] == {GPU: "3"}


def test_only_the_very_job_is_deleted(backend):
    job = backend.job()
    backend.call("delete_job", backend.namespace, "chair", "00000000-0000-4000-8000-00000000dead")
    assert backend.call("get_job", backend.namespace, "chair")["metadata"]["uid"] == job["metadata"]["uid"]
    backend.call("delete_job", backend.namespace, "chair", job["metadata"]["uid"])
    assert backend.kind_of("get_job", backend.namespace, "chair") is Kind.GONE
    backend.call("delete_job", backend.namespace, "chair", job["metadata"]["uid"])  # no error


def test_an_event_is_recorded_in_its_namespace_only(backend):
    involved = {"kind": "ReconstructionJob", "namespace": backend.namespace, "name": "chair"}
    event = {"metadata": {"name": "e", "namespace": backend.namespace}, "involvedObject": involved, "reason": "R"}
    backend.call("create_event", backend.namespace, event)
    wrong = {**event, "metadata": {"name": "f", "namespace": "default"}}
    assert backend.kind_of("create_event", backend.namespace, wrong) is Kind.REFUSED

"""The start's checks, the Lease and its standby, health and metrics, progress over TLS with a real token."""

from __future__ import annotations

import json
import re
import signal
import ssl
import time
import urllib.error
import urllib.request

import pytest
from kubecluster.client import eventually
from recon3d_operator.startup import CAPACITY_RIGHTS, LEASE_RIGHTS, PROGRESS_RIGHTS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120, func_only=True)]
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture(scope="module", autouse=True)
def more_rights(admin):
    rules = [
        {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
        for verb, group, resource, _ in (*LEASE_RIGHTS, *PROGRESS_RIGHTS, *CAPACITY_RIGHTS)
    ]
    admin.ensure(f"{RBAC}/clusterroles", {"metadata": {"name": "more"}, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "more"}
    subject = {"kind": "User", "name": "recon3d-operator", "apiGroup": "rbac.authorization.k8s.io"}
    admin.ensure(f"{RBAC}/clusterrolebindings", {"metadata": {"name": "more"}, "roleRef": role, "subjects": [subject]})


def port_of(operator, what: str) -> int:
    found = eventually(lambda: re.search(rf"{what} on port (\d+)", operator.log.read_text()), what="it serves")
    return int(found.group(1))


def test_it_does_not_start_without_its_rights(plane, start_operator):
    operator = start_operator(KUBECONFIG=str(plane.user("somebody")))
    eventually(lambda: not operator.running(), what="it ends")
    assert operator.stop() == 3
    text = operator.log.read_text()
    assert "may not get the CustomResourceDefinition" in text
    assert "the operator may not create pods in all namespaces" in text


def test_it_does_not_start_with_wrong_settings(start_operator):
    operator = start_operator(RECON3D_STORE="/mnt", RECON3D_DEVICE="tpu")
    eventually(lambda: not operator.running(), what="it ends")
    assert operator.stop() == 2
    assert "RECON3D_DEVICE" in operator.log.read_text()
    assert "RECON3D_STORE" in operator.log.read_text()


def test_health_and_metrics(start_operator, jobs, namespace):
    operator = start_operator()
    port = port_of(operator, "metrics")
    place = namespace()
    jobs.create(place, "chair")
    jobs.complete(place, "chair")
    jobs.wait(place, "chair", "Completed")

    def read(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read().decode()

    assert read("/healthz") == read("/readyz") == "ok\n"
    text = eventually(lambda: t if "recon3d_jobs_ended_total{" in (t := read("/metrics")) else "", what="it is counted")
    assert 'recon3d_jobs_ended_total{code="",engine="nvdiffrec",phase="Completed"} 1.0' in text
    assert "\nrecon3d_queue_depth " in text
    assert "recon3d_reconcile_seconds_bucket" in text
    assert place not in text


def test_a_standby_takes_over_when_the_holder_is_killed(start_operator, jobs, namespace):
    lease = {"RECON3D_LEASE_NAMESPACE": "default"}
    first = start_operator(POD_NAME="a", **lease)
    eventually(lambda: "the lease is held as a" in first.log.read_text(), what="a holds the lease")
    second = start_operator(POD_NAME="b", **lease)
    port_of(second, "metrics")
    place = namespace()
    jobs.create(place, "one")
    jobs.wait(place, "one", "Queued")
    assert "is held as b" not in second.log.read_text()
    killed = time.monotonic()
    first.stop(signal.SIGKILL)
    jobs.create(place, "two")
    jobs.wait(place, "two", "Queued")
    assert time.monotonic() - killed < 20
    third = start_operator(POD_NAME="c", **lease)
    port_of(third, "metrics")
    stopped = time.monotonic()
    assert second.stop() == 0
    eventually(lambda: "is held as c" in third.log.read_text(), what="c holds it")
    assert time.monotonic() - stopped < 5, "a lease that was released is taken at once"


def test_a_restarted_container_takes_its_own_lease_at_once(start_operator, admin):
    lease = {"RECON3D_LEASE_NAMESPACE": "default", "RECON3D_LEASE_NAME": "own", "POD_NAME": "a"}
    first = start_operator(**lease)
    eventually(lambda: "is held as a" in first.log.read_text(), what="it holds the lease")
    first.stop(signal.SIGKILL)
    again = start_operator(**lease)
    eventually(lambda: "health and metrics" in again.log.read_text(), what="it stands by")
    eventually(lambda: "is held as a" in again.log.read_text(), seconds=3.0, what="it holds the lease again")


def test_a_holder_whose_lease_was_taken_ends(start_operator, admin):
    lease = {"RECON3D_LEASE_NAMESPACE": "default", "RECON3D_LEASE_NAME": "taken", "POD_NAME": "a"}
    operator = start_operator(**lease)
    eventually(lambda: "is held as a" in operator.log.read_text(), what="it holds the lease")
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/taken"
    admin.merge(path, {"spec": {"holderIdentity": "thief"}})
    eventually(lambda: not operator.running(), what="it ends")
    assert operator.stop() == 4
    assert admin.get(path)["spec"]["holderIdentity"] == "thief"


def test_progress_with_a_pods_own_token(start_operator, jobs, namespace, admin, plane):
    certificate, key = plane.authority.issue("progress.example", hosts=("localhost",))
    operator = start_operator(
        RECON3D_PROGRESS_CERT=str(certificate), RECON3D_PROGRESS_KEY=str(key), RECON3D_PROGRESS_PORT="0"
    )
    port = port_of(operator, "progress")
    place = namespace()
    jobs.create(place, "chair")
    jobs.run(place, "chair")
    jobs.wait(place, "chair", "Processing")
    pod = jobs.pod(place, "chair")

    def token(audience: str, bound: bool = True) -> str:
        reference = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        spec = {"audiences": [audience], "expirationSeconds": 600, **({"boundObjectRef": reference} if bound else {})}
        path = f"/api/v1/namespaces/{place}/serviceaccounts/recon3d-runner/token"
        return str(admin.create(path, {"spec": spec})["status"]["token"])

    context = ssl.create_default_context(cafile=str(plane.authority.folder / "ca.crt"))

    def post(text: str, percent: float) -> int:
        body = {"jobUid": jobs.get(place, "chair")["metadata"]["uid"], "stage": "fuse", "percent": percent}
        headers = {"Authorization": f"Bearer {text}", "Content-Type": "application/json"}
        url = f"https://localhost:{port}/progress"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=5, context=context) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert post(token("recon3d-progress"), 37.5) == 204
    eventually(lambda: jobs.status(place, "chair")["progress"]["percent"] == 37, what="it is in the status")
    assert jobs.status(place, "chair")["progress"]["stage"] == "fuse"
    assert post(token("someone-else"), 40) == 401
    assert post(token("recon3d-progress", bound=False), 40) == 401
    assert post("made.up.token", 40) == 401

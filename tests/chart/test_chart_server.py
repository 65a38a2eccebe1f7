"""The chart against a real API server: restricted Pod Security, rights, what stays and what goes."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from chart_world import CHART, CPU, pod_specs
from kubecluster.client import Client, Refused
from kubecluster.tools import tool

pytestmark = [pytest.mark.cluster, pytest.mark.needs("helm")]
GPU = ("-f", str(CHART / "values-rtx3090.yaml"), "--set=licenses.nvdiffrast.acceptNonCommercial=true")
FIRST = Path(__file__).parent / "fixtures/v0.1.0/recon3d-0.1.0.tgz"
FROZEN = {
    "recon3d-0.1.0.tgz": "b973ad8c249e07da373b6e361a29af18ac4484b03839946f4294abfae3af1736",
    "reconstructionjobs.yaml": "331f91a8706fe09b96d47200e1f8cf2553207cd77b80d9cb60ad777c75a28fe8",
}
JOBS = "/apis/recon3d.io/v1alpha1/namespaces/studio/reconstructionjobs"
KINDS = (
    "serviceaccounts", "configmaps", "secrets", "services", "persistentvolumeclaims", "resourcequotas",
    "deployments.apps", "cronjobs.batch", "roles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io",
    "networkpolicies.networking.k8s.io", "poddisruptionbudgets.policy", "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io", "priorityclasses.scheduling.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
)  # fmt: skip


def everything_of(admin: Client, plane: Any) -> set[str]:
    """Kind and name of all objects that belong to recon3d."""
    from kubecluster.binaries import ensure

    done = subprocess.run(
        [ensure(("kubectl",))["kubectl"], "get", ",".join(KINDS), "-n", "studio", "-o", "name",
         "-l", "app.kubernetes.io/part-of=recon3d"],
        env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.parametrize("values", [CPU, GPU], ids=["cpu", "gpu"])
def test_every_pod_is_admitted_where_only_restricted_ones_are(render, admin, values):
    specs = pod_specs(render(*values))
    assert len(specs) == 4
    for name, spec in specs.items():
        pod = {"metadata": {"name": name}, "spec": copy.deepcopy(spec)}
        # Its account need not be there for this question.
        pod["spec"].pop("serviceAccountName")
        admin.create("/api/v1/namespaces/studio/pods?dryRun=All", pod)
        del pod["spec"]["containers"][0]["securityContext"]
        with pytest.raises(Refused, match="violates PodSecurity"):
            admin.create("/api/v1/namespaces/studio/pods?dryRun=All", pod)


def test_the_server_accepts_every_object(release, admin, plane):
    release("install", *GPU, "--dry-run=server")
    release("install", *GPU)
    warned = admin.get("/apis/apps/v1/namespaces/studio/deployments")["items"]
    assert {item["metadata"]["name"] for item in warned} == {"one-recon3d-operator", "one-recon3d-api"}


def test_the_operator_s_account_may_do_what_the_operator_checks_and_no_more(release, admin):
    release("install", *CPU)
    user = "system:serviceaccount:studio:one-recon3d-operator"

    def may(verb: str, group: str, resource: str, namespace: str = "studio", name: str = "", sub: str = "") -> bool:
        attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name,
                      "subresource": sub}  # fmt: skip
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                "spec": {"user": user, "resourceAttributes": attributes}}  # fmt: skip
        return bool(admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", body)["status"]["allowed"])

    from recon3d_operator.startup import RIGHTS

    assert all(may(verb, group, resource, sub=sub) for verb, group, resource, sub in RIGHTS)
    assert may("update", "coordination.k8s.io", "leases", name="one-recon3d-operator")
    refused = [
        ("get", "", "secrets"), ("list", "", "secrets"), ("create", "apps", "deployments"), ("get", "", "nodes"),
        ("update", "recon3d.io", "reconstructionjobs"), ("create", "recon3d.io", "reconstructionjobs"),
        ("patch", "", "pods"), ("create", "rbac.authorization.k8s.io", "rolebindings"),
    ]  # fmt: skip
    assert not [each for each in refused if may(*each)]
    assert not may("list", "", "pods", namespace="kube-system")
    assert not may("update", "coordination.k8s.io", "leases", name="another")


def test_uninstalling_leaves_the_definition_the_claim_and_the_jobs(release, admin, plane):
    release("install", *CPU)
    job = {"apiVersion": "recon3d.io/v1alpha1", "kind": "ReconstructionJob", "metadata": {"name": "kept"},
           "spec": {"input": {"builtin": "example"}}}  # fmt: skip
    admin.create(JOBS, job)
    release("uninstall")
    assert everything_of(admin, plane) == {
        "customresourcedefinition.apiextensions.k8s.io/reconstructionjobs.recon3d.io",
        "persistentvolumeclaim/one-recon3d-store",
    }
    assert admin.get(f"{JOBS}/kept")["spec"]["input"] == {"builtin": "example"}
    # Under the same name the claim is used again; under another one, the definition is left as it is.
    release("install", *CPU)
    release("uninstall")
    release("install", *CPU, name="two")
    assert admin.get(f"{JOBS}/kept")
    assert "persistentvolumeclaim/two-recon3d-store" in everything_of(admin, plane)
    release("uninstall", name="two")
    admin.delete(f"{JOBS}/kept")


def test_an_upgrade_keeps_certificates_and_keys(release, admin):
    release("install", *CPU)

    def secrets() -> dict[str, Any]:
        names = ("one-recon3d-progress-tls", "one-recon3d-api")
        return {name: admin.get(f"/api/v1/namespaces/studio/secrets/{name}")["data"] for name in names}

    before = secrets()
    release("upgrade", *CPU, "--set=operator.replicas=2")
    assert secrets() == before
    release("rollback")
    assert secrets() == before


def test_an_upgrade_from_the_first_version_and_back_keeps_jobs_of_every_phase(release, admin):
    """The frozen chart of v0.1.0 is installed, jobs of every phase are there, and today's chart takes over."""
    release("install", *CPU, chart=FIRST)
    for name, phase in (("waits", "Queued"), ("runs", "Processing"), ("done", "Completed")):
        body = {"apiVersion": "recon3d.io/v1alpha1", "kind": "ReconstructionJob", "metadata": {"name": name},
                "spec": {"input": {"builtin": "example"}}}  # fmt: skip
        admin.create(JOBS, body)
        admin.merge(f"{JOBS}/{name}/status", {"status": {"phase": phase}})
    before = {
        item["metadata"]["name"]: (item["metadata"]["uid"], item["spec"], item["status"]) for item in admin.items(JOBS)
    }
    assert len(before) == 3
    for verb in ("upgrade", "rollback"):
        release(verb, *(CPU if verb == "upgrade" else ()))
        after = {
            item["metadata"]["name"]: (item["metadata"]["uid"], item["spec"], item["status"])
            for item in admin.items(JOBS)
        }
        assert after == before, verb
    for name in before:
        admin.delete(f"{JOBS}/{name}")


def test_the_first_version_s_fixture_is_as_it_was_frozen():
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FIRST.parent.iterdir()}
    assert found == FROZEN


def test_two_releases_in_two_namespaces_do_not_collide(release, admin, plane):
    release("install", *CPU)
    done = subprocess.run(
        [tool("helm"), "install", "one", str(CHART), *CPU, "--namespace", "other", "--create-namespace"],
        env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)}, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    subprocess.run(
        [tool("helm"), "uninstall", "one", "--namespace", "other"],
        env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)}, capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    names = {item["metadata"]["name"] for item in admin.get("/apis/rbac.authorization.k8s.io/v1/clusterroles")["items"]}
    assert "studio-one-recon3d-definition" in names
    assert json.dumps(sorted(names)).count("other-one") == 0

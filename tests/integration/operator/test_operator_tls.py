"""The progress endpoint's certificate is replaced in place while it serves, as cert-manager does."""

from __future__ import annotations

import re
import shutil
import ssl

import pytest
from cryptography import x509
from kubecluster.client import eventually
from recon3d_operator.startup import PROGRESS_RIGHTS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120, func_only=True)]
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture(autouse=True)
def rights(admin):
    rules = [{"verbs": [verb], "apiGroups": [group], "resources": [name]} for verb, group, name, _ in PROGRESS_RIGHTS]
    admin.create(f"{RBAC}/clusterroles", {"metadata": {"name": "tls"}, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tls"}
    subject = {"kind": "User", "name": "recon3d-operator", "apiGroup": "rbac.authorization.k8s.io"}
    admin.create(f"{RBAC}/clusterrolebindings", {"metadata": {"name": "tls"}, "roleRef": role, "subjects": [subject]})
    yield
    admin.delete(f"{RBAC}/clusterrolebindings/tls")
    admin.delete(f"{RBAC}/clusterroles/tls")


def test_a_new_certificate_is_served_without_a_restart(plane, start_operator, tmp_path):
    files = tmp_path / "tls.crt", tmp_path / "tls.key"

    def place(name: str) -> int:
        made = plane.authority.issue(name, hosts=("localhost",))
        for source, target in zip(made, files, strict=True):
            part = target.with_suffix(".part")
            shutil.copyfile(source, part)
            part.rename(target)
        return int(x509.load_pem_x509_certificate(files[0].read_bytes()).serial_number)

    first = place("first.example")
    operator = start_operator(
        RECON3D_PROGRESS_CERT=str(files[0]), RECON3D_PROGRESS_KEY=str(files[1]), RECON3D_PROGRESS_PORT="0"
    )
    found = eventually(lambda: re.search(r"progress on port (\d+)", operator.log.read_text()), what="it serves")

    def served() -> int:
        text = ssl.get_server_certificate(("localhost", int(found.group(1))), timeout=5)
        return int(x509.load_pem_x509_certificate(text.encode()).serial_number)

    assert served() == first
    files[0].write_text("half a certificate")
    eventually(lambda: "cannot be loaded anew" in operator.log.read_text(), what="it says so")
    assert served() == first, "what does not fit is not taken"
    second = place("second.example")
    eventually(lambda: served() == second, what="the new one is served")

"""Which cluster the tests run on: CLUSTER=own (the default), current or kind.

    own       a control plane that the harness starts, and stops
    current   the cluster of the current context ($KUBECONFIG, else ~/.kube/config), whose administrator you are
    kind      a cluster that `kind` makes, and deletes

Users get certificates from the cluster itself (CertificateSigningRequest), so that RBAC applies to them as to anybody.
What tests make in a cluster that is not theirs, they name after their process and delete.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubecluster.client import Client, eventually
from kubecluster.control_plane import ControlPlane, control_plane
from kubecluster.pki import Authority
from kubecluster.process import own_folder

_SIGNER = "kubernetes.io/kube-apiserver-client"
_REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


@dataclass(frozen=True)
class GivenPlane(ControlPlane):
    """A cluster that somebody else runs."""

    def user(self, name: str, groups: tuple[str, ...] = (), *, inside: bool = False) -> Path:
        """Return the kubeconfig of a user whose certificate the cluster signs."""
        client, request = Client(self.kubeconfig), f"{name.replace(':', '-')}-{os.getpid()}"
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        asked = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        text = base64.b64encode(asked.public_bytes(serialization.Encoding.PEM)).decode()
        spec = {"request": text, "signerName": _SIGNER, "usages": ["client auth"], "expirationSeconds": 86400}
        made = client.create(_REQUESTS, {"metadata": {"name": request}, "spec": spec})
        approved = {"type": "Approved", "status": "True", "reason": "Tests", "message": "made by the tests' harness"}
        made["status"] = {"conditions": [approved]}
        client.request("PUT", f"{_REQUESTS}/{request}/approval", made)
        path = f"{_REQUESTS}/{request}"
        signed = eventually(
            lambda: client.get(path).get("status", {}).get("certificate"), what="the cluster signs a certificate"
        )
        client.delete(path)
        files = self.folder / f"{request}.crt", self.folder / f"{request}.key"
        files[0].write_bytes(base64.b64decode(signed))
        files[1].touch(mode=0o600)
        form = serialization.PrivateFormat.PKCS8
        files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        config = json.loads(self.kubeconfig.read_text())
        config["users"][0]["user"] = {"client-certificate": str(files[0]), "client-key": str(files[1])}
        target = self.folder / f"{request}.kubeconfig"
        target.write_text(json.dumps(config))
        return target


@contextlib.contextmanager
def plane_of_tests() -> Iterator[ControlPlane]:
    """Yield the control plane that CLUSTER names."""
    which = os.environ.get("CLUSTER") or "own"
    if which == "own":
        with control_plane() as plane:
            yield plane
    elif which == "current":
        places = (os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config")).split(os.pathsep)
        with own_folder() as folder:
            yield given(folder, Path(places[0]))
    elif which == "kind":
        with own_folder() as folder, _kind(folder) as kubeconfig:
            yield given(folder, kubeconfig)
    else:
        raise RuntimeError(f"CLUSTER={which}: must be own, current or kind")


@contextlib.contextmanager
def _kind(folder: Path) -> Iterator[Path]:
    if shutil.which("kind") is None:
        raise RuntimeError("CLUSTER=kind needs kind on the PATH, and a container engine")
    name, kubeconfig = f"recon3d-{os.getpid()}", folder / "kind.kubeconfig"
    subprocess.run(["kind", "create", "cluster", "--name", name, "--kubeconfig", kubeconfig], check=True)
    try:
        yield kubeconfig
    finally:
        subprocess.run(["kind", "delete", "cluster", "--name", name], check=False)


def given(folder: Path, kubeconfig: Path) -> GivenPlane:
    """Return the cluster of the kubeconfig's current context; the user must have a client certificate."""
    config = yaml.safe_load(kubeconfig.read_text())
    context = _named(config["contexts"], config["current-context"])["context"]
    cluster = dict(_named(config["clusters"], context["cluster"])["cluster"])
    user = dict(_named(config["users"], context["user"])["user"])
    for holder, names in ((cluster, ("certificate-authority",)), (user, ("client-certificate", "client-key"))):
        for name in names:
            data = holder.pop(f"{name}-data", None)
            if data is not None:
                file = folder / name
                file.touch(mode=0o600)
                file.write_bytes(base64.b64decode(data))
                holder[name] = str(file)
            if name not in holder:
                raise RuntimeError(f"the current context of {kubeconfig} has no {name}")
    target = folder / "admin.kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    target.write_text(json.dumps(document))
    return GivenPlane(folder, str(cluster["server"]), target, Authority(folder / "pki"), {})


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)

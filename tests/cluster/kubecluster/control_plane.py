"""A real control plane on this machine, for tests: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.

There is no kubelet here: tests set Pod phases by hand, as a kubelet would report them. A real node: node.py.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kubecluster.binaries import ensure
from kubecluster.pki import Authority
from kubecluster.process import Program, free_ports, own_folder

AUDIT = "audit.log"
_READY_S = 90.0
# Where there is no kubelet: without its heartbeats the node controllers would only declare every node lost.
_CONTROLLERS = (
    "certificatesigningrequest-signing-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "resourcequota-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "ttl-after-finished-controller",
)


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane and its administrator's credentials."""

    folder: Path
    server: str
    kubeconfig: Path
    authority: Authority
    programs: dict[str, Program]
    inner_server: str = ""
    """Where a real node and its Pods reach the API server."""

    def user(self, name: str, groups: tuple[str, ...] = (), *, inside: bool = False) -> Path:
        """Return the kubeconfig of a new user, who has no rights but what RBAC gives to the name or groups.

        `inside` is for programs that run on the node.
        """
        certificate, key = self.authority.issue(name, groups)
        path = self.folder / f"{name.replace(':', '-')}.kubeconfig"
        return _kubeconfig(path, self.inner_server if inside else self.server, self.authority, certificate, key)

    def restart_api(self) -> None:
        """Kill the API server and start it anew, as a node's kubelet does; return once it is ready."""
        self.programs["kube-apiserver"].restart()
        files = self.authority.folder
        _wait_ready(self, (files / "admin.crt", files / "admin.key"))

    def check(self) -> None:
        """Raise RuntimeError with the end of its log if a program has ended."""
        for program in self.programs.values():
            if not program.running():
                raise RuntimeError(f"{program.name} has ended:\n{program.tail()}")


@contextlib.contextmanager
def control_plane(*, lifted: bool = False, scheduler: bool = True) -> Iterator[ControlPlane]:
    """Yield a control plane that is ready; all of it is gone afterwards.

    `lifted` takes away the built-in controllers' client-side rate limits, for comparisons of speed.
    """
    ensure()
    with own_folder() as folder, started_in(folder, lifted=lifted, scheduler=scheduler) as plane:
        yield plane


@contextlib.contextmanager
def started_in(
    folder: Path, *, lifted: bool = False, scheduler: bool = True, node_address: str = ""
) -> Iterator[ControlPlane]:
    """Yield a control plane in `folder`; with `node_address`, the way to it that a real node has."""
    binaries = ensure()
    with contextlib.ExitStack() as stack:
        etcd_port, peer_port, api_port = free_ports(3)
        authority = Authority(folder / "pki")
        server = f"https://127.0.0.1:{api_port}"
        admin = authority.issue("admin", ("system:masters",))
        kubeconfig = _kubeconfig(folder / "admin.kubeconfig", server, authority, *admin)
        programs: dict[str, Program] = {}

        def start(name: str, *arguments: str | Path) -> None:
            program = Program(name, [binaries[name], *arguments], folder / f"{name}.log")
            programs[name] = program
            stack.callback(program.stop)

        etcd = f"http://127.0.0.1:{etcd_port}"
        peer = f"http://127.0.0.1:{peer_port}"
        start(
            "etcd",
            "--data-dir", folder / "etcd", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
            "--quota-backend-bytes=4294967296",
        )  # fmt: skip
        inner = f"https://{node_address}:{api_port}" if node_address else ""
        plane = ControlPlane(folder, server, kubeconfig, authority, programs, inner)
        start("kube-apiserver", *_apiserver(plane, etcd, api_port, node_address))
        _wait_ready(plane, admin)
        rates = ["--kube-api-qps=2000", "--kube-api-burst=4000", "--concurrent-job-syncs=20"] if lifted else []
        start(
            "kube-controller-manager",
            f"--kubeconfig={kubeconfig}", "--secure-port=0", "--leader-elect=false",
            f"--service-account-private-key-file={authority.folder / 'service-accounts.key'}",
            f"--root-ca-file={authority.folder / 'ca.crt'}",
            f"--cluster-signing-cert-file={authority.folder / 'ca.crt'}",
            f"--cluster-signing-key-file={authority.folder / 'ca.key'}",
            f"--controllers={'*' if node_address else ','.join(_CONTROLLERS)}", *rates,
        )  # fmt: skip
        if scheduler:
            start("kube-scheduler", f"--kubeconfig={kubeconfig}", "--secure-port=0", "--leader-elect=false")
        _wait_default_account(plane, admin)
        yield plane


def _apiserver(plane: ControlPlane, etcd: str, port: int, node_address: str) -> list[str | Path]:
    authority = plane.authority
    hosts = ["127.0.0.1", "localhost", "10.96.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    if node_address:
        to_kubelet = authority.issue("kube-apiserver-kubelet-client", ("system:masters",))
        hosts.append(node_address)
        reach: list[str | Path] = [
            "--bind-address=0.0.0.0", f"--advertise-address={node_address}", "--endpoint-reconciler-type=lease",
            f"--kubelet-client-certificate={to_kubelet[0]}", f"--kubelet-client-key={to_kubelet[1]}",
            "--kubelet-preferred-address-types=InternalIP", *_audit(plane.folder),
        ]  # fmt: skip
    else:
        reach = ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]
    certificate, key = authority.issue("kube-apiserver", hosts=tuple(hosts))
    accounts = authority.service_account_key()
    return [
        *reach, f"--etcd-servers={etcd}", f"--secure-port={port}",
        f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}",
        f"--client-ca-file={authority.folder / 'ca.crt'}",
        f"--service-account-issuer={plane.server}", "--api-audiences=https://kubernetes.default.svc",
        f"--service-account-key-file={accounts}", f"--service-account-signing-key-file={accounts}",
        "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
        "--service-cluster-ip-range=10.96.0.0/16", "--profiling=false",
        "--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000",
    ]  # fmt: skip


def _audit(folder: Path) -> list[str | Path]:
    """What Pods ask of the API server is written down: AUDIT, a line of JSON each."""
    pods = {"level": "Metadata", "userGroups": ["system:serviceaccounts"], "omitStages": ["RequestReceived"]}
    policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [pods, {"level": "None"}]}
    (folder / "audit-policy.json").write_text(json.dumps(policy))
    return [f"--audit-policy-file={folder / 'audit-policy.json'}", f"--audit-log-path={folder / AUDIT}"]


def _kubeconfig(path: Path, server: str, authority: Authority, certificate: Path, key: Path) -> Path:
    ca = str(authority.folder / "ca.crt")
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": "test", "user": {"client-certificate": str(certificate), "client-key": str(key)}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(json.dumps(config))  # JSON is YAML
    return path


def _get(plane: ControlPlane, admin: tuple[Path, Path], path: str) -> int:
    context = ssl.create_default_context(cafile=str(plane.authority.folder / "ca.crt"))
    context.load_cert_chain(*admin)
    try:
        with urllib.request.urlopen(f"{plane.server}{path}", timeout=5, context=context) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def _wait_for(plane: ControlPlane, admin: tuple[Path, Path], path: str, what: str) -> None:
    end = time.monotonic() + _READY_S
    while _get(plane, admin, path) != 200:
        plane.check()
        if time.monotonic() > end:
            tails = "\n".join(f"--- {program.name}\n{program.tail()}" for program in plane.programs.values())
            raise RuntimeError(f"{what} is not ready after {_READY_S:.0f} s\n{tails}")
        time.sleep(0.2)


def _wait_ready(plane: ControlPlane, admin: tuple[Path, Path]) -> None:
    _wait_for(plane, admin, "/readyz", "the API server")


def _wait_default_account(plane: ControlPlane, admin: tuple[Path, Path]) -> None:
    """Wait for the account without which no Pod can be made."""
    _wait_for(plane, admin, "/api/v1/namespaces/default/serviceaccounts/default", "the controller manager")

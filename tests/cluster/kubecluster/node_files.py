"""The configuration files of a node's programs."""

from __future__ import annotations

import json
from pathlib import Path

from kubecluster.images import PAUSE

_PLUGINS = ("/usr/lib/cni", "/opt/cni/bin")


def containerd_file(folder: Path) -> str:
    """Return containerd's configuration: all that it keeps lies in `folder`."""
    plugins = next((place for place in _PLUGINS if (Path(place) / "bridge").exists()), _PLUGINS[0])
    cri = '[plugins."io.containerd.grpc.v1.cri"'
    # restrict_oom_score_adj: a root without CAP_SYS_RESOURCE may not lower it, and no Pod would start.
    return f"""version = 2
root = "{folder}/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "{folder}/containerd.sock"
{cri}]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
{cri}.cni]
bin_dir = "{plugins}"
conf_dir = "{folder}/cni"
{cri}.containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
{cri}.containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def network_file(pod_subnet: str) -> str:
    """Return the CNI network of Pods: a bridge, addresses from `pod_subnet`, host ports."""
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": pod_subnet}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]})


def kubelet_file(folder: Path, ca: Path, cgroup: str, dns: str) -> str:
    """Return the kubelet's configuration."""
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(ca)},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "failCgroupV1": False,
        "oomScoreAdj": 0,
        "resolvConf": "",
        "clusterDNS": [dns],
        "clusterDomain": "cluster.local",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "volumePluginDir": f"{folder}/var/lib/kubelet/volume-plugins",
        "nodeStatusUpdateFrequency": "2s",
    }
    return json.dumps(config)


def proxy_file(kubeconfig: Path, pod_subnet: str) -> str:
    """Return kube-proxy's configuration; the kernel's tables of connections are left as they are."""
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": pod_subnet,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "oomScoreAdj": 0,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpCloseWaitTimeout": "0s",
            "tcpEstablishedTimeout": "0s",
        },
    }
    return json.dumps(config)


def corefile(kubeconfig: Path, address: str) -> str:
    """Return the configuration of the DNS server at `address`: the cluster's names, and no others."""
    return f"""cluster.local:53 {{
    bind {address}
    errors
    kubernetes cluster.local {{
        kubeconfig {kubeconfig}
        pods insecure
    }}
    cache 5
}}
.:53 {{
    bind {address}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""

"""The operator's settings, from RECON3D_* variables; all that is wrong is told at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from recon3d_contract.environment import read_settings

_QUANTITY: Final = re.compile(r"^[0-9]+(\.[0-9]+)?(m|k|[MGT]|[KMGT]i)?$")
OVERRIDES: Final = ("nodeSelector", "tolerations", "runtimeClassName", "priorityClassName")
POLICY: Final = ("resources", *OVERRIDES)


@dataclass(frozen=True)
class Settings:
    """What an installation decides. The variable of `runner_image` is RECON3D_RUNNER_IMAGE, and so on."""

    runner_image: str
    """The image that has recon3d-runner, and the engine nvdiffrec."""
    store: str
    """`pvc:<claim>`, a claim in each of the namespaces, or `s3://bucket/prefix`."""
    reconviagen_image: str = ""
    """The image that has the engine reconviagen; without it, runner_image has both."""
    namespaces: tuple[str, ...] = ()
    """Where jobs may run, comma-separated; empty is everywhere."""
    device: str = "cuda"
    """cuda or cpu, for every job of this installation."""
    rasteriser: str = ""
    """drtk or nvdiffrast: what draws on a GPU in runner_image; without it, the one that the image has."""
    accelerator: str = "nvidia.com/gpu"
    """The extended resource that a job takes one of; only with the device cuda."""
    max_running: int = 1
    """Jobs that run at once in a namespace, with the device cpu."""
    runner_account: str = "recon3d-runner"
    """ServiceAccount of the Pods; it needs no rights."""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    cpu: str = "4"
    """CPUs that a Pod requests."""
    memory: str = "24Gi"
    """Memory that a Pod requests and may use, with /dev/shm in it."""
    shm: str = "8Gi"
    """Size of /dev/shm."""
    scratch: str = "20Gi"
    """Size of /tmp."""
    grace_seconds: int = 10
    """From SIGTERM to SIGKILL."""
    pod_overrides: tuple[str, ...] = ()
    """Which of resources, nodeSelector, tolerations, runtimeClassName, priorityClassName a job may set."""
    input_hosts: tuple[str, ...] = ()
    """Hosts that https inputs may come from."""
    input_s3: tuple[str, ...] = ()
    """s3:// prefixes that s3 inputs may lie below; without any, all that the credentials open, but for the store."""
    accept_licences: tuple[str, ...] = ()
    output_refs: tuple[str, ...] = ()
    """s3:// prefixes that a job's output.ref may lie below; without any, every result goes to the store."""
    max_cpu: str = ""
    """The most that a job's pod.resources may ask for; empty is no limit."""
    max_memory: str = ""
    kueue: bool = False
    """Whether Kueue admits the Pods of jobs that name a queue; then no quota of ours gates them."""
    webhooks: bool = False
    """Whether jobs may have webhooks; the operator then reads the Secrets that they name."""
    webhook_private_hosts: tuple[str, ...] = ()
    """Hosts of webhooks that may have private addresses."""
    webhook_base_s: float = 5.0
    """Pause before a webhook's second attempt; the next are 60, 360, 1440 ... times as long."""
    store_secret: str = ""
    """Secret whose keys become the Pod's environment, for s3 stores."""
    progress_url: str = ""
    """https address of the operator's progress endpoint; without it, there is no progress."""
    progress_ca: str = ""
    """ConfigMap with the CA of that address under the key ca.crt."""
    progress_port: int = 8443
    progress_cert: str = ""
    """File with the certificate of the progress endpoint; without it, the endpoint is not served."""
    progress_key: str = ""
    lease_namespace: str = ""
    """Where the Lease lies that lets one of several operators work; without it, this one works at once."""
    lease_name: str = "recon3d-operator"
    retry_base_s: float = 10.0
    """Back-off before the second run; doubles each time, up to retry_max_s."""
    retry_max_s: float = 300.0
    start_timeout_s: float = 0.0
    """Ends a Pod whose container has not started for this long (an image that cannot be pulled); 0 waits for ever."""
    lost_margin_s: float = 30.0
    """How long after its grace time a Pod whose node is silent counts as lost."""
    workers: int = 16
    """Jobs that are worked on at once."""
    health_port: int = 8080
    """Of /healthz, /readyz and /metrics; 0 is any free one."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Extra labels of Pods: a=b,c=d."""
    pod_defaults: Mapping[str, Any] = field(default_factory=dict)
    """What every Pod has of nodeSelector, tolerations, runtimeClassName, priorityClassName, as JSON of a Pod's spec."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings. Raises SettingsError with a line for every variable that is wrong."""
        return read_settings(cls, environment, ("runner_image", "store"))

    def problems(self) -> list[str]:
        """Return a line for each value that cannot be."""
        found = []
        if self.device not in ("cuda", "cpu"):
            found.append(f"RECON3D_DEVICE={self.device!r}: must be cuda or cpu")
        if self.rasteriser not in ("", "drtk", "nvdiffrast"):
            found.append(f"RECON3D_RASTERISER={self.rasteriser!r}: must be drtk or nvdiffrast")
        if not re.fullmatch(r"pvc:[a-z0-9][-a-z0-9.]*|s3://[^/\s]+(/\S*)?", self.store):
            found.append(f"RECON3D_STORE={self.store!r}: must be pvc:<claim> or s3://bucket/prefix")
        found += [
            f"RECON3D_{name.upper()}={getattr(self, name)!r}: is not a quantity such as 500m or 8Gi"
            for name in ("cpu", "memory", "shm", "scratch", "max_cpu", "max_memory")
            if not _QUANTITY.match(getattr(self, name)) and (getattr(self, name) or not name.startswith("max_"))
        ]
        unknown = sorted(set(self.pod_overrides) - set(POLICY))
        if unknown:
            found.append(f"RECON3D_POD_OVERRIDES: knows {', '.join(POLICY)}, not {', '.join(unknown)}")
        unknown = sorted(set(self.pod_defaults) - set(OVERRIDES))
        if unknown:
            found.append(f"RECON3D_POD_DEFAULTS: knows {', '.join(OVERRIDES)}, not {', '.join(unknown)}")
        if bool(self.progress_cert) != bool(self.progress_key):
            found.append("RECON3D_PROGRESS_CERT and RECON3D_PROGRESS_KEY belong together")
        if self.progress_url and not self.progress_url.startswith("https://"):
            found.append(f"RECON3D_PROGRESS_URL={self.progress_url!r}: must be an https address")
        positive = ("max_running", "workers", "grace_seconds", "retry_base_s", "retry_max_s", "webhook_base_s")
        found += [f"RECON3D_{name.upper()}: must be more than 0" for name in positive if getattr(self, name) <= 0]
        return found

    @property
    def quota_key(self) -> str | None:
        """The key of a ResourceQuota that gates jobs; None on a CPU installation."""
        return f"requests.{self.accelerator}" if self.device == "cuda" else None

    def serves(self, namespace: str) -> bool:
        """Whether jobs may run in `namespace`."""
        return not self.namespaces or namespace in self.namespaces

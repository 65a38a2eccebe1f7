"""The shim's settings, from RECON3D_* variables; all that is wrong is told at once."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from recon3d_contract.environment import read_settings

_OWN_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_MIN_SECRET: Final = 16


@dataclass(frozen=True)
class Settings:
    """What an installation decides. The variable of `store` is RECON3D_STORE, and so on."""

    store: str
    """The results' store as this process sees it: a folder, or `s3://bucket/prefix`."""
    id_secret: str = field(repr=False)
    """Makes job ids of Idempotency-Keys: 16 characters or more, the same in every replica."""
    namespace: str = ""
    """Where the jobs are; empty is the Pod's own namespace, else `default`."""
    auth: str = "keys"
    """keys: an API key or an OIDC token is needed. none: everybody may do everything."""
    keys_file: str = ""
    """File with one key a line, mounted from a Secret; see recon3d_api.auth.keys."""
    oidc_issuer: str = ""
    """https address of an OpenID provider whose tokens are accepted too; empty is none."""
    oidc_audience: str = ""
    oidc_ca: str = ""
    """PEM file of the authorities to trust at the issuer instead of the system's."""
    oidc_claim: str = "sub"
    """The claim that names the principal."""
    oidc_namespace_group: str = ""
    """Members of this group (claim `groups`) have the scope namespace."""
    host: str = "0.0.0.0"  # noqa: S104 - a Pod serves its network
    port: int = 8000
    scratch: str = field(default_factory=tempfile.gettempdir)
    """Folder for what is on its way into an S3 store."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may read this API."""
    input_hosts: tuple[str, ...] = ()
    """Hosts that https inputs may come from."""
    input_s3: tuple[str, ...] = ()
    """`s3://bucket/prefix/` under which a job may name its input."""
    output_refs: tuple[str, ...] = ()
    """The operator's: s3:// prefixes that output.ref of jobs made with kubectl may lie below; their results are read
    there, with the credentials of this service."""
    webhook_secret: str = ""
    """`name` or `name/key` of the Secret in the jobs' namespace that webhooks of jobs made here are signed with; empty
    refuses them. Its label recon3d.io/allow=webhook lets the operator read it."""
    rate_per_s: float = 50.0
    """Requests a second of one principal, on average; 0 is no limit."""
    rate_burst: int = 200
    """Requests of one principal at once."""
    uploads_at_once: int = 16
    """Requests with files of one principal at once; 0 is no limit."""
    active_jobs: int = 0
    """Jobs of one principal that have not ended; 0 is no limit."""
    idle_s: float = 20.0
    """The longest pause within a request's body."""
    body_s: float = 900.0
    """The longest time for a request's body."""
    signed_url_s: int = 0
    """How long addresses of files in an S3 store are valid that are handed out; 0 hands out none."""
    capacity_namespace: str = ""
    """Where the operator's ConfigMap recon3d-capacity is; empty is the jobs' namespace."""
    sweep_namespaces: tuple[str, ...] = ()
    """All namespaces whose jobs use this store; a sweep that knows too few would remove the others' results."""
    sweep_job_age_s: float = 600.0
    """Files of a job that is gone are removed when they have not changed for this long."""
    sweep_upload_age_s: float = 3600.0
    """Uploads that no job names are removed when they are this old."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings. Raises SettingsError with a line for every variable that is wrong."""
        return read_settings(cls, environment, ("store", "id_secret"))

    def problems(self) -> list[str]:
        """Return a line for each value that cannot be."""
        found = []
        if not self.store.startswith(("/", "s3://")):
            found.append(f"RECON3D_STORE={self.store!r}: must be an absolute path or s3://bucket/prefix")
        if len(self.id_secret) < _MIN_SECRET:
            found.append(f"RECON3D_ID_SECRET: must have {_MIN_SECRET} characters or more")
        if self.auth not in ("keys", "none"):
            found.append(f"RECON3D_AUTH={self.auth!r}: must be keys or none")
        elif self.auth == "keys" and not (self.keys_file or self.oidc_issuer):
            found.append("RECON3D_KEYS_FILE or RECON3D_OIDC_ISSUER must be set, or RECON3D_AUTH=none")
        if self.oidc_issuer and not (self.oidc_issuer.startswith("https://") and self.oidc_audience):
            found.append("RECON3D_OIDC_ISSUER must be an https address and needs RECON3D_OIDC_AUDIENCE")
        if any(not re.fullmatch(r"s3://[^/\s]+/\S*", prefix) for prefix in self.input_s3):
            found.append("RECON3D_INPUT_S3: must be s3://bucket/ or s3://bucket/prefix/, comma-separated")
        positive = ("idle_s", "body_s", "rate_burst")
        found += [f"RECON3D_{name.upper()}: must be more than 0" for name in positive if getattr(self, name) <= 0]
        return found

    @property
    def jobs_namespace(self) -> str:
        """The namespace of the jobs."""
        if self.namespace:
            return self.namespace
        return _OWN_NAMESPACE.read_text().strip() if _OWN_NAMESPACE.is_file() else "default"

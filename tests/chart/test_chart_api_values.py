"""What an administrator may say about the API has a value in the chart, and arrives."""

from __future__ import annotations

from dataclasses import fields

import pytest
from chart_world import CPU, environment, pod_specs
from recon3d_api.settings import Settings

pytestmark = pytest.mark.needs("helm")


def test_every_setting_of_the_api_that_is_an_administrator_s_has_a_value_of_the_chart(render):
    chosen = {
        "api.oidc.issuer=https://id.example.org,api.oidc.audience=recon3d,api.oidc.claim=email": {
            "oidc_issuer": "https://id.example.org", "oidc_audience": "recon3d", "oidc_claim": "email",
        },
        "api.oidc.namespaceGroup=studio-leads": {"oidc_namespace_group": "studio-leads"},
        "api.oidc.caConfigMap=issuer": {"oidc_ca": "/oidc/ca.crt"},
        "api.corsOrigins={https://studio.example.org,http://localhost:3000}": {
            "cors_origins": ("https://studio.example.org", "http://localhost:3000")
        },
        "jobs.inputS3={s3://scans/team/}": {"input_s3": ("s3://scans/team/",)},
        "jobs.inputHosts={files.example.org}": {"input_hosts": ("files.example.org",)},
        "webhooks.enabled=true,api.webhookSecret=hooks/key": {"webhook_secret": "hooks/key"},
        "store.type=s3,store.s3.bucket=results,api.signedUrlSeconds=300": {"signed_url_s": 300},
        "api.limits.requestsPerSecond=5,api.limits.burst=7": {"rate_per_s": 5.0, "rate_burst": 7},
        "api.limits.uploadsAtOnce=2,api.limits.activeJobs=9": {"uploads_at_once": 2, "active_jobs": 9},
    }  # fmt: skip
    chosen["jobs.outputRefs={s3://theirs/team}"] = {"output_refs": ("s3://theirs/team",)}
    values = [f"--set={setting}" for setting in chosen]
    pod = pod_specs(render(*CPU, *values))["one-recon3d-api"]
    given = environment(pod)
    settings = Settings.from_env(given | {"RECON3D_ID_SECRET": "x" * 40})
    for expected in chosen.values():
        assert {name: getattr(settings, name) for name in expected} == expected
    assert {"name": "oidc", "configMap": {"name": "issuer"}} in pod["volumes"]
    untouched = Settings.from_env(
        environment(pod_specs(render(*CPU))["one-recon3d-api"]) | {"RECON3D_ID_SECRET": "x" * 40}
    )
    usual = Settings(store="/store", id_secret="x" * 40, namespace="studio", keys_file="/keys/keys", scratch="/tmp")
    assert untouched == usual
    # What is left is the chart's own, or a limit for developers: in `api.env`.
    named = {name for expected in chosen.values() for name in expected}
    own = {"store", "id_secret", "namespace", "auth", "keys_file", "host", "port", "scratch", "capacity_namespace"}
    left = {field.name for field in fields(Settings)} - named - own
    assert left == {"idle_s", "body_s", "sweep_namespaces", "sweep_job_age_s", "sweep_upload_age_s"}

"""What the chart renders: every template, the settings that the programs read, the rights that they check."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from chart_world import CHART, CPU, ROOT, Refusal, environment, find, pod_specs, sources
from cryptography import x509
from kubecluster.tools import tool
from recon3d_api.settings import Settings as ApiSettings
from recon3d_operator import startup
from recon3d_operator.settings import Settings

pytestmark = pytest.mark.needs("helm")
GPU = ("-f", str(CHART / "values-rtx3090.yaml"), "--set", "licenses.nvdiffrast.acceptNonCommercial=true")
EVERYTHING = (
    *CPU,
    "--set=jobs.namespaces={a,b}",
    "--set=jobs.createNamespaces=true,jobs.outputRefs={s3://theirs/team},jobs.inputS3={s3://scans/public/}",
    "--set=metrics.serviceMonitor.enabled=true,metrics.rules.enabled=true,metrics.dashboard.enabled=true",
    "--set=api.ingress.enabled=true,api.ingress.host=recon3d.example.org,api.ingress.tlsSecret=tls",
    "--set=api.gateway.enabled=true,api.gateway.host=recon3d.example.org,api.gateway.parentRefs[0].name=outer",
    "--set=store.type=s3,store.s3.bucket=results,store.s3.prefix=team/a,store.s3.secretName=s3",
    "--set=api.autoscaling.enabled=true,operator.replicas=2",
    "--set=kueue.enabled=true,kueue.queueName=gpus,runner.labels.team=x",
)


def test_every_template_renders_something(render_text):
    named = {str(path.relative_to(CHART / "templates")) for path in (CHART / "templates").rglob("*.yaml")}
    assert sources(render_text(*EVERYTHING)) == named - {"validate.yaml"}


@pytest.mark.parametrize("values", [CPU, GPU, EVERYTHING], ids=["cpu", "rtx3090", "everything"])
def test_lint_finds_nothing(helm, values):
    text = helm("lint", "--strict", str(CHART), *values)
    assert "0 chart(s) failed" in text
    assert "WARNING" not in text


@pytest.mark.parametrize("values", [CPU, GPU, EVERYTHING], ids=["cpu", "rtx3090", "everything"])
def test_the_operator_can_read_what_it_is_given(render, values):
    settings = Settings.from_env(environment(pod_specs(render(*values))["one-recon3d-operator"]))
    assert settings.lease_name == "one-recon3d-operator"
    assert settings.runner_account == "one-recon3d-runner"


def test_the_gpu_s_settings(render):
    docs = render(*GPU)
    settings = Settings.from_env(environment(pod_specs(docs)["one-recon3d-operator"]))
    assert settings.quota_key in find(docs, "ResourceQuota")["spec"]["hard"]
    assert settings.pod_defaults == {"runtimeClassName": "nvidia", "priorityClassName": "studio-one-recon3d-runner"}
    assert settings.accept_licences == ("nvdiffrast",)
    assert settings.runner_image == "ghcr.io/recon3d/runner:0.1.0-nvdiffrec"
    both = ("--set=image.reconviagen.repository=r", "--set=licenses.reconviagen.acceptNonCommercial=true")
    settings = Settings.from_env(environment(pod_specs(render(*GPU, *both))["one-recon3d-operator"]))
    assert settings.reconviagen_image == "ghcr.io/recon3d/r:0.1.0-reconviagen"
    assert settings.accept_licences == ("nvdiffrast", "vggt-weights")
    assert find(docs, "PriorityClass")["preemptionPolicy"] == "Never"


def test_a_freely_licensed_rasteriser_needs_no_acceptance_and_is_asked_for(render):
    given = environment(pod_specs(render("--set=runner.rasteriser=drtk"))["one-recon3d-operator"])
    settings = Settings.from_env(given)
    assert (settings.device, settings.rasteriser, settings.accept_licences) == ("cuda", "drtk", ())
    with pytest.raises(Refusal, match="ReconViaGen's image renders with nvdiffrast"):
        render(
            "--set=runner.rasteriser=drtk,image.reconviagen.repository=r,licenses.reconviagen.acceptNonCommercial=true"
        )


def test_with_kueue_there_is_no_quota_and_pods_name_the_queue(render):
    docs = render(*GPU, "--set=kueue.enabled=true,kueue.queueName=gpus")
    assert not [doc for doc in docs if doc["kind"] == "ResourceQuota"]
    settings = Settings.from_env(environment(pod_specs(docs)["one-recon3d-operator"]))
    assert settings.labels == {"kueue.x-k8s.io/queue-name": "gpus"}


def test_the_progress_certificate_is_for_the_address_that_runners_are_given(render):
    docs = render(*CPU)
    settings = Settings.from_env(environment(pod_specs(docs)["one-recon3d-operator"]))
    secret = find(docs, "Secret", "progress-tls")["data"]
    certificate = x509.load_pem_x509_certificate(base64.b64decode(secret["tls.crt"]))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert settings.progress_url.split("/")[2].split(":")[0] in names.get_values_for_type(x509.DNSName)
    ca = x509.load_pem_x509_certificate(find(docs, "ConfigMap", settings.progress_ca)["data"]["ca.crt"].encode())
    certificate.verify_directly_issued_by(ca)


def test_the_api_can_read_what_it_is_given(render):
    for values in (CPU, EVERYTHING):
        specs = pod_specs(render(*values))
        given = environment(specs["one-recon3d-api"]) | {"RECON3D_ID_SECRET": "x" * 40}
        assert ApiSettings.from_env(given).namespace in ("studio", "a")
        sweeper = ApiSettings.from_env(environment(specs["one-recon3d-sweeper"]))
        assert sweeper.sweep_namespaces == (("studio",) if values is CPU else ("a", "b"))


def test_all_who_write_or_read_results_know_the_places_outside_the_store(render):
    specs = pod_specs(render(*EVERYTHING))
    for name in ("operator", "api", "sweeper"):
        assert environment(specs[f"one-recon3d-{name}"])["RECON3D_OUTPUT_REFS"] == "s3://theirs/team"
    for name in ("operator", "api"):
        assert environment(specs[f"one-recon3d-{name}"])["RECON3D_INPUT_S3"] == "s3://scans/public/"


def test_a_shared_bucket_is_swept_by_one_who_sees_all_jobs(render):
    docs = render(*EVERYTHING)
    find(docs, "CronJob")
    for namespace in ("a", "b"):
        assert rights_of(find(docs, "Role", "sweeper", namespace)["rules"]) == {
            ("list", "recon3d.io", "reconstructionjobs", "")
        }
        assert find(docs, "RoleBinding", "sweeper", namespace)["subjects"][0]["namespace"] == "a"


def rights_of(rules):
    return {
        (verb, group, *(resource.split("/") + [""])[:2])
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_operator_has_the_rights_that_it_checks_and_no_other(render):
    docs = render(*CPU, "--set=jobs.namespaces={a,b},api.namespace=a")
    for namespace in ("a", "b"):
        role = find(docs, "Role", "one-recon3d-operator", namespace)
        assert rights_of(role["rules"]) == set(startup.RIGHTS)
        capacity = find(docs, "Role", "operator-capacity", namespace)["rules"]
        capacity += find(docs, "ClusterRole", "nodes")["rules"]
        assert rights_of(capacity) == set(startup.CAPACITY_RIGHTS)
    assert rights_of(find(docs, "Role", "operator-lease")["rules"]) == set(startup.LEASE_RIGHTS)
    assert rights_of(find(docs, "ClusterRole", "tokenreview")["rules"]) == set(startup.PROGRESS_RIGHTS)
    assert rights_of(find(docs, "ClusterRole", "nodes")["rules"]) == {("list", "", "nodes", "")}
    definition = find(docs, "ClusterRole", "definition")["rules"]
    assert rights_of(definition) == {("get", "apiextensions.k8s.io", "customresourcedefinitions", "")}
    assert definition[0]["resourceNames"] == ["reconstructionjobs.recon3d.io"]
    everything = [rule for doc in docs if doc["kind"].endswith("Role") for rule in doc["rules"]]
    assert not [rule for rule in everything if "*" in str(rule)]


def test_webhooks_bring_the_right_to_read_secrets_and_nothing_else_does(render):
    values = ("--set=webhooks.enabled=true", "--set=webhooks.privateHosts={hooks.example}")
    docs = render(*CPU, *values, "--set=jobs.namespaces={a},api.namespace=a")
    rules = find(docs, "Role", "one-recon3d-operator", "a")["rules"]
    assert rights_of(rules) == {*startup.RIGHTS, *startup.WEBHOOK_RIGHTS}
    settings = Settings.from_env(environment(pod_specs(docs)["one-recon3d-operator"]))
    assert (settings.webhooks, settings.webhook_private_hosts) == (True, ("hooks.example",))


def test_runners_have_an_account_without_any_right(render):
    docs = render(*CPU)
    account = find(docs, "ServiceAccount", "runner")
    assert account["automountServiceAccountToken"] is False
    subjects = [subject["name"] for doc in docs if doc["kind"].endswith("Binding") for subject in doc["subjects"]]
    assert account["metadata"]["name"] not in subjects


def test_the_definition_is_the_generated_one_and_stays(render):
    generated = yaml.safe_load((ROOT / "crds/reconstructionjobs.yaml").read_text())
    rendered = find(render(*CPU), "CustomResourceDefinition")
    assert rendered["spec"] == generated["spec"], "make crds"
    assert rendered["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert not [doc for doc in render(*CPU, "--set=crds.enabled=false") if doc["kind"] == "CustomResourceDefinition"]


def test_the_store_stays_unless_told_otherwise(render):
    kept = find(render(*CPU), "PersistentVolumeClaim")["metadata"]
    assert kept["annotations"]["helm.sh/resource-policy"] == "keep"
    dropped = find(render(*CPU, "--set=store.pvc.keep=false"), "PersistentVolumeClaim")["metadata"]
    assert "annotations" not in dropped


def test_each_namespace_has_its_own_pieces(render):
    docs = render(*GPU, "--set=jobs.namespaces={a,b}")
    for kind, name in (
        ("ServiceAccount", "runner"), ("ResourceQuota", ""), ("NetworkPolicy", "runner"), ("ConfigMap", "progress-ca"),
        ("PersistentVolumeClaim", "store"), ("Role", "operator"), ("RoleBinding", "operator"),
    ):  # fmt: skip
        for namespace in ("a", "b"):
            find(docs, kind, name, namespace)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("--set=device=cuda",), "licenses.nvdiffrast.acceptNonCommercial=true"),
        (("--set=device=cuda",), "runner.rasteriser=drtk"),
        (("--set=runner.rasteriser=vulkan",), "'/runner/rasteriser': value must be one of 'nvdiffrast', 'drtk'"),
        (("--set=image.reconviagen.repository=r",), "licenses.reconviagen.acceptNonCommercial=true"),
        (("--set=api.replicas=2",), "store.pvc.accessMode=ReadWriteMany"),
        (("--set=api.autoscaling.enabled=true",), "one api replica only"),
        (("--set=store.pvc.accessMode=ReadWriteOncePod",), "ReadWriteOncePod lets one Pod in"),
        (("--set=store.type=s3",), "needs store.s3.bucket"),
        (("--set=jobs.outputRefs={s3://theirs/a}",), "needs store.type=s3"),
        (("--set=api.namespace=elsewhere",), "api.namespace must be one of jobs.namespaces"),
        (("--set=kueue.enabled=true",), "needs kueue.queueName"),
        (("--set=api.oidc.issuer=https://id.example.org",), "needs api.oidc.audience"),
        (("--set=progress.tls.mode=existing",), "needs progress.tls.secretName"),
        (("--set=api.ingress.enabled=true",), "needs api.ingress.host"),
        (("--set=api.webhookSecret=hooks",), "needs webhooks.enabled=true"),
        (("--set=api.signedUrlSeconds=60",), "needs store.type=s3"),
        (("--set=api.corsOrigins={studio}",), "'/api/corsOrigins/0'"),
        (("--set=device=tpu",), "'/device': value must be one of 'cuda', 'cpu'"),
        (("--set=replicas=2",), "additional properties 'replicas' not allowed"),
        (("--set=jobs.gpus=0",), "'/jobs/gpus'"),
        (("--set=runner.memory=lots",), "'/runner/memory'"),
        (("--set=jobs.podOverrides={hostNetwork}",), "'/jobs/podOverrides/0'"),
        (("--set=accelerator.resourceName=gpu",), "'/accelerator/resourceName'"),
    ],
    ids=lambda value: value[0].removeprefix("--set=") if isinstance(value, tuple) else "",
)
def test_refusals_say_what_to_do(render, change, text):
    with pytest.raises(Refusal) as caught:
        render(*CPU, *change)
    assert text in str(caught.value)


def test_the_schema_describes_every_value():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def check(value, node, path):
        if "properties" in node:
            assert node["additionalProperties"] is False, path
            assert set(value) == set(node["properties"]) - {"global"}, path
            for key in value:
                check(value[key], node["properties"][key], f"{path}.{key}")

    check(values, schema, "")


def test_alerts_and_dashboard_name_metrics_that_exist():
    from prometheus_client import generate_latest
    from recon3d_operator.metrics import Metrics

    known = generate_latest(Metrics(lambda: None).registry).decode()
    used = (CHART / "files/rules.yaml").read_text() + (CHART / "files/dashboard.json").read_text()
    for name in set(re.findall(r"\b(recon3d_[a-z_]+)\b", used)):
        base = re.sub(r"_(total|bucket)$", "", name)
        assert f"# HELP {base}" in known, name


@pytest.mark.needs("kube-score")
def test_kube_score_has_no_critical_finding(render_text, tmp_path: Path):
    file = tmp_path / "all.yaml"
    text = render_text(*CPU)
    # A definition is too large for it, and tests are hooks that live for a minute.
    kept = [
        doc for doc in text.split("\n---\n") if "kind: CustomResourceDefinition" not in doc and "/tests/" not in doc
    ]
    file.write_text("\n---\n".join(kept))
    ignored = (
        # A limit of CPU only slows a Pod down; nobody pulls what has a version as its tag again.
        "container-resources,container-image-pull-policy,"
        # One replica is enough of what takes a Lease, and of what mounts a ReadWriteOnce store.
        "deployment-replicas,pod-disruptionbudget,deployment-has-host-podantiaffinity,"
        # User 65532 is an image's own; ephemeral storage is limited by the size of each emptyDir.
        "container-security-context-user-group-id,container-ephemeral-storage-request-and-limit,"
        # Runners are Pods that the operator makes.
        "networkpolicy-targets-pod"
    )
    done = subprocess.run(
        [tool("kube-score"), "score", "--output-format", "ci", "--ignore-test", ignored, str(file)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert not [line for line in done.stdout.splitlines() if line.startswith("[CRITICAL]")], done.stdout
    assert "[OK]" in done.stdout, done.stderr

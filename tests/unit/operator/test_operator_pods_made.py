"""The runner's Pod: what it may do, what it is told, and what it sees of the store."""

from __future__ import annotations

import pytest
from kubecluster.world import job_spec
from recon3d_contract.environment import SettingsError
from recon3d_contract.errors import Code, Recon3dError
from recon3d_contract.job import parse_job
from recon3d_operator.pod import build_pod
from recon3d_operator.settings import Settings

UID = "0b7bf5a2-6a52-4c1c-8f0c-4f1f2d1f0001"


def job(**spec):
    return {"metadata": {"name": "chair", "namespace": "studio", "uid": UID}, "spec": job_spec(**spec)}


def settings(**changes):
    return Settings(**{"runner_image": "registry.example/runner@sha256:ab", "store": "pvc:results", **changes})


def mounts(pod):
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    return {m["mountPath"]: (volumes[m["name"]], m) for m in pod["spec"]["containers"][0]["volumeMounts"]}


def test_it_is_restricted():
    spec = build_pod(job(), 1, settings())["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["restartPolicy"] == "Never"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*spec["containers"], *spec["initContainers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_it_takes_exactly_one_accelerator():
    pod = build_pod(job(engine="both"), 1, settings(accelerator="nvidia.com/mig-1g.10gb"))
    resources = [
        container.get("resources", {}) for container in pod["spec"]["containers"] + pod["spec"]["initContainers"]
    ]
    assert [each["limits"].get("nvidia.com/mig-1g.10gb") for each in resources] == ["1", None]
    assert resources[0]["requests"]["nvidia.com/mig-1g.10gb"] == "1"
    on_cpu = build_pod(job(), 1, settings(device="cpu"))
    assert list(on_cpu["spec"]["containers"][0]["resources"]["limits"]) == ["memory"]


BOTH = {"reconviagen_image": "registry.example/reconviagen@sha256:cd"}


def test_both_engines_are_two_containers_of_one_pod_with_one_accelerator(environment_of):
    pod = build_pod(job(engine="both"), 1, settings(**BOTH))
    folder, first = pod["spec"]["initContainers"]
    (last,) = pod["spec"]["containers"]
    assert (folder["name"], first["name"], last["name"]) == ("folder", "reconviagen", "runner")
    assert (first["image"], last["image"]) == (BOTH["reconviagen_image"], "registry.example/runner@sha256:ab")
    assert first["resources"]["limits"] == last["resources"]["limits"]
    environments = [{each["name"]: each["value"] for each in container["env"]} for container in (first, last)]
    assert [each["RECON3D_ENGINE"] for each in environments] == ["reconviagen", "nvdiffrec"]
    assert environments[0]["RECON3D_LEAVE"] == environments[1]["RECON3D_TAKE"] == "/parts"
    assert [each["RECON3D_IMAGE_DIGEST"] for each in environments] == ["sha256:cd", "sha256:ab"]
    assert environments[0]["RECON3D_JOB"] == environments[1]["RECON3D_JOB"]
    assert first["volumeMounts"] == last["volumeMounts"]
    assert first["securityContext"] == last["securityContext"]


def test_the_rasteriser_is_asked_for_where_the_installation_names_it():
    pod = build_pod(job(engine="both"), 1, settings(**BOTH, rasteriser="drtk"))
    first, last = (
        {each["name"]: each["value"] for each in container["env"]}
        for container in (pod["spec"]["initContainers"][1], pod["spec"]["containers"][0])
    )
    assert last["RECON3D_RASTERISER"] == "drtk"
    assert "RECON3D_RASTERISER" not in first  # another image, with a rasteriser of its own
    with pytest.raises(SettingsError, match="must be drtk or nvdiffrast"):
        Settings.from_env({"RECON3D_RUNNER_IMAGE": "r", "RECON3D_STORE": "pvc:s", "RECON3D_RASTERISER": "vulkan"})


def test_an_engine_whose_container_died_is_left_out_of_the_next_run(environment_of):
    lost = {"number": 1, "lostEngine": "reconviagen", "lostCode": "OUT_OF_MEMORY"}
    pod = build_pod({**job(engine="both"), "status": {"attempts": [lost]}}, 2, settings(**BOTH))
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["folder"]
    assert environment_of(pod)["RECON3D_LOST"] == "reconviagen=OUT_OF_MEMORY"
    assert environment_of(pod)["RECON3D_ENGINE"] == "nvdiffrec"


def test_an_engine_alone_has_its_own_image():
    images = {
        engine: build_pod(job(engine=engine), 1, settings(**BOTH))["spec"]["containers"][0]["image"]
        for engine in ("nvdiffrec", "reconviagen")
    }
    assert images == {"nvdiffrec": "registry.example/runner@sha256:ab", "reconviagen": BOTH["reconviagen_image"]}


def test_the_job_arrives_as_it_was_given(environment_of):
    given = job(priority=7, input={"builtin": "example"}, nvdiffrec={"iterations": 40})
    environment = environment_of(build_pod(given, 3, settings()))
    assert parse_job(environment["RECON3D_JOB"]).nvdiffrec.iterations == 40
    assert "priority" not in environment["RECON3D_JOB"]
    assert environment["RECON3D_JOB_UID"] == UID
    assert environment["RECON3D_ATTEMPT"] == "3"
    assert environment["RECON3D_DEVICE"] == "cuda"
    assert environment["RECON3D_INPUT"] == "builtin:example"
    assert environment["RECON3D_IMAGE_DIGEST"] == "sha256:ab"


def test_nothing_in_a_job_is_expanded_by_kubernetes():
    pod = build_pod(job(input={"s3": "s3://bucket/$(RECON3D_JOB_UID)"}), 1, settings())
    values = {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"]}
    assert values["RECON3D_INPUT"] == "s3://bucket/$$(RECON3D_JOB_UID)"
    assert "$$(RECON3D_JOB_UID)" in values["RECON3D_JOB"]


def test_of_the_store_it_sees_its_own_folder_only(environment_of):
    pod = build_pod(job(), 1, settings())
    found = mounts(pod)
    volume, mount = found[f"/store/jobs/{UID}"]
    assert volume["persistentVolumeClaim"] == {"claimName": "results"}
    assert mount["subPath"] == f"jobs/{UID}"
    assert [path for path, (each, _) in found.items() if "persistentVolumeClaim" in each] == [f"/store/jobs/{UID}"]
    assert environment_of(pod)["RECON3D_OUTPUT"] == "/store"


def test_an_upload_is_its_own_folder_read_only(environment_of):
    pod = build_pod(job(input={"upload": "abcd1234"}), 1, settings())
    _, mount = mounts(pod)["/input/views"]
    assert (mount["subPath"], mount["readOnly"]) == ("inputs/abcd1234", True)
    assert environment_of(pod)["RECON3D_INPUT"] == "/input/views"
    assert [volume["name"] for volume in pod["spec"]["volumes"]].count("store") == 1


def test_a_volume_as_input_is_read_only(environment_of):
    pod = build_pod(job(input={"pvc": {"claimName": "scans", "path": "a/b"}}), 1, settings())
    volume, mount = mounts(pod)["/input/views"]
    assert volume["persistentVolumeClaim"] == {"claimName": "scans", "readOnly": True}
    assert (mount["subPath"], mount["readOnly"]) == ("a/b", True)


def test_an_s3_store_needs_no_volume(environment_of):
    pod = build_pod(job(), 1, settings(store="s3://bucket/recon3d", store_secret="store"))
    assert environment_of(pod)["RECON3D_OUTPUT"] == "s3://bucket/recon3d"
    assert pod["spec"]["initContainers"] == []
    assert pod["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "store"}}]


def test_shared_memory_lies_in_the_memory_limit():
    pod = build_pod(job(), 1, settings(memory="24Gi", shm="8Gi"))
    volume, _ = mounts(pod)["/dev/shm"]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    assert pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "24Gi"


def test_the_progress_token_is_the_only_one(environment_of):
    pod = build_pod(job(), 1, settings(progress_url="https://operator.example:8443/progress", progress_ca="ca"))
    volume, mount = mounts(pod)["/var/run/recon3d"]
    token = volume["projected"]["sources"][0]["serviceAccountToken"]
    assert token["audience"] == "recon3d-progress"
    assert mount["readOnly"] is True
    assert environment_of(pod)["RECON3D_TOKEN"] == "/var/run/recon3d/token"
    assert environment_of(pod)["RECON3D_CA"] == "/var/run/recon3d/ca.crt"


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"input": {"path": "/etc"}}, Code.INPUT_NOT_ALLOWED),
        ({"seed": "x"}, Code.INVALID_REQUEST),
    ],
)
def test_what_cannot_run_in_a_cluster(spec, code):
    with pytest.raises(Recon3dError) as caught:
        build_pod(job(**spec), 1, settings())
    assert caught.value.code is code


def test_overrides_need_the_administrators_policy():
    wanted = job(pod={"nodeSelector": {"gpu": "h100"}, "priorityClassName": "high"})
    pod = build_pod(wanted, 1, settings(pod_overrides=("nodeSelector",)))
    assert pod["spec"]["nodeSelector"] == {"gpu": "h100"}
    assert "priorityClassName" not in pod["spec"]


def test_the_installation_has_defaults_that_an_allowed_override_replaces():
    defaults = {"runtimeClassName": "nvidia", "nodeSelector": {"gpu": "rtx3090"}}
    wanted = job(pod={"nodeSelector": {"gpu": "h100"}})
    made = build_pod(wanted, 1, settings(pod_defaults=defaults, pod_overrides=("nodeSelector",)))
    assert (made["spec"]["runtimeClassName"], made["spec"]["nodeSelector"]) == ("nvidia", {"gpu": "h100"})
    assert build_pod(wanted, 1, settings(pod_defaults=defaults))["spec"]["nodeSelector"] == {"gpu": "rtx3090"}


def test_names_are_the_duplicate_guard():
    one, again, two = (build_pod(job(), n, settings())["metadata"]["name"] for n in (1, 1, 2))
    assert one == again != two
    other = job()
    other["metadata"]["uid"] = "another"
    assert build_pod(other, 1, settings())["metadata"]["name"] != one
    other["metadata"]["name"] = "a" * 63
    assert len(build_pod(other, 1, settings())["metadata"]["name"]) <= 63

"""Settings come from the environment, and everything wrong is told at once."""

from __future__ import annotations

import pytest
from recon3d_contract.environment import SettingsError
from recon3d_operator.main import proxy_of
from recon3d_operator.settings import Settings

GOOD = {"RECON3D_RUNNER_IMAGE": "r", "RECON3D_STORE": "pvc:results"}


def test_defaults():
    settings = Settings.from_env(GOOD)
    assert settings == Settings(runner_image="r", store="pvc:results")
    assert settings.quota_key == "requests.nvidia.com/gpu"
    assert settings.serves("anywhere")


def test_everything_is_read():
    settings = Settings.from_env(
        {**GOOD, "RECON3D_NAMESPACES": "a, b", "RECON3D_DEVICE": "cpu", "RECON3D_MAX_RUNNING": "3",
         "RECON3D_RETRY_BASE_S": "0.5", "RECON3D_LABELS": "team=x,cost=y"}
    )  # fmt: skip
    assert settings.namespaces == ("a", "b")
    assert settings.quota_key is None
    assert settings.max_running == 3
    assert settings.retry_base_s == 0.5
    assert settings.labels == {"team": "x", "cost": "y"}
    assert not settings.serves("c")


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"RECON3D_MAX_RUNNING": "many", "RECON3D_LABELS": "x"})
    lines = str(caught.value).splitlines()
    assert [line.split("=")[0].split()[0] for line in lines] == [
        "RECON3D_RUNNER_IMAGE", "RECON3D_STORE", "RECON3D_MAX_RUNNING", "RECON3D_LABELS"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [("DEVICE", "tpu"), ("STORE", "/mnt"), ("MEMORY", "lots"), ("POD_OVERRIDES", "volumes"), ("WORKERS", "0"),
     ("PROGRESS_URL", "http://a"), ("POD_DEFAULTS", '{"hostNetwork": true}'), ("POD_DEFAULTS", "[]")],
)  # fmt: skip
def test_values_that_cannot_be(name, value):
    with pytest.raises(SettingsError, match=f"RECON3D_{name}"):
        Settings.from_env({**GOOD, f"RECON3D_{name}": value})


def test_a_proxy_of_the_environment_is_used_but_where_it_is_not_wanted(monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_of("https://10.96.0.1:443") is None
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert proxy_of("https://10.96.0.1:443") == "http://proxy.example:3128"
    monkeypatch.setenv("NO_PROXY", "10.96.0.1,.cluster.local")
    assert proxy_of("https://10.96.0.1:443") is None

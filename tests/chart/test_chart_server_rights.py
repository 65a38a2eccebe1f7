"""Each right that the chart gives is needed: without any one of them the operator does not start, and names it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chart_world import CPU, environment, find, pod_specs
from kubecluster.client import Client, eventually
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from recon3d_operator.cluster.kube import KubeCluster
from recon3d_operator.settings import Settings
from recon3d_operator.startup import StartError, check

pytestmark = [pytest.mark.cluster, pytest.mark.needs("helm"), pytest.mark.timeout(200, func_only=True)]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
CHECKED = {"Role": ("one-recon3d-operator", "operator-lease"), "ClusterRole": ("definition", "tokenreview")}
"""The operator does without the others: they only tell what the cluster offers."""


def problems(kubeconfig: Path, settings: Settings) -> list[str]:
    """What the operator says at its start, as that user."""

    async def ask() -> list[str]:
        configuration = Configuration()
        await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        async with ApiClient(configuration) as api:
            try:
                await check(KubeCluster(api), settings)
            except StartError as error:
                return str(error).splitlines()
            return []

    return asyncio.run(ask())


def each_without_one(rules: list[dict[str, Any]]) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Verb and resource, and the rules without them; one after the other."""
    for number, rule in enumerate(rules):
        for verb in rule["verbs"]:
            less = copy.deepcopy(rules)
            less[number]["verbs"].remove(verb)
            yield verb, rule["resources"][0], [rule for rule in less if rule["verbs"]]


def misses(lines: list[str], verb: str, resource: str) -> bool:
    """Whether that is what the lines miss, and all of it."""
    (line, *others) = lines or [""]
    named = resource.split("/", maxsplit=1)[0].rstrip("s") in line.lower()
    return line.startswith("the operator may not") and verb in line.split() and named and not others


def test_without_any_one_of_its_rights_the_operator_does_not_start_and_names_it(render, release, admin: Client, plane):
    release("install", *CPU)
    docs = render(*CPU)
    settings = Settings.from_env(environment(pod_specs(docs)["one-recon3d-operator"]))
    kubeconfig = plane.user("system:serviceaccount:studio:one-recon3d-operator")
    assert problems(kubeconfig, settings) == []
    tried = 0
    for kind, names in CHECKED.items():
        for name in names:
            role = find(docs, kind, name)
            place = f"{RBAC}/namespaces/studio/roles" if kind == "Role" else f"{RBAC}/clusterroles"
            path = f"{place}/{role['metadata']['name']}"
            for verb, resource, less in each_without_one(role["rules"]):
                admin.merge(path, {"rules": less})
                # The API server's own knowledge of its rules follows in a moment.
                eventually(
                    lambda verb=verb, what=resource: misses(problems(kubeconfig, settings), verb, what),
                    what=f"{verb} {resource} is missed, and nothing else",
                )
                tried += 1
            admin.merge(path, {"rules": role["rules"]})
            eventually(lambda: not problems(kubeconfig, settings), what="all is there again")
    assert tried == 20

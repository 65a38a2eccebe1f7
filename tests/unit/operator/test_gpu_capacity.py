"""What is made of nodes: how many accelerators, and whether each has enough memory."""

from __future__ import annotations

import pytest
from recon3d_operator.rules.capacity import Offer, fact, offer

GPU = "nvidia.com/gpu"


def node(count=1, mib=None, ready="True", **spec):
    labels = {} if mib is None else {f"{GPU}.memory": str(mib)}
    status = {"allocatable": {GPU: str(count)}, "conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": {"labels": labels}, "spec": spec, "status": status}


def test_only_nodes_count_that_take_pods():
    nodes = [node(2), node(4, ready="Unknown"), node(8, unschedulable=True), node(0, mib=1)]
    assert offer(nodes, GPU) == Offer(2, None)


def test_the_smallest_memory_counts():
    assert offer([node(1, 81559), node(2, 24576), node(1)], GPU) == Offer(4, 24576)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, ("Unknown", "NodesNotVisible")),
        (Offer(0, None), ("False", "NoAccelerator")),
        (Offer(1, None), ("True", "MemoryNotTold")),
        (Offer(1, 11264), ("False", "MemoryTooSmall")),
        (Offer(1, 12288), ("True", "Sufficient")),
    ],
)
def test_the_condition(found, expected):
    assert fact(found, GPU)[:2] == expected


def test_it_stands_in_the_status_without_a_write_of_its_own(world):
    world.controller.capacity = fact(Offer(1, 8192), GPU)
    world.submit("chair")
    assert world.condition("chair", "GPUCapacity") == ("False", "MemoryTooSmall")
    world.run("chair")
    world.complete("chair")
    writes = [call for call in world.cluster.calls if call == "write_status"]
    assert len(writes) == 3

"""How the tests share a machine: what takes longest begins first.

Tests that this machine cannot run are skipped with the reason (kubecluster.able), and what a test measured is shown at
the end, whichever process measured it.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from kubecluster.able import LEFT_OUT, left_out

LONG = ("tests/integration/", "tests/unit/runner/scene/", "tests/unit/runner/", "tests/chart/")
"""What takes longest, so that it does not begin when the others are done."""
FIGURE = "figure"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((n for n, folder in enumerate(LONG) if item.nodeid.startswith(folder)), len(LONG)))
    needs = {item: needs_of(item) for item in items}
    if any(needs.values()):
        reasons = json.loads(os.environ[LEFT_OUT]) if LEFT_OUT in os.environ else left_out()
        for item in items:
            missing = sorted({reasons[need] for need in needs[item] & reasons.keys()})
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"LEFT OUT: {'; '.join(missing)}"))


def needs_of(item: pytest.Item) -> set[str]:
    """What the test needs of the machine, by its markers."""
    needs = {need for marker in item.iter_markers("needs") for need in marker.args}
    return needs | ({"cluster"} if needs & {"node"} or item.get_closest_marker("cluster") else set())


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Any:
    """Tell what was measured: it is shown at the end of the run."""
    return lambda text: request.node.user_properties.append((FIGURE, text))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    told = [(r.nodeid, text) for r in reports for name, text in r.user_properties if name == FIGURE]
    if told:
        terminalreporter.section("figures")
        for nodeid, text in told:
            terminalreporter.line(f"{nodeid.split('::')[-1]}: {text}")

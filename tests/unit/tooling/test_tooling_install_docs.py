"""What docs/install.md tells an administrator to set, to look for and to expect exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs/install.md").read_text()
PROSE = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
VALUES = yaml.safe_load((ROOT / "charts/recon3d/values.yaml").read_text())


def is_value(name: str) -> bool:
    """Whether the chart has this value."""
    found = VALUES
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return True


def test_every_value_is_the_chart_s() -> None:
    named = set(re.findall(r"`((?:[a-zA-Z0-9]+\.)+[a-zA-Z0-9]+)(?:[=:][^`]*)?`", PROSE))
    named |= set(re.findall(r"--set ([a-zA-Z0-9.]+)=", TEXT))
    of_the_chart = {name for name in named if name.split(".")[0] in VALUES}
    assert len(of_the_chart) > 20
    assert [name for name in sorted(of_the_chart) if not is_value(name)] == []


def test_every_error_code_and_reason_is_one() -> None:
    from recon3d_contract.codes import TABLE

    codes = re.findall(r"^\| `([A-Z_]{4,})` \|", TEXT, re.MULTILINE)
    assert len(codes) >= 6
    assert set(codes) <= {code.value for code in TABLE}
    conditions = re.findall(r"^\| `(\w+)`, `(\w+)` \|", TEXT, re.MULTILINE)
    assert len(conditions) >= 5
    told = (ROOT / "docs/operator.md").read_text()
    assert [pair for pair in conditions if not all(f"`{word}`" in told for word in pair)] == []


@pytest.mark.parametrize("document", ["docs/install.md", "docs/images.md", "docs/gpu-nodes.md"])
def test_every_link_and_every_target_of_make_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z0-9-]+)", text)) <= targets

"""The error table is the rule: what it calls retryable is run again, and nothing else."""

from __future__ import annotations

import pytest
from recon3d_contract.errors import TABLE, Code

ENDS = [code for code, row in TABLE.items() if row.category in ("model", "resource", "validation")]


@pytest.mark.parametrize("code", ENDS)
def test_a_run_is_repeated_if_the_table_says_so(world, code):
    world.submit("chair")
    world.run("chair")
    world.end("chair", world.summary("chair", code), TABLE[code].exit_code)
    assert world.phase("chair") == ("Queued" if TABLE[code].retryable else "Failed")


@pytest.mark.parametrize(
    "code",
    [
        Code.INTERNAL,
        Code.OPTIMIZATION_DIVERGED,
        Code.OUT_OF_MEMORY,
        Code.GPU_OUT_OF_MEMORY,
        Code.QUALITY_BELOW_THRESHOLD,
    ],
)
def test_a_jobs_own_failures_are_never_retryable(code):
    assert not TABLE[code].retryable


@pytest.mark.parametrize(
    "code", [Code.INFRASTRUCTURE_LOST, Code.GPU_UNAVAILABLE, Code.STORAGE_UNAVAILABLE, Code.STORAGE_FULL]
)
def test_what_goes_away_by_itself_is_retryable(code):
    assert TABLE[code].retryable

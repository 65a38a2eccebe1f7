"""Many equal steps on a GPU, recorded once: to launch their kernels one by one takes longer than they do."""

from __future__ import annotations

from collections.abc import Callable

import torch


def repeat(step: Callable[[], None], times: int, device: torch.device) -> None:
    """Run `step` `times` times. It works in place, asks the device nothing, and does the same each time."""
    step()
    if device.type != "cuda":
        for _ in range(times - 1):
            step()
        return
    graph, here = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
    aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        graph.capture_begin(capture_error_mode="thread_local")
        step()
        graph.capture_end()
    here.wait_stream(aside)
    for _ in range(times - 1):
        graph.replay()
    here.synchronize()  # the graph goes now, and its memory with it

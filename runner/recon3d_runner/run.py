"""What a stage of an engine sees of the outside: progress, cancellation, warnings."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Run(Protocol):
    """Handed to every stage. Implemented by the worker; tests pass a recording one."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time the block as stage `name` (a name of recon3d_contract.stages) and report it as progress."""

    def tick(
        self, fraction: float, *, iteration: int | None = None, total: int | None = None, loss: float | None = None
    ) -> None:
        """Report progress within the current stage, `fraction` in [0, 1]. Raises when the run is cancelled."""

    def warn(self, code: str, message: str) -> None:
        """Record a warning for the result; `code` is a short stable word such as `unusual_size`."""


class Unheard:
    """A Run that nobody listens to: for what rehearses or measures a stage."""

    def stage(self, name: str) -> AbstractContextManager[None]:  # noqa: ARG002 - as the protocol has it
        """Nothing to time."""
        return nullcontext()

    def tick(
        self, fraction: float, *, iteration: int | None = None, total: int | None = None, loss: float | None = None
    ) -> None:
        """Nothing to tell."""

    def warn(self, code: str, message: str) -> None:
        """Nobody to warn."""

"""Failures of the file system, told without paths."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from recon3d_contract.errors import Code, Recon3dError


def storage_error(error: OSError) -> Recon3dError:
    """Return STORAGE_FULL or STORAGE_UNAVAILABLE for a failure to write or to list."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Recon3dError(Code.STORAGE_FULL)
    return Recon3dError(Code.STORAGE_UNAVAILABLE, f"The storage cannot be used: {reason(error)}.")


def reason(error: OSError) -> str:
    """What the operating system says, without the path."""
    return os.strerror(error.errno) if error.errno else "unknown reason"


@contextmanager
def storing() -> Iterator[None]:
    """Turn any OSError of the block into a Recon3dError."""
    try:
        yield
    except OSError as error:
        raise storage_error(error) from None

"""`recon3d`: the command line of the job API."""

from __future__ import annotations

import sys


def main() -> int:
    """Not yet."""
    sys.stderr.write("recon3d: not yet\n")
    return 1

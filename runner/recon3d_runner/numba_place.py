"""Where numba keeps compiled kernels: by the place within the package, not by the folder that the checkout lies in.

    NUMBA_CACHE_DIR=... NUMBA_CACHE_LOCATOR_CLASSES=recon3d_runner.numba_place.InPackage

So another checkout with the same kernels finds them compiled. NUMBA_CACHE_DIR must be named after all kernels' content
(kernels.digest, or the Makefile), since numba looks for changes in one kernel's file only.
"""

from __future__ import annotations

from pathlib import Path

from numba.core.caching import UserProvidedCacheLocator

_PACKAGE = Path(__file__).resolve().parent


class InPackage(UserProvidedCacheLocator):
    """numba's own locator for NUMBA_CACHE_DIR, but for the names of the folders in it."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        """Return the folder for the kernels of `py_file`, within NUMBA_CACHE_DIR."""
        path = Path(py_file).resolve()
        if not path.is_relative_to(_PACKAGE):
            return str(super().get_suitable_cache_subpath(py_file))  # type: ignore[no-untyped-call]
        return "_".join(path.relative_to(_PACKAGE).with_suffix("").parts)

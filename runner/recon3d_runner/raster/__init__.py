"""Rasterisers behind one port: `cpu` (numba, PyPI wheels only), `nvdiffrast` (CUDA) and a float64 oracle."""

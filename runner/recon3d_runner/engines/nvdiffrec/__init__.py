"""Engine nvdiffrec: fusion, then two differentiable passes, geometry and texture. Clean-room; CPU back end."""

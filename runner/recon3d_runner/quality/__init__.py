"""Judging a finished mesh: image metrics, mesh and UV checks, exact self-intersections, the Quality record."""

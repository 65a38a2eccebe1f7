"""Health, capacity, metrics."""

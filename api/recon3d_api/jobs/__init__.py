"""The resource /jobs."""

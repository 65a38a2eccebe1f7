"""The resource /batches."""

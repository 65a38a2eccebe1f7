"""The port to the cluster, its real back end and the in-memory one, and the table of the API's refusals."""

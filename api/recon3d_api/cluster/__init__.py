"""The API server: port, client, watch cache."""

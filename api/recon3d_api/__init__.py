"""The job API over HTTP, its sweeper, and the client `recon3d`."""

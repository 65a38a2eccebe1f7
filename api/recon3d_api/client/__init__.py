"""The client `recon3d`."""

"""The resource /inputs, and files that come with a job."""

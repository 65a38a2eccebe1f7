"""The files of a result: single, and as one ZIP."""

"""The store in an S3 bucket, through obstore (extra s3). Imported only where a reference says s3."""

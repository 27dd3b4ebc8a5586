"""millrace: a Kubernetes operator that runs Python functions as batch jobs and services."""

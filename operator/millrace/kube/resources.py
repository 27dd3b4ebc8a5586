"""The kinds that we work with."""

from __future__ import annotations

from millrace.api.base import API_VERSION
from millrace.domain.labels import MANAGED_BY
from millrace.kube.api import Resource

OURS = ",".join(f"{key}={value}" for key, value in MANAGED_BY.items())

FUNCTION = Resource("Function", API_VERSION, "functions")
# With its group everywhere: apps/v1 has deployments, too.
DEPLOYMENT = Resource("Deployment", API_VERSION, "deployments")
DATASTORE = Resource("DataStore", API_VERSION, "datastores")
DATAASSET = Resource("DataAsset", API_VERSION, "dataassets")
JOBRUN = Resource("JobRun", API_VERSION, "jobruns")
JOB = Resource("Job", "batch/v1", "jobs", OURS)
CRON_JOB = Resource("CronJob", "batch/v1", "cronjobs", OURS)
POD = Resource("Pod", "v1", "pods", OURS)
CONFIG_MAP = Resource("ConfigMap", "v1", "configmaps", OURS)
EVENT = Resource("Event", "v1", "events")
LEASE = Resource("Lease", "coordination.k8s.io/v1", "leases")

# Causes before effects: a run that is read finds its Jobs.
WATCHED = (CONFIG_MAP, POD, JOB, CRON_JOB, DATASTORE, DATAASSET, FUNCTION, DEPLOYMENT, JOBRUN)
BY_KIND = {resource.kind: resource for resource in (*WATCHED, EVENT)}

"""Labels of what we make. Users' labels are never copied to it (Argo CD would prune it)."""

from __future__ import annotations

from millrace.api.base import GROUP

MANAGED_BY = {"app.kubernetes.io/managed-by": "millrace"}
COMPONENT = f"{GROUP}/component"  # run | tick | chore | revision | authorities
ATTEMPT = f"{GROUP}/attempt"
STEP = f"{GROUP}/step"  # of a parallel run's Jobs that are not its shards': plan | merge
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"  # of a shard's pod, by the Job controller
JOBRUN = f"{GROUP}/jobrun"
FUNCTION = f"{GROUP}/function"
DEPLOYMENT = f"{GROUP}/deployment"
DEPLOYMENT_ID = f"{GROUP}/deployment-id"
JOB_ID = f"{GROUP}/job-id"
SCHEDULE = f"{GROUP}/schedule"  # of a tick: its Deployment. Not that one's label, by which slots are counted
DATASTORE = f"{GROUP}/datastore"
ASSET = f"{GROUP}/asset"  # of the DataAssets that runs make

KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"  # of a Job that Kueue admits: its LocalQueue

SCHEDULED_AT = f"{GROUP}/scheduled-at"  # annotation of a schedule's JobRun: when it was due, RFC 3339 in UTC
STAGE_IMAGE = f"{GROUP}/stage-image"  # annotation of a probe's Job: an upgrade probes anew what is not healthy
PROFILE = f"{GROUP}/profile"  # annotation of a run's Job: what the status says of its profile, JSON
ASSETS = f"{GROUP}/assets"  # annotation of a run's Job: versions that it reads and the store of those that it makes, JSON
PLACES = f"{GROUP}/places"  # annotation of a run's Job: the DataStores of its outputs and logs, JSON
AS_MADE = f"{GROUP}/as-made"  # annotation of a run's Job: what Kueue and our ending it change, as it was, JSON
REVISION = f"{GROUP}/function-revision"  # annotation of a run's Job
DEPLOYMENT_REVISION = f"{GROUP}/deployment-revision"  # annotation of a run's Job
CHARGED = f"{GROUP}/charged-attempts"  # annotation of a further attempt's Job: how many before it were charged
SHA256 = f"{GROUP}/sha256"  # annotation of a DataAsset that the command line has uploaded, as staging will say it
RECLAIMS = f"{GROUP}/reclaims"  # annotation of the Job that will delete an asset's data: whose, JSON
KEEPS = f"{GROUP}/retention"  # annotation of the Job that deletes what runs have left in stores: what of whom, when, JSON
NOTIFIES = f"{GROUP}/notifies"  # annotation of the Job that tells an address: which address, of which messages, JSON
BUNDLE = f"{GROUP}/bundle-sha256"  # annotation of the ConfigMap with the installation's authorities
SHARDS = f"{GROUP}/shards"  # annotation of the Job of a parallel run's shards: domain.shards.Shards as JSON
ENDED = f"{GROUP}/ended"  # annotation of a Job that we end: REASON: MESSAGE, kept until the run is finished

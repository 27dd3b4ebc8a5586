{{/* What the operator may do in the namespaces it works in. There is no rule for Secrets: it never reads one. */}}
{{- define "millrace.rules" -}}
# Events say on a run what became of it; those of a Job without a pod say why.
- apiGroups: [""]
  resources: [events]
  verbs: [create, list]
# The revisions of Functions and Deployments, and the certificate authorities for runs that install requirements.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, delete, get, list, patch, watch]
# Pods are made by Jobs. They are read for what became of a run.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# An attempt of a run, and a probe of a DataStore, is a Job.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, delete, get, list, patch, watch]
# The clock of a Deployment with a schedule.
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [create, delete, get, list, patch, watch]
# What users apply is read, never written.
- apiGroups: [millrace.dev]
  resources: [datastores, deployments, functions]
  verbs: [get, list, watch]
# A schedule makes runs, retention deletes those that the operator made.
- apiGroups: [millrace.dev]
  resources: [jobruns]
  verbs: [create, delete, get, list, watch]
# A run's output with `asset` is a new version of it.
- apiGroups: [millrace.dev]
  resources: [dataassets]
  verbs: [create, get, list, watch]
# What the operator has to say about it.
- apiGroups: [millrace.dev]
  resources: [dataassets/status, datastores/status, deployments/status, functions/status, jobruns/status]
  verbs: [patch]
{{- end -}}

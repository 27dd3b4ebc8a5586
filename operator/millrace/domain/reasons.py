"""Why a run waits or has failed: one word each, the same in status, conditions, Events and metrics.

docs/failure-reasons.md says what each means and what to do. Beside these, a failed `stage` hands on the data plane's own
reason (millrace.data.errors), and a pod that a kubelet refuses the kubelet's.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Reasons that the operator gives."""

    # Nothing is wrong.
    VALID = "Valid"
    REACHABLE = "Reachable"
    PROBING = "Probing"
    STARTING = "Starting"
    RETRYING = "Retrying"
    SUSPENDED = "Suspended"
    QUEUED = "Queued"
    AWAITING_ADMISSION = "AwaitingAdmission"
    DATA_DELETED = "DataDeleted"
    DATA_IN_USE = "DataInUse"
    DATA_KEPT = "DataKept"
    DATA_NOT_DELETED = "DataNotDeleted"
    SENT = "Sent"
    LATE = "Late"
    QUEUE_STUCK = "QueueStuck"
    NOTIFICATION_NOT_SENT = "NotificationNotSent"
    NOTIFICATION_REFUSED = "NotificationRefused"
    NOTIFICATION_GIVEN_UP = "NotificationGivenUp"
    # What a run names is not there, or not ready: it waits.
    PROBE_FAILED = "ProbeFailed"
    DEPLOYMENT_NOT_FOUND = "DeploymentNotFound"
    REVISION_NOT_FOUND = "RevisionNotFound"
    FUNCTION_NOT_FOUND = "FunctionNotFound"
    PYTHON_VERSION_NOT_OFFERED = "PythonVersionNotOffered"
    PROFILE_NOT_FOUND = "ProfileNotFound"
    SOURCE_TOO_LARGE = "SourceTooLarge"
    DECLARATION_REJECTED = "DeclarationRejected"
    SCHEDULE_INVALID = "ScheduleInvalid"
    RUNS_MISSED = "RunsMissed"
    INPUTS_NOT_MAPPED = "InputsNotMapped"
    OUTPUTS_NOT_MAPPED = "OutputsNotMapped"
    MAPPING_REJECTED = "MappingRejected"
    ASSET_NOT_FOUND = "AssetNotFound"
    VERSION_TAKEN = "VersionTaken"
    REFERENCE_FORBIDDEN = "ReferenceForbidden"
    REFERENCE_REJECTED = "ReferenceRejected"
    INLINE_REJECTED = "InlineRejected"
    LISTING_UNSUPPORTED = "ListingUnsupported"
    MOUNT_UNSUPPORTED = "MountUnsupported"
    PARALLEL_REJECTED = "ParallelRejected"
    DATA_STORE_READ_ONLY = "DataStoreReadOnly"
    DATA_STORE_NOT_FOUND = "DataStoreNotFound"
    DATA_STORE_NOT_CHECKED = "DataStoreNotChecked"
    DATA_STORE_NOT_READY = "DataStoreNotReady"
    DEFAULT_STORE_NOT_FOUND = "DefaultStoreNotFound"
    # Its Deployment has no place for it.
    TEMPLATE_REJECTED = "TemplateRejected"
    QUEUE_FULL = "QueueFull"
    QUEUE_TIMEOUT = "QueueTimeout"
    # The API server does not take what we make.
    PAYLOAD_TOO_LARGE = "PayloadTooLarge"
    NAME_TAKEN = "NameTaken"
    INVALID_POD_TEMPLATE = "InvalidPodTemplate"
    QUOTA_EXCEEDED = "QuotaExceeded"
    FORBIDDEN = "Forbidden"
    POD_SECURITY = "PodSecurity"
    POD_NOT_CREATED = "PodNotCreated"
    # The pod does not start.
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL = "ImagePull"
    CONFIG_ERROR = "ConfigError"
    VOLUME_NOT_MOUNTED = "VolumeNotMounted"
    CLAIM_NOT_FOUND = "ClaimNotFound"
    START_ERROR = "StartError"
    # User code, or what it was given, is at fault.
    USER_ERROR = "UserError"
    HANDLER_NOT_FOUND = "HandlerNotFound"
    PARAMETER_MISMATCH = "ParameterMismatch"
    RETURN_REJECTED = "ReturnRejected"
    REQUIREMENTS_FAILED = "RequirementsFailed"
    NEEDS_BUILD = "NeedsBuild"
    OOM_KILLED = "OOMKilled"
    SCRATCH_FULL = "ScratchFull"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    # Moving data failed.
    STAGE_FAILED = "StageFailed"
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    SOURCE_REJECTED = "SourceRejected"
    UPLOAD_FAILED = "UploadFailed"
    # Somebody or something ended the pod.
    CANCELLED = "Cancelled"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    POD_DELETED = "PodDeleted"
    JOB_DELETED = "JobDeleted"
    NODE_LOST = "NodeLost"
    KILLED = "Killed"
    POD_FAILED = "PodFailed"
    RUNTIME_ERROR = "RuntimeError"

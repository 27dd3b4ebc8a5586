"""The contract inside a run's pod, as constants: paths, variables, annotations, exit codes.

Who builds the pod (build/pod.py), who works in it (inpod/) and who reads what became of it (observe/) import this module
and nothing of each other. Standard library only, Python 3.9 or later: it is also part of the runtime that is brought into
images that are not ours. docs/protocol.md explains it.
"""

from __future__ import annotations

GROUP = "millrace.dev"

# --- Containers of a run's pod ---------------------------------------------------------------------------------------
STAGE = "stage"
MAIN = "main"
COLLECT = "collect"

# --- Paths. `in`, `ctl` and `source` are read-only in main; `out`, `run` and /tmp are writable. -----------------------
ROOT = "/millrace"
IN_DIR = ROOT + "/in"
CTL_DIR = ROOT + "/ctl"
OUT_VOLUME = ROOT + "/out"
OUT_DIR = OUT_VOLUME + "/data"  # made by the runtime, so that it belongs to the user that main runs as
RUN_DIR = ROOT + "/run"
SEAL_DIR = ROOT + "/seal"  # stage and collect only
SOURCE_DIR = ROOT + "/source"  # the revision's ConfigMap: an inline source is main.py
POD_INFO_DIR = ROOT + "/pod"  # annotations through the downward API
CA_DIR = ROOT + "/ca"
TOKENS_DIR = f"{ROOT}/tokens"  # of the run's ServiceAccount, by store
STORES_DIR = ROOT + "/stores"  # stores that are folders, each below its number in the plan
TOKEN_FILE = "token"  # noqa: S105 - a name
TMP_DIR = "/tmp"  # noqa: S108 - scratch, a volume for each container's own

PAYLOAD_FILE = POD_INFO_DIR + "/payload.json"
PLAN_FILE = POD_INFO_DIR + "/plan.json"
LOCK_FILE = CTL_DIR + "/lock"  # made by stage, held by main's process 1 while it lives
DEPS_DIR = CTL_DIR + "/deps"  # wheels, unpacked
RUNTIME_DIR = CTL_DIR + "/runtime"  # the runtime, where the image is not ours
IMAGE_RUNTIME_DIR = "/opt/millrace/runtime"  # the runtime, where the image is ours
IMAGE_SERVE_DIR = "/opt/millrace/serve"  # the serving runtime and what it imports, in our images
SERVE_DIR = CTL_DIR + "/serve"  # the same, where the image is not ours
ACCESS_FILE = ROOT + "/access/tokens.json"  # hashes of the tokens that may call a service
STARTED_FILE = RUN_DIR + "/started"
EXIT_FILE = RUN_DIR + "/exit.json"  # sealed with an HMAC over its body, see inpod/runtime/seal.py
LOG_FILE = RUN_DIR + "/main.log"
STAGE_LOG_FILE = CTL_DIR + "/stage.log"
COLLECT_LOG_FILE = TMP_DIR + "/collect.log"
MAIN_KEY_FILE = RUN_DIR + "/key"  # read and removed by process 1 before user code starts
SEAL_KEY_FILE = SEAL_DIR + "/key"
TERMINATION_LOG = "/dev/termination-log"
TERMINATION_LOG_BYTES = 4096  # the kubelet's limit for one container

# --- Annotations of the pod, mounted as files -------------------------------------------------------------------------
PAYLOAD_ANNOTATION = GROUP + "/payload"
PLAN_ANNOTATION = GROUP + "/plan"
PAYLOAD_LIMIT = 192 * 1024  # bytes of both together; Kubernetes allows 256 KiB for all annotations of an object

# --- A service's pod: the names and numbers of its ports ---------------------------------------------------------------
SERVE_PORT_NAME, SERVE_PORT = "http", 8080  # requests
OPERATIONS_PORT_NAME, OPERATIONS_PORT = "operations", 8081  # readiness, load, metrics: not for callers
READY_PATH, LOAD_PATH, METRICS_PATH = "/ready", "/load", "/metrics"
DRAIN_SECONDS = 5  # after SIGTERM a service takes requests for so long, while the cluster learns that it goes

# --- Environment of user code -----------------------------------------------------------------------------------------
JOBS_PAYLOAD_FILE = "JOBS_PAYLOAD_FILE"
BATCH_INPUT_DIR = "BATCH_INPUT_DIR"
BATCH_OUTPUT_DIR = "BATCH_OUTPUT_DIR"
RESERVED_VARIABLES = (JOBS_PAYLOAD_FILE, BATCH_INPUT_DIR, BATCH_OUTPUT_DIR)  # and all that begin with MILLRACE_
RESERVED_PREFIX = "MILLRACE_"
RUN_VARIABLE = RESERVED_PREFIX + "RUN"  # the run's name
ATTEMPT_VARIABLE = RESERVED_PREFIX + "ATTEMPT"
RECLAIM_VARIABLE = RESERVED_PREFIX + "RECLAIM"  # {"stores": [entry], "item": {"type", "key"}}
SHARD_INDEX_VARIABLE = RESERVED_PREFIX + "SHARD_INDEX"  # of a parallel run, from 0
SHARD_COUNT_VARIABLE = RESERVED_PREFIX + "SHARD_COUNT"
COMPLETION_INDEX = "JOB_COMPLETION_INDEX"  # Kubernetes' own, in all containers of a shard's pod
STORE_PREFIX = RESERVED_PREFIX + "STORE_"  # credentials, by the number of the store in the plan
PARAMETER_PREFIX = RESERVED_PREFIX + "PARAMETER_"  # what plan.parametersFrom names; not handed on to user code
KEEP_VARIABLE = RESERVED_PREFIX + "KEEP"  # {"stores": [entry, ...], "items": [...]}, see inpod/keep.py
NOTIFY_VARIABLE = RESERVED_PREFIX + "NOTIFY"  # {"messages": [{"type", "body"}, ...], "ca"}, see inpod/notify.py
NOTIFY_URL_VARIABLE = RESERVED_PREFIX + "NOTIFY_URL"  # a secret as a whole
PROBE_VARIABLE = RESERVED_PREFIX + "PROBE"  # of a store's probe: {"stores": [entry, ...]} as in plan.json

# --- Exit codes: 239 to 249 are ours in every container -----------------------------------------------------------------
EXIT_RETURN_REJECTED = 239
EXIT_HANDLER_NOT_FOUND = 240
EXIT_PARAMETER_MISMATCH = 241
EXIT_UPLOAD_FAILED = 242  # collect
EXIT_DEADLINE_EXCEEDED = 243
EXIT_TERMINATED = 244  # SIGTERM before user code was over: never a success
EXIT_SCRATCH_FULL = 245
EXIT_REQUIREMENTS_FAILED = 246
EXIT_NEEDS_BUILD = 247
EXIT_STAGE_FAILED = 248
EXIT_RUNTIME_ERROR = 249  # a fault of ours, or a pod that is not as the contract says
OWN_EXIT_CODES = range(239, 250)

# --- Reasons: CamelCase, in termination messages, exit.json and status.failure.reason -------------------------------------
REASONS = {
    EXIT_RETURN_REJECTED: "ReturnRejected",
    EXIT_HANDLER_NOT_FOUND: "HandlerNotFound",
    EXIT_PARAMETER_MISMATCH: "ParameterMismatch",
    EXIT_UPLOAD_FAILED: "UploadFailed",
    EXIT_DEADLINE_EXCEEDED: "DeadlineExceeded",
    EXIT_TERMINATED: "Terminated",
    EXIT_SCRATCH_FULL: "ScratchFull",
    EXIT_REQUIREMENTS_FAILED: "RequirementsFailed",
    EXIT_NEEDS_BUILD: "NeedsBuild",
    EXIT_STAGE_FAILED: "StageFailed",
    EXIT_RUNTIME_ERROR: "RuntimeError",
}
REASON_COMPLETED = "Completed"  # exit code 0
REASON_USER_ERROR = "UserError"  # any other exit code of user code's own, or a signal that it died of
REASON_INIT_FAILED = "InitFailed"  # exit code 1 of a service: its module cannot be imported, or init raised
REASON_OOM_KILLED = "OOMKilled"  # exit code 137: a process of main was killed for lack of memory

# --- Stores: which variables hold the credentials of each kind ----------------------------------------------------------
STORE_KEYS = {
    "s3": ("ACCESS_KEY", "SECRET_KEY"),
    "azureBlob": ("SECRET_KEY",),
    "gcs": ("SECRET_KEY",),
    "http": ("SECRET_KEY",),
}
# What of a store without credentials says that a run reaches it by its own identity: Azure and Google, the token of the
# ServiceAccount, the user of the pod.
BY_IDENTITY = ("azureBlob", "gcs", "token", "claim")

STOP_SECONDS = 15  # what user code has between SIGTERM and SIGKILL
GRACE_UPLOAD_SECONDS = 600  # at most that much of timeouts.uploading is added to the pod's grace period


def is_reserved(name: str) -> bool:
    """Whether a variable of user code may not have that name."""
    return name in RESERVED_VARIABLES or name.startswith(RESERVED_PREFIX)


def store_variable(index: int, key: str) -> str:
    """Name of the variable with one credential of the plan's store number `index`; key: one of STORE_KEYS."""
    return f"{STORE_PREFIX}{index}_{key}"


def parameter_variable(index: int) -> str:
    """Name of the variable that brings the value of a parameter to main."""
    return f"{PARAMETER_PREFIX}{index}"


def shard_at(only: list[int], position: int) -> int:
    """The shard that the pod with this completion index works on; `only`: those of a further attempt, or none for all."""
    return only[position] if only else position


def shard_home(run_uid: str, shard: int) -> str:
    """Where a shard's records of publishing are, below .millrace/runs/."""
    return f"{run_uid}/shards/{shard}"


def slices_key(run_uid: str) -> str:
    """The object that says which file of the input is whose, below a store's prefix."""
    return f".millrace/runs/{run_uid}/plan.json"


PARTS = ".manifest.json"  # how the key of a manifest over parts ends; no output's own key does


def part_key(key: str, shard: int) -> str:
    """The key of a shard's part of an output: PATH/OUTPUT.zip gives PATH/OUTPUT-3.zip, PATH/OUTPUT/ PATH/OUTPUT-3/."""
    end = "/" if key.endswith("/") else ".zip"
    return f"{key[: -len(end)]}-{shard}{end}"


def parts_key(key: str) -> str:
    """The key of the manifest over all parts: PATH/OUTPUT.zip and PATH/OUTPUT/ give PATH/OUTPUT.manifest.json."""
    return key.removesuffix("/").removesuffix(".zip") + PARTS

"""The SDK: Deployments and runs from a Python program, with the user's own kubeconfig.

Names and arguments are those of Craft AI's SDK where it has them, keywords only, and `namespace` (the kubeconfig's if None)
besides. In names of objects `_` becomes `-`. What cannot be done raises Refused: its message says why, its hints what to do.
"""

from millrace.cli.errors import Refused
from millrace.sdk.deployments import (
    DEPLOYMENT_EXECUTION_RULES,
    DEPLOYMENT_MODES,
    create_deployment,
    delete_deployment,
    get_deployment,
    list_deployments,
)
from millrace.sdk.mapping import InputSource, OutputDestination
from millrace.sdk.runs import cancel, get_run, list_runs, logs, results, run, wait

__all__ = [
    "DEPLOYMENT_EXECUTION_RULES",
    "DEPLOYMENT_MODES",
    "InputSource",
    "OutputDestination",
    "Refused",
    "cancel",
    "create_deployment",
    "delete_deployment",
    "get_deployment",
    "get_run",
    "list_deployments",
    "list_runs",
    "logs",
    "results",
    "run",
    "wait",
]

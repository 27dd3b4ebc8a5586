"""CustomResourceDefinitions, made from the models: the models are the single source of the API."""

from __future__ import annotations

from typing import Any, NamedTuple

from millrace.api.base import GROUP, VERSION, Model
from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.api.deployment import Deployment
from millrace.api.function import Function
from millrace.api.jobrun import JobRun

CATEGORY = "millrace"


class Kind(NamedTuple):
    """Names of a kind, and the columns that `kubectl get` prints."""

    model: type[Model]
    plural: str
    short: str
    columns: tuple[tuple[str, str, str], ...]  # name, type, JSON path
    wide: tuple[tuple[str, str, str], ...] = ()  # those of `kubectl get -o wide`

    @property
    def name(self) -> str:
        """The kind's name, such as JobRun."""
        return self.model.__name__


def _ready(column: str) -> str:
    return f".status.conditions[?(@.type=='Ready')].{column}"


AGE = ("Age", "date", ".metadata.creationTimestamp")

KINDS = (
    Kind(
        Function,
        "functions",
        "fn",
        (
            ("Ready", "string", _ready("status")),
            ("Reason", "string", _ready("reason")),
            ("Handler", "string", ".spec.handler"),
            ("Python", "string", ".spec.pythonVersion"),
            ("Revision", "string", ".status.revision"),
            AGE,
        ),
    ),
    Kind(
        DataStore,
        "datastores",
        "dstore",
        (
            ("Ready", "string", _ready("status")),
            ("Reason", "string", _ready("reason")),
            ("Bucket", "string", ".spec['s3','azureBlob','gcs','volume']['bucket','container','claimName']"),
            ("Endpoint", "string", ".spec['s3','azureBlob','gcs','http']['endpoint','baseUrl']"),
            ("Checked", "date", ".status.checked"),
            AGE,
        ),
    ),
    Kind(
        DataAsset,
        "dataassets",
        "dasset",
        (
            ("Asset", "string", ".spec.asset"),
            ("Version", "string", ".status.version"),
            ("Kind", "string", ".spec.type"),
            ("Ready", "string", _ready("status")),
            ("Reason", "string", _ready("reason")),
            ("Run", "string", ".status.producedBy.jobRun"),
            AGE,
        ),
        (("Path", "string", ".spec.path"), ("Bytes", "integer", ".status.bytes"), ("Rows", "integer", ".status.rows")),
    ),
    Kind(
        Deployment,
        "deployments",
        "mdep",
        (
            ("Function", "string", ".spec.functionRef.name"),
            ("Rule", "string", ".spec.executionRule"),
            ("Schedule", "string", ".spec.schedule.cron"),
            ("Ready", "string", _ready("status")),
            ("Reason", "string", _ready("reason")),
            ("Running", "integer", ".status.running"),
            ("Queued", "integer", ".status.queued"),
            AGE,
        ),
        (
            ("Next", "string", ".status.schedule.next[0]"),
            ("Concurrency", "integer", ".spec.concurrency"),
            ("Revision", "string", ".status.revision"),
            ("Description", "string", ".spec.description"),
        ),
    ),
    Kind(
        JobRun,
        "jobruns",
        "jr",
        (
            ("Function", "string", ".status.function"),
            ("Deployment", "string", ".spec.deploymentRef.name"),
            ("Phase", "string", ".status.phase"),
            ("Queue", "integer", ".status.queuePosition"),
            ("Reason", "string", ".status.reason"),
            ("Duration", "string", ".status.duration"),
            AGE,
        ),
        (
            ("Attempt", "integer", ".status.attempt"),
            ("Priority", "integer", ".spec.priority"),
            ("Revision", "string", ".status.functionRevision"),
            ("Description", "string", ".spec.description"),
        ),
    ),
)


def structural(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Turns a JSON schema of pydantic into a structural one.

    References are replaced by what they name, `anyOf: [X, null]` by X (an absent field, not a null one), titles and
    defaults go: a default in the schema would be written into specs, and GitOps tools would see a difference.
    """
    if "$ref" in schema:
        found = definitions[schema["$ref"].rsplit("/", 1)[1]]
        schema = {**found, **{key: value for key, value in schema.items() if key != "$ref"}}
    if "anyOf" in schema:
        real = [option for option in schema["anyOf"] if option.get("type") != "null"]
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return structural({**real[0], **rest}, definitions)
    out: dict[str, Any] = {}
    for key, value in schema.items():
        match key:
            case "title" | "default" | "$defs":
                continue
            case "properties":
                out[key] = {name: structural(found, definitions) for name, found in value.items()}
            case "items":
                out[key] = structural(value, definitions)
            case "additionalProperties" if isinstance(value, dict):
                out[key] = structural(value, definitions)
            case "additionalProperties" | "propertyNames":
                continue
            case "const":
                out |= {"enum": [value], "type": "string"}
            case _:
                out[key] = value
    if out.pop("x-quantity", False):
        # As in the core API: a quantity may be written as a number.
        return {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": out["pattern"],
            "minimum": 1,
        }
    return out


def schema_of(model: type[Model]) -> dict[str, Any]:
    """The openAPIV3Schema of a kind."""
    raw = model.model_json_schema(by_alias=True)
    properties = structural(raw, raw.get("$defs", {}))["properties"]
    return {
        "type": "object",
        "description": (model.__doc__ or "").strip(),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": properties["spec"],
            "status": properties["status"],
        },
    }


def definition(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": column_type, "jsonPath": path, **priority}
                        for columns, priority in ((kind.columns, {}), (kind.wide, {"priority": 1}))
                        for name, column_type, path in columns
                    ],
                    "schema": {"openAPIV3Schema": schema_of(kind.model)},
                }
            ],
        },
    }

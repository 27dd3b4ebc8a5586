"""What an installation decides (the chart's values): a value that is passed to decisions and builders."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import AfterValidator

from millrace.api.base import Model, Quantity

DEFAULT_PYTHON = "3.13"


class Profile(Model):
    """What a run that names the profile gets, instead of what it asks for by itself."""

    resources: dict[str, dict[str, Any]] = {}
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []
    affinity: dict[str, Any] | None = None
    priority_class_name: str | None = None
    runtime_class_name: str | None = None


def _network(text: str) -> str:
    ip_network(text)
    return text


def _network_or_host(text: str) -> str:
    return _network(text) if {"/", ":"} & set(text) else text


class HttpsInputs(Model):
    """Where inputs by https may be fetched from, besides the internet, and where not. A host that begins with a dot is all
    names below it.
    """

    allow: list[Annotated[str, AfterValidator(_network_or_host)]] = []
    deny: list[Annotated[str, AfterValidator(_network)]] = []
    max_size: Quantity = "64Gi"


class Settings(Model):
    """Settings of the installation, read from the chart's config.yaml."""

    stage_image: str
    python_versions: dict[str, str]
    image_pull_secrets: list[str] = []
    keep_pods_seconds: int = 3600
    run_as_user: int | None = 65532
    index_url: str | None = None
    ca_bundle_file: str | None = None
    stage_resources: dict[str, Any] = {}
    collect_resources: dict[str, Any] = {}
    chore_resources: dict[str, Any] = {}
    https_inputs: HttpsInputs = HttpsInputs()
    profiles: dict[str, Profile] = {}
    namespaces: list[str] = []

"""What an installation decides (the chart's values): a value that is passed to decisions and builders."""

from __future__ import annotations

from typing import Any

from millrace.api.base import Model

DEFAULT_PYTHON = "3.13"


class Profile(Model):
    """What a run that names the profile gets, instead of what it asks for by itself."""

    resources: dict[str, dict[str, Any]] = {}
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []
    affinity: dict[str, Any] | None = None
    priority_class_name: str | None = None
    runtime_class_name: str | None = None


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
    profiles: dict[str, Profile] = {}
    namespaces: list[str] = []

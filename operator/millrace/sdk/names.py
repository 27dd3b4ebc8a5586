"""What names and fields become in manifests: pure."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def object_name(text: str) -> str:
    """The name of an object: `my_deployment` is `my-deployment`."""
    return text.replace("_", "-").lower()


def said(**fields: Any) -> Object:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}

"""What others wrote, field by field: each value knows where it stands, so that a refusal can name it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pydantic import ValidationError

from millrace.api.base import API_VERSION, Model

Object = dict[str, Any]


class ConversionRefused(ValueError):
    """It cannot be converted; the message begins with the field, `hint` says what to do, "" where there is nothing."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Options:
    """What the input cannot say: names of this cluster for ids of the other system."""

    namespace: str | None = None
    deployment: str | None = None
    stores: Mapping[str, str] = field(default_factory=dict)
    assets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Converted:
    """The manifests, and what a person should know of them."""

    manifests: list[Object]
    notes: list[str]


# What is named by these words has no place here, in whatever field it stands.
_EXCLUDED = {
    r"hadoop|hdfs|livy": "Hadoop is not supported: copy the data to an object store, and run the script as a Function",
    r"mltable": "tables (MLTable) are not supported: name the files as uri_folder or uri_file",
    r"filedataset": "datasets of Azure ML v1 (FileDataset) are not supported: name the files as uri_folder or uri_file",
    r"flow": "flows are not supported: only functions and scripts of Python are run",
}


_NOTHING: Mapping[str, str] = {}


def excluded(value: Any) -> str | None:
    """Why the value, or anything in it, is not supported at all; None where no such thing is mentioned."""
    text = str(value).lower()
    return next((why for words, why in _EXCLUDED.items() if re.search(words, text)), None)


@dataclass(frozen=True)
class Field:
    """A value and its path; the path of the whole input is ""."""

    path: str
    value: Any

    def refuse(self, why: str, hint: str = "") -> NoReturn:
        """Raises ConversionRefused."""
        raise ConversionRefused(f"{self.path}: {why}" if self.path else why, hint)

    def member(self, key: str) -> Field:
        """The member of that name, which may be missing: its value is None then."""
        value = self.value.get(key) if isinstance(self.value, dict) else None
        return Field(f"{self.path}.{key}" if self.path else key, value)

    def members(self, known: Collection[str], without: Mapping[str, str] = _NOTHING) -> dict[str, Field]:
        """The members that are not empty. Refused: one that is not known, and one of `without` by the reason given there."""
        if not isinstance(self.value, dict):
            self.refuse("an object is expected")
        found = {}
        for key, value in self.value.items():
            member = self.member(key)
            if key not in known and key not in without:
                member.refuse(excluded((key, value)) or f"is not known here; known are {', '.join(sorted(known))}")
            if value in (None, "", [], {}):
                continue
            if key in without:
                member.refuse(without[key])
            found[key] = member
        return found

    def items(self) -> list[Field]:
        """The items of a list."""
        if not isinstance(self.value, list):
            self.refuse("a list is expected")
        return [Field(f"{self.path}[{number}]", value) for number, value in enumerate(self.value)]

    def text(self) -> str:
        """The text."""
        if not isinstance(self.value, str) or not self.value:
            self.refuse("is missing" if self.value is None else "a text is expected")
        return self.value

    def checked(self, model: type[Model], found: Object) -> Object:
        """What was made of this field, as the API server takes it: refused where the model says no."""
        try:
            model.model_validate(found, extra="forbid", by_alias=True, by_name=False)
        except ValidationError as error:
            first = error.errors()[0]
            where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
            self.refuse(f"as {where}: {first['msg']}")
        return found


def manifest(kind: str, name: str, namespace: str | None, spec: Object) -> Object:
    """An object of ours."""
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name[:253].rstrip("-"), **place}, "spec": spec}


def place(of: Field) -> str:
    """A path in a store. Refused where it leaves its place, or is in ours."""
    path = of.text().lstrip("/").removeprefix("./")
    if "://" in path:
        of.refuse(excluded(path) or "a path in a store is expected, and this is an address")
    if not path or {".", "..", ".millrace"} & set(path.split("/")):
        of.refuse("a path of a store is expected, without the segments ., .. and .millrace")
    return path

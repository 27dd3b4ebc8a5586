"""Inputs at web addresses."""

from __future__ import annotations

from urllib.parse import quote, unquote

from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason
from millrace.domain.references import ReferenceRejected, parse

NAME_BYTES = 255


def check_uri(what: str, uri: str) -> Obstacle | None:
    """What is wrong with an address, if anything: the pod says what is wrong with where it leads."""
    try:
        parse(uri)
    except ReferenceRejected as error:
        return Obstacle(Reason.REFERENCE_REJECTED, f"{what}: {error}", heals=False)
    return None


def file_name(uri: str, default: str) -> str:
    """The name of the file at an address, as it is staged: the last segment of its path, if that can be one."""
    path = uri.partition("#")[0].partition("?")[0].partition("://")[2].partition("/")[2]
    name = unquote(path.rpartition("/")[2])
    usable = name not in {"", ".", ".."} and not {"/", "\0"} & set(name) and len(name.encode()) <= NAME_BYTES
    return name if usable else default


def below(base: str, path: str) -> str:
    """The address of a path, as it is written in a manifest, below a web server's."""
    return f"{base.rstrip('/')}/{quote(path.strip('/'))}"

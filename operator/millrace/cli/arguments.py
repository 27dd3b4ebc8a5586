"""What stands behind the options of `millrace run SCRIPT`: pure parsing, refusals for people."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any, NoReturn

from millrace.cli.errors import Refused
from millrace.cli.names import similar
from millrace.domain.references import AssetReference, ReferenceRejected, StoreReference, parse

Object = dict[str, Any]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DURATION = re.compile(r"([0-9]{1,9}(d|h|m|s))+")
_TYPES = ("uri_folder", "uri_file")
INPUT = "data"  # the name of an input that was given none
PLACE = "STORE/paths/PATH"
SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def duration(option: str, text: str) -> float:
    """Seconds of 90s, 30m or 1h30m; a bare number is seconds."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    if not _DURATION.fullmatch(text):
        raise Refused(f"{option} {text}: a duration is expected, such as 90s, 30m or 1h30m")
    return float(sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([dhms])", text)))


def _split(option: str, text: str, form: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise Refused(f"{option} {text}: {form} is expected")
    return name, value


def _label(option: str, text: str, name: str) -> str:
    if not _LABEL.fullmatch(name) or len(name) > 63:
        raise Refused(f"{option} {text}: the name {name!r} may have lower-case letters, digits and dashes only, 63 at most")
    return name


def _place(option: str, text: str, value: str) -> Object:
    """A place in a store as `dataStore`; an input may be a version of an asset, too."""
    try:
        found = parse(value)
    except ReferenceRejected as error:
        if "/paths/" in value or "://" in value:
            raise Refused(f"{option} {text}: {error}") from None
        _no_place(option, text)
    if isinstance(found, StoreReference):
        return {"dataStore": {"name": found.store, "path": found.path}}
    if isinstance(found, AssetReference) and option == "--input":
        return {"asset": value}
    if isinstance(found, AssetReference):
        raise Refused(
            f"{option} {text}: a run makes the next version by itself", f"name the asset alone: {option} {found.asset}"
        )
    if option == "--input" and value.startswith("https://"):
        return {"uri": value, "type": "uri_file"}
    hint = f"make a DataStore for it (kubectl explain datastore.spec.s3) and name it as {PLACE}"
    raise Refused(f"{option} {text}: an address is not taken here yet", hint)


def _no_place(option: str, text: str) -> NoReturn:
    if option == "--input":
        raise Refused(
            f"{option} {text}: a file or folder of this machine, {PLACE}, or ASSET@latest is expected",
            "`kubectl get datastores` lists the stores, `millrace asset list` the assets",
        )
    raise Refused(f"{option} {text}: NAME={PLACE}, or NAME alone for an asset, is expected")


def input_texts(texts: list[str], kind: str | None) -> list[str]:
    """The values of --input as NAME[:TYPE]=REF: an input without a name is `data`, one without a type has --input-type."""
    if kind and not texts:
        raise Refused("--input-type: it says what --input is, and there is none")
    return [_input_text(text, kind) for text in texts]


def _input_text(text: str, kind: str | None) -> str:
    left, equals, value = text.partition("=")
    if not equals or "/" in left:  # a reference that has = in its path
        left, value = INPUT, text
    _, typed, own = left.partition(":")
    if kind and typed and own != kind:
        raise Refused(f"--input {text}: --input-type says {kind}")
    return f"{left}{f':{kind}' if kind and not typed else ''}={value}"


def input_entry(text: str) -> Object:
    """--input NAME[:TYPE]=STORE/paths/PATH or =ASSET@latest. Always staged: who names it here wants its files."""
    left, value = _split("--input", text, f"NAME={PLACE}")
    name, typed, kind = left.partition(":")
    if typed and kind not in _TYPES:
        raise Refused(f"--input {text}: the type {kind!r} is none of {', '.join(_TYPES)}")
    entry: Object = {"name": _label("--input", text, name), **_place("--input", text, value)}
    if "uri" in entry and kind == "uri_folder":
        hint = f"make a DataStore for its bucket and name it as {PLACE}"
        raise Refused(f"--input {text}: a web address has files only, and uri_folder is asked for", hint)
    return {**entry, **({"type": kind} if typed else {}), "stage": "Download"}


def output_entry(text: str) -> Object:
    """--output NAME=STORE/paths/PATH, or NAME for an asset in the namespace's default store."""
    name, found, value = text.partition("=")
    _label("--output", text, name)
    return {"name": name, **_place("--output", text, value)} if found else {"name": name, "asset": name}


def parameter(text: str) -> tuple[str, Any]:
    """--param NAME=VALUE: a JSON value, else text."""
    name, value = _split("--param", text, "NAME=VALUE")

    def refuse(word: str) -> NoReturn:
        raise Refused(f"--param {text}: JSON has no {word}", f"text is written as --param '{name}=\"{word}\"'")

    try:
        return name, json.loads(value, parse_constant=refuse)
    except ValueError:
        return name, value


def variable(text: str) -> tuple[str, str]:
    """--env NAME=VALUE."""
    name, value = _split("--env", text, "NAME=VALUE")
    if not _VARIABLE.fullmatch(name):
        raise Refused(f"--env {text}: {name!r} is no name of a variable")
    return name, value


def unique(option: str, entries: list[Object]) -> list[Object]:
    """The entries; refused where two have one name."""
    names = [entry["name"] for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise Refused(f"{option} {name}: given twice")
    return entries


def requirements(text: str, source: str) -> list[str]:
    """Lines of a requirements.txt that are requirements. Refused where it has options: they are the installation's."""
    found = []
    joined = re.sub(r"\\\r?\n", lambda _: " ", text)
    for raw in joined.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        if not line:
            continue
        if line.startswith("-") or " --" in line:
            option = next(word for word in line.split() if word.startswith("-")).partition("=")[0]
            hint = "export it without hashes (uv export --no-hashes)" if option == "--hash" else f"write {source} without it"
            raise Refused(f"{source}: {option} is not supported, requirements only", hint)
        if re.match(r"(\.{0,2}/|file:)", line):
            raise Refused(f"{source}: {line} is a local path, which the cluster cannot see", "build a wheel and publish it")
        found.append(line)
    return found


def script_metadata(source: str, name: str) -> list[str]:
    """Dependencies of the script's own metadata block (PEP 723, as `uv run` reads it); none without a block."""
    block = re.search(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$", source)
    if not block:
        return []
    content = "".join(line[2:] if line.startswith("# ") else line[1:] for line in block["content"].splitlines(keepends=True))
    try:
        dependencies = tomllib.loads(content).get("dependencies", [])
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{name}: the block `# /// script` is not TOML: {error}") from None
    return requirements("\n".join(map(str, dependencies)), name)


def unknown_output(name: str, names: list[str]) -> Refused:
    """The refusal of an output that a run does not have."""
    meant = similar(name, names)
    return Refused(
        f"the run has no output {name}; it has {', '.join(names) or 'none'}", *([f"did you mean {meant}?"] if meant else [])
    )

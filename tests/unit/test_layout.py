"""What the layout of the checkout must not break."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, *options: str) -> str:
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_the_standard_librarys_operator_is_found_from_the_checkout() -> None:
    """The folder operator/ has no __init__.py: as a namespace package it loses against a module of that name."""
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert python("import operator; print(operator.itemgetter(0)('ab'))") == "a"


def modules(what: str) -> set[str]:
    return set(json.loads(python(f"import json, sys, {what}; print(json.dumps(sorted(sys.modules)))")))


@pytest.mark.parametrize("what", ["millrace.cli", "millrace.cli.main", "millrace.data", "millrace.reconcile.run"])
def test_the_command_line_works_without_the_operators_dependencies(what: str) -> None:
    """`pip install millrace` brings neither kopf nor the operator's other packages."""
    assert not {"kopf", "prometheus_client", "structlog"} & modules(what)


def test_decisions_know_no_cluster() -> None:
    assert not {"kubernetes", "asyncio", "aiohttp"} & modules("millrace.reconcile.run")

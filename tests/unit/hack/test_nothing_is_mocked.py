"""The e2e suite sees the product from outside: its stores by the services' own clients, and nothing replaced (show-8)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TESTS = ROOT / "tests"
# What an e2e test may import: the standard library, the suite's own support, and these.
OUTSIDE = {"azure", "google", "integration", "lib", "lupa", "minio", "pytest", "support", "urllib3", "yaml"}
SDK = "from millrace import sdk"  # users import it: it is the product's outside
FILES = sorted((TESTS / "e2e").rglob("*.py"))
INTEGRATION = re.compile(r"^from (integration[.\w]*) import", re.MULTILINE)
SHARED = [*sorted((TESTS / "support").glob("*.py")), TESTS / "integration/inpod/index.py"]


def imported(path: Path) -> Iterator[str]:
    """The first names of the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level and ast.unparse(node) != SDK:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_an_e2e_test_imports_no_store_client_but_the_services_own_and_nothing_of_millrace(path: Path) -> None:
    assert set(imported(path)) - sys.stdlib_module_names <= OUTSIDE


def test_what_the_e2e_tests_share_imports_nothing_of_millrace() -> None:
    assert "minio" in {name for path in SHARED for name in imported(path)}
    assert [path.name for path in SHARED if {"millrace", "obstore", "boto3"} & set(imported(path))] == []
    named = {found for path in FILES for found in INTEGRATION.findall(path.read_text())}
    assert named == {"integration.inpod.index"}


@pytest.mark.parametrize("line", ["from unittest import mock", "import unittest.mock", "import moto", "import responses"])
@pytest.mark.parametrize("folder", ["tests/e2e", "tests/unit", "operator/millrace"])
def test_a_mock_is_refused_by_the_lint(line: str, folder: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", f"{folder}/test_x.py", "-"]
    done = subprocess.run(command, cwd=ROOT, input=f"{line}\n", capture_output=True, text=True, check=False)
    assert (done.returncode, "nothing is mocked" in done.stdout) == (1, True), done.stdout + done.stderr

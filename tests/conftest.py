"""Options and settings that all tests share."""

from __future__ import annotations

import os

import pytest
from hypothesis import core, settings

SEED = int(os.environ.get("MILLRACE_TEST_SEED", "20260131"))

# The same examples each time; MILLRACE_TEST_SEED=random-number looks further. Nothing is kept in the checkout.
core.global_force_seed = SEED
settings.register_profile("millrace", deadline=None, database=None, print_blob=True)
settings.load_profile("millrace")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden from what is built now")


def pytest_report_header() -> str:
    return f"hypothesis seed: {SEED} (MILLRACE_TEST_SEED)"

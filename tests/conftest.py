"""Options and settings that all tests share."""

from __future__ import annotations

import pytest
from hypothesis import core, settings

from support.recovery import Recovery
from support.seed import SEED

# The same examples each time; MILLRACE_TEST_SEED=random-number looks further. Nothing is kept in the checkout.
core.global_force_seed = SEED
settings.register_profile("millrace", deadline=None, database=None, print_blob=True)
settings.load_profile("millrace")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden from what is built now")


def pytest_report_header() -> str:
    return f"seed: {SEED} (MILLRACE_TEST_SEED={SEED} replays what is drawn by lot)"


@pytest.fixture
def recovery(request: pytest.FixtureRequest) -> Recovery:
    """Measures how long a recovery takes, for the table of faults."""
    return Recovery(request.node.user_properties)

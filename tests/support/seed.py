"""The seed of all that tests draw by lot."""

from __future__ import annotations

import os

SEED = int(os.environ.get("MILLRACE_TEST_SEED", "20260131"))

"""Names that a person types, and names that we choose: pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

LIMIT = 253  # of an object's name


def fresh(name: str, taken: Iterable[str]) -> str:
    """The name, or NAME-r2, NAME-r3 and so on: the first that is higher than all that are there.

    Not NAME-2: that is the Job of the second attempt of NAME.
    Not the first that is free: a name of a deleted run would come back, and its logs in the store are below that name.
    """
    known = set(taken)
    if name not in known:
        return name
    numbers = [int(found[1]) for other in known if (found := re.fullmatch(re.escape(name) + r"-r([0-9]{1,9})", other))]
    number = max([1, *numbers]) + 1
    return f"{name[: LIMIT - len(str(number)) - 2].rstrip('-.')}-r{number}"


def first_name(name: str) -> str:
    """The NAME of NAME-r2."""
    return re.sub(r"-r[0-9]{1,9}$", "", name)


def run_name(text: str) -> str:
    """The name in NAME, jr/NAME, jobrun/NAME or jobrun.millrace.dev/NAME."""
    return re.sub(r"^(jr|jobruns?|jobruns?\.millrace\.dev)/", "", text.strip())


def similar(name: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)), None)

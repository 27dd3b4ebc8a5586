"""Alternating rounds of contenders, and what the benchmarks of this folder share."""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
for part in ("operator", "tests"):
    sys.path.insert(0, str(ROOT / part))


def alternate(contenders: dict[str, Callable[[], None]], rounds: int, clean: Callable[[], None]) -> dict[str, list[float]]:
    """Runs each contender once in every round, the order turned round each time; seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders)[:: 1 if number % 2 else -1]:
            clean()
            os.sync()
            begun = time.perf_counter()
            contenders[name]()
            seconds[name].append(time.perf_counter() - begun)
            print(f"  round {number + 1}  {name:24} {seconds[name][-1]:7.2f} s", file=sys.stderr, flush=True)
    return seconds


def report(name: str, seconds: dict[str, list[float]], *, ours: str, theirs: str, goal: float, **more: object) -> None:
    """Prints one JSON line: the ratio of the medians (theirs to ours: above 1 means that ours is faster) and the raw
    numbers.
    """
    medians = {contender: round(statistics.median(values), 3) for contender, values in seconds.items()}
    line = {
        "benchmark": name,
        "ratio": round(medians[theirs] / medians[ours], 2),
        "goal": goal,
        "medians": medians,
        "rounds": {contender: [round(value, 3) for value in values] for contender, values in seconds.items()},
        **more,
    }
    print(json.dumps(line), flush=True)


def write_csv(path: Path, size: int) -> None:
    """Rows as a scoring job writes them: an id, names, a time stamp, amounts, a score, a flag, a reference."""
    source = random.Random(7)
    people, towns = ["Anna", "Ben", "Carla", "Dmitri", "Eve", "Farid", "Grace", "Hugo"], ["Paris", "Berlin", "Oslo", "Rome"]
    row, written = 0, 0
    with path.open("wb") as file:
        while written < size:
            lines = []
            for _ in range(20_000):
                row += 1
                day, hour = f"{source.randint(1, 12):02}-{source.randint(1, 28):02}", source.randint(0, 23)
                when = f"2026-{day}T{hour:02}:{row % 60:02}:00Z"
                lines.append(
                    f"{row},{source.choice(people)},{source.choice(towns)},{when},{source.uniform(0, 1e4):.2f},"
                    f"{source.gauss(0, 1):.6f},{source.random() < 0.3},ref-{source.randrange(10**6)}\n"
                )
            written += file.write("".join(lines).encode()[: size - written])


def write_random(path: Path, size: int) -> None:
    """Bytes that do not compress."""
    with path.open("wb") as file:
        for start in range(0, size, 16 << 20):
            file.write(os.urandom(min(16 << 20, size - start)))

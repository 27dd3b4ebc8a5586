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
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
for part in ("operator", "tests"):
    sys.path.insert(0, str(ROOT / part))


class Round(NamedTuple):
    """What one contender took in one round: seconds, and seconds of CPU of this process and those that it waited for."""

    seconds: float
    cpu: float


def alternate(contenders: dict[str, Callable[[], None]], rounds: int, clean: Callable[[], None]) -> dict[str, list[Round]]:
    """Runs each contender once in every round, the order turned round each time."""
    taken: dict[str, list[Round]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders)[:: 1 if number % 2 else -1]:
            clean()
            os.sync()
            begun, cpu = time.perf_counter(), sum(os.times()[:4])
            contenders[name]()
            taken[name].append(Round(time.perf_counter() - begun, sum(os.times()[:4]) - cpu))
            print(f"  round {number + 1}  {name:24} {taken[name][-1].seconds:7.2f} s", file=sys.stderr, flush=True)
    return taken


def report(name: str, taken: dict[str, list[Round]], *, ours: str, goals: dict[str, float], **more: object) -> None:
    """Prints one JSON line: for each peer of `goals` the ratio of the medians (the peer's to ours: above 1 means that ours
    is faster) and that of the CPU (ours to the peer's: below 1 means that ours takes less), and the raw numbers.
    """
    seconds = {contender: statistics.median(found.seconds for found in rounds) for contender, rounds in taken.items()}
    cpu = {contender: statistics.median(found.cpu for found in rounds) for contender, rounds in taken.items()}
    line = {
        "benchmark": name,
        "ratios": {peer: round(seconds[peer] / seconds[ours], 2) for peer in goals},
        "goals": goals,
        "cpu_ratios": {peer: round(cpu[ours] / cpu[peer], 2) for peer in goals},
        "medians": {contender: round(value, 3) for contender, value in seconds.items()},
        "cpu_seconds": {contender: round(value, 3) for contender, value in cpu.items()},
        "rounds": {contender: [round(found.seconds, 3) for found in rounds] for contender, rounds in taken.items()},
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

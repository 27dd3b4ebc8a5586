"""collect waits for main's end, however long that takes: what is published is what was there then."""

from __future__ import annotations

import time
from pathlib import Path

from integration.inpod.storage import Bucket
from integration.inpod.support import Pod

QUIET_SECONDS = 1.5  # collect takes a tenth of it to publish


def test_nothing_is_published_before_main_is_over_and_then_all_of_it(pod: Pod, stored: Bucket, bundle: Path) -> None:
    pod.output("always", when="Always")
    pod.seal()
    release = pod.path("/tmp/release")
    pod.source(f"""
import os, time
def predict():
    out = os.environ["BATCH_OUTPUT_DIR"]
    open(out + "/early", "w").write("1")
    print("ready")
    while not os.path.exists({str(release)!r}): time.sleep(0.01)
    open(out + "/late", "w").write("2")
""")
    collect = pod.begin("collect")
    main = pod.start(bundle)
    main.until_log("ready")
    quiet = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < quiet:
        assert stored.keys() == set()
        time.sleep(0.05)
    release.touch()
    assert main.wait().code == 0
    done = collect.wait()
    assert done.code == 0
    assert "main is over: exit code 0" in done.out, done.out
    assert stored.zip("o/always.zip") == {"early": b"1", "late": b"2"}

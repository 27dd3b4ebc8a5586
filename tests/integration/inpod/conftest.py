"""Fixtures of the in-pod programs' tests."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.inpod.storage import ACCESS_KEY, SECRET_KEY, Bucket, MinioServer
from integration.inpod.support import Ended, Pod
from millrace.inpod.bundle import write_bundle


@pytest.fixture(scope="session")
def bundle() -> Iterator[Path]:
    """The runtime as it is shipped, where every user can read it."""
    folder = Path(tempfile.mkdtemp(prefix="millrace-bundle-"))
    folder.chmod(0o755)
    write_bundle(str(folder), compiled=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def pod() -> Iterator[Pod]:
    root = Path(tempfile.mkdtemp(prefix="millrace-pod-"))
    pod = Pod(root)
    yield pod
    pod.end()
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def run(pod: Pod, bundle: Path) -> Callable[..., Ended]:
    """Run main with that source to its end."""

    def run_main(source: str = "", **how: Any) -> Ended:
        if source:
            pod.source(source)
        return pod.start(bundle, **how).wait()

    return run_main


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """A MinIO of this test session on the loopback."""
    tool = subprocess.run(
        ["hack/cluster", "tool", "minio"], stdout=subprocess.PIPE, text=True, check=True
    )  # builds it when absent
    server = MinioServer(tool.stdout.split()[-1], tmp_path_factory.mktemp("minio"))
    server.start()
    yield server.bucket()
    server.stop()


@pytest.fixture
def stored(pod: Pod, minio: Bucket) -> Bucket:
    """The pod with that store and its keys, and a bucket of its own."""
    bucket = minio.fresh()
    pod.plan["stores"] = [bucket.entry()]
    pod.credentials = {"MILLRACE_STORE_0_ACCESS_KEY": ACCESS_KEY, "MILLRACE_STORE_0_SECRET_KEY": SECRET_KEY}
    return bucket

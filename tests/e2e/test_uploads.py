"""Files of the user's machine as inputs of a run in the cluster."""

from __future__ import annotations

import hashlib

import pytest
import yaml

from support.assets import asset
from support.cluster import Namespace, kubectl
from support.command import Command
from support.store import Bucket
from support.waiting import wait_for

LIST = """
import os, pathlib
top = pathlib.Path(os.environ["BATCH_INPUT_DIR"])
print(sorted(f"{path.relative_to(top)}:{path.stat().st_size}" for path in top.rglob("*") if path.is_file()))
"""
READ = "def main(data):\n    print(open(data).read())\n"

pytestmark = pytest.mark.e2e


def test_a_folder_is_uploaded_once_and_goes_with_its_asset(millrace: Command, namespace: Namespace, store: Bucket) -> None:
    folder = millrace.folder / "Heart_data"
    (folder / "sub").mkdir(parents=True)
    files = {"a.csv": b"id\n1\n", "sub/b c ü.csv": b"x" * 70_000_000, "empty": b""}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "outside").symlink_to("/etc/passwd")
    (millrace.folder / "show.py").write_text(LIST)
    out, err = millrace("run", "show.py", "--input", "data=./Heart_data")
    assert out == "['a.csv:5', 'empty:0', 'sub/b c ü.csv:70000000']\n"
    assert "'outside' was left out" in err
    [line] = [line for line in err.splitlines() if line.startswith("Heart_data is heart-data@")]
    assert "70.0 MB, 3 files" in line
    [made] = namespace.list("dataassets")
    [run] = namespace.list("jobruns")
    staged = run["status"]["inputs"][0]
    assert (staged["asset"], staged["version"]) == ("heart-data", made["spec"]["version"])
    assert staged["sha256"] == made["metadata"]["annotations"]["millrace.dev/sha256"]
    there = store.names()
    assert len([key for key in there if key.startswith("uploads/")]) == 3
    out, err = millrace("run", "show.py", "--input", "./Heart_data")
    assert out.startswith("['a.csv:5'")
    assert "nothing is uploaded" in err
    assert [key for key in store.names() if key.startswith("uploads/")] == [k for k in there if k.startswith("uploads/")]
    _, err = millrace("asset", "download", "heart-data", "--to", "back")
    assert "checksum is right" in err
    assert (millrace.folder / "back/sub/b c ü.csv").read_bytes() == files["sub/b c ü.csv"]
    (folder / "a.csv").write_bytes(b"changed")
    out, _ = millrace("run", "show.py", "--input", "Heart_data", "-o", "yaml")
    again = list(yaml.safe_load_all(out))[1]["spec"]["inputs"][0]["asset"]
    assert again.startswith("heart-data:")
    assert again != f"heart-data:{made['spec']['version']}"
    assert len(namespace.list("dataassets")) == 1
    namespace.delete("dataassets", made["metadata"]["name"])
    wait_for("the copy is deleted", lambda: not [key for key in store.names() if key.startswith("uploads/")], seconds=60)


def test_a_file_is_handed_to_the_handler_by_its_path(millrace: Command, namespace: Namespace, store: Bucket) -> None:
    (millrace.folder / "note.txt").write_text("from here")
    (millrace.folder / "read.py").write_text(READ)
    out, _ = millrace("run", "read.py", "--handler", "main", "--input", "data=./note.txt")
    assert out == "from here\n"
    [made] = namespace.list("dataassets")
    assert made["spec"]["version"] == hashlib.sha256(b"from here").hexdigest()[:16]
    assert store.get(made["spec"]["path"]) == b"from here"


RIGHTS = (
    ("millrace", "get,list,watch,create,delete,patch", "functions.millrace.dev,jobruns.millrace.dev"),
    ("data", "get,list,create", "datastores.millrace.dev,dataassets.millrace.dev"),
    ("pods", "get,list,create", "pods,pods/log,pods/portforward"),
)


def test_who_may_not_read_the_keys_uploads_through_a_runs_pod(
    millrace: Command, namespace: Namespace, store: Bucket
) -> None:
    namespace.kubectl("create", "serviceaccount", "anna")
    for name, verbs, resources in RIGHTS:
        namespace.kubectl("create", "role", name, f"--verb={verbs}", f"--resource={resources}")
        namespace.kubectl("create", "rolebinding", name, f"--role={name}", f"--serviceaccount={namespace.name}:anna")
    config = yaml.safe_load(kubectl("config", "view", "--minify", "--raw"))
    config["users"][0]["user"] = {"token": namespace.kubectl("create", "token", "anna").strip()}
    (millrace.folder / "anna").write_text(yaml.safe_dump(config))
    rights = {"KUBECONFIG": str(millrace.folder / "anna")}
    folder = millrace.folder / "heart"
    (folder / "sub").mkdir(parents=True)
    files = {"a.csv": b"id\n1\n", "sub/b ü.csv": b"x" * 20_000_000, "manifest.json": b"{}", "empty": b""}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (millrace.folder / "show.py").write_text(LIST)
    out, err = millrace("run", "show.py", "--input", "data=./heart", env=rights)
    assert out == "['a.csv:5', 'empty:0', 'manifest.json:2', 'sub/b ü.csv:20000000']\n"
    assert "cannot read Secret store, the keys of DataStore store: you may not: through a run's pod" in err
    [run] = namespace.list("jobruns")  # the one that uploaded is gone
    [made] = namespace.list("dataassets")
    assert run["status"]["inputs"][0]["sha256"] == made["metadata"]["annotations"]["millrace.dev/sha256"]
    assert [each["metadata"]["name"] for each in namespace.list("functions")] == ["show"]
    assert store.get(f"{made['spec']['path']}/manifest.json") == b"{}"
    (millrace.folder / "read.py").write_text(READ)
    (millrace.folder / "note.txt").write_text("from here")
    out, _ = millrace("run", "read.py", "--handler", "main", "--input", "data=./note.txt", env=rights)
    assert out == "from here\n"


def test_what_cannot_be_uploaded_is_refused_before_anything_is_made(millrace: Command, namespace: Namespace) -> None:
    (millrace.folder / "show.py").write_text(LIST)
    (millrace.folder / "data").mkdir()
    _, err = millrace("run", "show.py", "--input", "./nothing", code=2)
    assert "nothing does not exist" in err
    _, err = millrace("run", "show.py", "--input", "./data", code=2)
    assert "there is no file in" in err
    (millrace.folder / "data/a").write_text("a")
    _, err = millrace("run", "show.py", "--input", "./data", code=2)
    assert "has no default store" in err
    assert namespace.list("functions") == []


def test_a_version_of_that_name_with_other_content_is_not_taken(millrace: Command, store: Bucket) -> None:
    (millrace.folder / "show.py").write_text(LIST)
    (millrace.folder / "data").write_text("a")
    version = hashlib.sha256(b"a").hexdigest()[:16]
    mine = yaml.safe_dump(asset("mine", asset="data", version=version, path="else/where"))
    millrace("asset", "create", "-f", "-", stdin=mine)
    _, err = millrace("run", "show.py", "--input", "./data", code=2)
    assert "is there already, and nobody says that it is" in err
    assert kubectl("get", "jobruns", "-n", millrace.namespace.name, "-o", "name") == ""

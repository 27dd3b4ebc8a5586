"""Makes and removes the volumes of a local cluster's claims: folders of the node, as its StorageClass promises.

Started by init.py as `python3 volumes.py STATE`, on the node. It watches claims and volumes, and looks at all of them after
each event: so nothing is missed, and an idle cluster costs nothing.
"""

import json
import shutil
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

API = "https://127.0.0.1:6443/api/v1"
PROVISIONER = "millrace.dev/node-folder"
FOLDER = Path("/var/lib/millrace-volumes")
NODE = "volume.kubernetes.io/selected-node"  # the scheduler's, once a pod wants the claim
BY = "pv.kubernetes.io/provisioned-by"
CLASS = "standard"


def main() -> None:
    state = Path(sys.argv[1])
    trust = ssl.create_default_context(cafile=str(state / "pki/ca.crt"))
    trust.load_cert_chain(state / "pki/admin.crt", state / "pki/admin.key")
    FOLDER.mkdir(parents=True, exist_ok=True)
    changed = threading.Event()
    changed.set()
    for kind in ("persistentvolumeclaims", "persistentvolumes"):
        threading.Thread(target=watch, args=(trust, kind, changed), daemon=True).start()
    while True:
        changed.wait()
        changed.clear()
        try:
            look(trust)
        except OSError as error:  # refused, or the API server is away
            print(f"volumes: {error}", file=sys.stderr, flush=True)
            time.sleep(1)
            changed.set()


def watch(trust: ssl.SSLContext, kind: str, changed: threading.Event) -> None:
    while True:
        try:
            with urllib.request.urlopen(f"{API}/{kind}?watch=true&timeoutSeconds=600", context=trust) as events:
                for _ in events:
                    changed.set()
        except OSError:
            time.sleep(1)
        changed.set()


def look(trust: ssl.SSLContext) -> None:
    volumes = {volume["metadata"]["name"]: volume for volume in ask(trust, "GET", "persistentvolumes")["items"]}
    for claim in ask(trust, "GET", "persistentvolumeclaims")["items"]:
        node = (claim["metadata"].get("annotations") or {}).get(NODE)
        name = f"pvc-{claim['metadata']['uid']}"
        if node and claim["spec"].get("storageClassName") == CLASS and name not in volumes:
            provision(trust, claim, name, node)
    for name, volume in volumes.items():
        ours = (volume["metadata"].get("annotations") or {}).get(BY) == PROVISIONER
        if ours and volume["status"].get("phase") == "Released" and "deletionTimestamp" not in volume["metadata"]:
            shutil.rmtree(FOLDER / name, ignore_errors=True)
            ask(trust, "DELETE", f"persistentvolumes/{name}")


def provision(trust: ssl.SSLContext, claim: dict, name: str, node: str) -> None:
    folder = FOLDER / name
    folder.mkdir(exist_ok=True)
    affinity = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    about = claim["metadata"]
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {BY: PROVISIONER}},
        "spec": {
            "storageClassName": CLASS,
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "local": {"path": str(folder)},  # unlike hostPath, it gets the pod's fsGroup
            "nodeAffinity": {"required": {"nodeSelectorTerms": [affinity]}},
            "claimRef": {
                "kind": "PersistentVolumeClaim",
                "namespace": about["namespace"],
                "name": about["name"],
                "uid": about["uid"],
            },
        },
    }
    ask(trust, "POST", "persistentvolumes", volume)


def ask(trust: ssl.SSLContext, method: str, path: str, body: dict | None = None) -> dict:
    data = json.dumps(body).encode() if body is not None else None
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{API}/{path}", data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, context=trust, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code in (404, 409):  # somebody was faster
            return {}
        raise OSError(f"{method} {path}: {error.read()[:300].decode(errors='replace')}") from None


if __name__ == "__main__":
    main()

"""The certificates and kubeconfigs of a local cluster, new for each `up`."""

import base64
import json
from pathlib import Path

from .shell import run

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650")

_API = ("localhost", "kubernetes", *(f"kubernetes.default{rest}" for rest in ("", ".svc", ".svc.cluster.local")))

# who: (certificate's subject, names it serves under)
_CERTIFICATES = {
    "apiserver": ("/CN=kube-apiserver", "DNS:" + ",DNS:".join(_API) + ",IP:127.0.0.1,IP:10.96.0.1,IP:{address}"),
    "admin": ("/O=system:masters/CN=millrace-admin", ""),
    "kube-controller-manager": ("/CN=system:kube-controller-manager", ""),
    "kube-scheduler": ("/CN=system:kube-scheduler", ""),
    "kubelet": ("/O=system:nodes/CN=system:node:{node}", "DNS:{node},IP:{address}"),
    "kube-proxy": ("/CN=system:kube-proxy", ""),
}


def make(folder: Path, node: str, address: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca = folder / "ca"
    _sign(ca, "/CN=millrace-ca", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign")
    for name, (subject, served) in _CERTIFICATES.items():
        extensions = "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth,serverAuth"
        if served:
            extensions += "\nsubjectAltName=" + served.format(node=node, address=address)
        _sign(folder / name, subject.format(node=node), extensions, "-CA", f"{ca}.crt", "-CAkey", f"{ca}.key")
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", folder / "sa.key")
    run("openssl", "pkey", "-in", folder / "sa.key", "-pubout", "-out", folder / "sa.pub")


def _sign(stem: Path, subject: str, extensions: str, *signer: str) -> None:
    settings = f"[req]\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\n[ext]\n{extensions}\n"
    files = ("-keyout", f"{stem}.key", "-out", f"{stem}.crt", "-config", "/dev/stdin")
    run("openssl", "req", "-x509", *_EC, "-subj", subject, *signer, *files, stdin=settings)


def kubeconfig(folder: Path, who: str, server: str, path: Path) -> None:
    """A kubeconfig with the credentials inside: the file alone is enough."""

    def data(name: str) -> str:
        return base64.b64encode((folder / name).read_bytes()).decode()

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "millrace", "cluster": {"server": server, "certificate-authority-data": data("ca.crt")}},
        ],
        "users": [
            {
                "name": who,
                "user": {"client-certificate-data": data(f"{who}.crt"), "client-key-data": data(f"{who}.key")},
            },
        ],
        "contexts": [{"name": "millrace", "context": {"cluster": "millrace", "user": who}}],
        "current-context": "millrace",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1) + "\n")

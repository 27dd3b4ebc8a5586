"""Inputs from a web server of the cluster that the installation allows, with an authority of its own (row D18)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from support.authority import Authority
from support.cluster import API_VERSION, Namespace, Object, function, job_run
from support.release import released
from support.server import serve
from support.store import becomes, secret

SHOW = "def main(data): print(open(data).read(), data.rpartition('/')[2])"
ROWS = b"age,sex\n63,1\n"
SERVER = f"""
import http.server, ssl
class Files(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = {ROWS!r} if self.path == "/rows.csv" else b""
        self.send_response(200 if body else 302)
        self.send_header("Location", "https://10.0.0.1/a" if self.path == "/away" else "/rows.csv")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("", 8443), Files)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/web/tls.crt", "/web/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def test_a_file_of_a_server_that_the_installation_allows_is_staged_and_a_wrong_sum_is_not(
    namespace: Namespace, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority").make()
    host = f"web.{namespace.name}.svc.cluster.local"
    key, certificate = authority.sign(host)
    files = secret("web", **{"server.py": SERVER, "tls.key": key, "tls.crt": certificate})
    namespace.apply(files, function("show", SHOW))
    command = ["python3", "-u", "/web/server.py"]
    serve(namespace, "web", {"/web": {"secret": {"secretName": "web"}}}, port=8443, served_at=443, command=command)

    def run(name: str, path: str, **more: str) -> Object:
        inputs = [{"name": "data", "type": "uri_file", "uri": f"https://{host}{path}", **more}]
        namespace.apply(job_run(name, "show", inputs=inputs))
        return namespace.finished(name)

    with released(tmp_path) as release:
        runs = release.values.get("runs") or {}
        allowed = {"allow": [f".{namespace.name}.svc.cluster.local"]}
        release.upgrade(runs={**runs, "caBundle": authority.certificate, "httpsInputs": allowed})
        status = run("fetch", "/moved", sha256=hashlib.sha256(ROWS).hexdigest())
        assert status["phase"] == "Succeeded", status
        [entry] = status["inputs"]
        assert (entry["bytes"], entry["identityUsed"]) == (len(ROWS), "Anonymous")
        (pod,) = namespace.pods("fetch")
        assert namespace.kubectl("logs", pod["metadata"]["name"], "-c", "main") == f"{ROWS.decode()} moved\n"
        wrong = run("wrong", "/rows.csv", sha256="0" * 64)["failure"]
        assert (wrong["reason"], wrong["container"]) == ("ChecksumMismatch", "stage")
        assert hashlib.sha256(ROWS).hexdigest() in wrong["message"]
        away = run("away", "/away")["failure"]
        assert "10.0.0.1 is a private address" in away["message"]
        read_a_store_of_that_server(namespace, host, authority)


def read_a_store_of_that_server(namespace: Namespace, host: str, authority: Authority) -> None:
    """The same server as a DataStore, with an authority of its own (row D17: a folder is refused)."""
    bundle = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": authority.certificate}}
    spec = {"http": {"baseUrl": f"https://{host}/"}, "caBundleRef": {"configMap": "ca"}}
    store = {"apiVersion": API_VERSION, "kind": "DataStore", "metadata": {"name": "files"}, "spec": spec}
    rows = {"name": "data", "dataStore": {"name": "files", "path": "rows.csv"}, "stage": "Download"}
    namespace.apply(
        bundle,
        store,
        job_run("file", "show", inputs=[{**rows, "type": "uri_file"}]),
        job_run("folder", "show", inputs=[rows]),
        job_run("writes", "show", outputs=[{"name": "out", "dataStore": {"name": "files", "path": "x"}}]),
    )
    status = namespace.finished("file")
    assert status["phase"] == "Succeeded", status
    assert [(entry["bytes"], entry["identityUsed"]) for entry in status["inputs"]] == [(len(ROWS), "Anonymous")]
    becomes(namespace, "files", "True", "Reachable")
    assert namespace.finished("folder")["failure"]["reason"] == "ListingUnsupported"
    assert namespace.finished("writes")["failure"]["reason"] == "DataStoreReadOnly"

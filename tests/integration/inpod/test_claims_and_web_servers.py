"""stage, collect and probe with stores of the kinds volume and http."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.inpod.support import Ended, Pod
from millrace.protocol import PROBE_VARIABLE
from support.https_server import Answer, Request, Web, file, https_server, redirect, status

TOKEN = "Bearer token-canary"
CLAIM = {"name": "heart", "folder": "/millrace/stores/0", "claim": "heart/team", "credentials": False, "ca": None}


def protected(answer: Answer) -> Answer:
    """Only for who has the token."""

    def check(request: Request) -> None:
        (answer if request.headers.get("Authorization") == TOKEN else status(401))(request)

    return check


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    a, b = tmp_path_factory.mktemp("web"), tmp_path_factory.mktemp("other")
    with https_server(a) as web, https_server(b) as other:
        other.answers["/seen"] = web.answers["/elsewhere"] = protected(file(b"1,2\n"))
        web.answers["/files/a%20b.csv"] = protected(file(b"1,2\n"))
        web.answers["/files/"] = protected(status(404))
        web.answers["/files/here"] = redirect("/elsewhere")
        web.answers["/files/away"] = redirect(other.url("/seen"))
        web.answers["/open/"] = status(403)
        web.answers["/broken/"] = status(502)
        web.authority.write_bytes(web.authority.read_bytes() + other.authority.read_bytes())
        yield web


def entry(pod: Pod, web: Web, base: str = "/files/", *, credentials: bool = True) -> dict[str, Any]:
    authority = pod.path("/millrace/ca/0/ca.crt")
    authority.parent.mkdir(parents=True, exist_ok=True)
    authority.write_bytes(Path(web.authority).read_bytes())
    return {
        "name": "web",
        "http": {"baseUrl": web.url(base)},
        "credentials": credentials,
        "ca": "/millrace/ca/0/ca.crt",
    }


def limits(*allow: str) -> dict[str, Any]:
    return {"allow": list(allow), "deny": [], "maxBytes": 1000}


def prepare(pod: Pod, web: Web, name: str) -> None:
    pod.plan["stores"] = [entry(pod, web)]
    pod.plan["httpsInputs"] = limits("127.0.0.1")
    place = {"type": "uri_file", "path": "/millrace/in", "stage": True, "sha256": None, "optional": False}
    uri = web.url("/files/" + name.replace(" ", "%20"))
    pod.plan["inputs"] = [{"name": "rows", "store": 0, "key": name, "uri": uri, **place}]


def test_a_file_of_a_web_server_is_fetched_with_the_store_s_credentials(pod: Pod, server: Web) -> None:
    prepare(pod, server, "a b.csv")
    done = pod.begin("stage", MILLRACE_STORE_0_SECRET_KEY=TOKEN).wait()
    assert done.code == 0, done.err
    assert pod.text("/millrace/in/a b.csv") == "1,2\n"
    assert [(item["bytes"], item["identityUsed"]) for item in done.message["inputs"]] == [(4, "Store")]


def test_a_redirect_keeps_the_credentials_on_their_server(pod: Pod, server: Web) -> None:
    prepare(pod, server, "here")
    assert pod.begin("stage", MILLRACE_STORE_0_SECRET_KEY=TOKEN).wait().code == 0
    assert pod.text("/millrace/in/here") == "1,2\n"
    prepare(pod, server, "away")
    done = pod.begin("stage", MILLRACE_STORE_0_SECRET_KEY=TOKEN).wait()
    assert (done.code, done.message["reason"]) == (248, "AccessDenied"), "the other server has not got them"
    assert done.message["message"].endswith("/seen: the server says HTTP 401")


def test_wrong_credentials_are_denied_and_nowhere_told(pod: Pod, server: Web) -> None:
    prepare(pod, server, "a b.csv")
    done = pod.begin("stage", MILLRACE_STORE_0_SECRET_KEY="Bearer wrong-canary").wait()
    assert (done.code, done.message["reason"]) == (248, "AccessDenied")
    assert done.message["message"] == f"{server.url('/files/a%20b.csv')}: the server says HTTP 401"
    assert "canary" not in done.err + json.dumps(done.message)


@pytest.mark.parametrize(
    ("base", "key", "allow", "reason"),
    [
        ("/files/", TOKEN, "127.0.0.1", None),  # there is no such page, but there is the server
        ("/open/", None, "127.0.0.1", None),  # folders are not shown
        ("/files/", "Bearer wrong-canary", "127.0.0.1", "AccessDenied"),
        ("/open/", TOKEN, "127.0.0.1", "AccessDenied"),
        ("/broken/", None, "127.0.0.1", "ServerError"),
        ("/files/", TOKEN, "192.0.2.1", "AddressRefused"),
    ],
)
def test_the_probe_of_a_web_server(
    pod: Pod, server: Web, base: str, key: str | None, allow: str, reason: str | None
) -> None:
    server.requests.clear()
    told = {"stores": [entry(pod, server, base, credentials=key is not None)], "httpsInputs": limits(allow)}
    keys = {"MILLRACE_STORE_0_SECRET_KEY": key} if key else {}
    done = pod.begin("probe", **{PROBE_VARIABLE: json.dumps(told)}, **keys).wait()
    assert (done.code, done.message.get("reason")) == (1 if reason else 0, reason)
    assert "canary" not in done.err + json.dumps(done.message)
    assert bool(server.requests) is (reason != "AddressRefused")


def mounted(pod: Pod, **item: Any) -> Path:
    """The claim's folder, which has in/a.csv."""
    folder = pod.path("/millrace/stores/0")
    (folder / "in").mkdir(parents=True)
    (folder / "in/a.csv").write_text("1,2\n")
    pod.plan["stores"] = [CLAIM]
    place = {"type": "uri_folder", "key": "in", "path": "/millrace/in/data", "mount": True, "stage": True}
    pod.plan["inputs"] = [{"name": "data", "store": 0, **place, **item}]
    return folder


@pytest.mark.parametrize(("kind", "key"), [("uri_folder", "in"), ("uri_file", "in/a.csv")])
def test_a_claim_that_is_mounted_is_looked_at_and_not_copied(pod: Pod, kind: str, key: str) -> None:
    mounted(pod, type=kind, key=key)
    done = pod.begin("stage").wait()
    assert done.code == 0, done.err
    assert done.message["inputs"] == [{"name": "data", "identityUsed": "Job"}]
    assert list(pod.path("/millrace/in").iterdir()) == []


def test_the_place_to_mount_at_is_made_where_main_could_not_make_it(pod: Pod) -> None:
    folder = mounted(pod)
    for name, kind, key in (("data", "uri_folder", "in"), ("one", "uri_file", "in/a.csv")):
        item = {"name": name, "store": 0, "type": kind, "key": key, "path": f"/millrace/in/{name}", "stage": True}
        pod.plan["inputs"] = [*pod.plan["inputs"][:1], {**item, "mount": True}] if name == "one" else pod.plan["inputs"]
    copied = {"name": "copy", "type": "uri_file", "key": "in/a.csv", "path": "/millrace/in/copy"}
    pod.plan["inputs"].append({**copied, "store": 0, "stage": True})
    done = pod.begin("stage").wait()
    assert done.code == 0, done.err
    assert list(pod.path("/millrace/in/data").iterdir()) == []
    assert pod.text("/millrace/in/one/a.csv") == ""
    assert pod.path("/millrace/in/one/a.csv").is_file()
    assert pod.text("/millrace/in/copy/a.csv") == (folder / "in/a.csv").read_text()


@pytest.mark.parametrize(
    ("item", "reason", "message"),
    [
        ({"key": "gone"}, "NotFound", "claim heart/team:/gone: no such file or folder"),
        ({"key": "in/a.csv"}, "TypeMismatch", "claim heart/team:/in/a.csv: a uri_file, but the input asks for uri_folder"),
        ({"type": "uri_file"}, "TypeMismatch", "claim heart/team:/in: a uri_folder, but the input asks for uri_file"),
        ({"key": "out"}, "KeyRefused", "claim heart/team:/out: a link that leads out of the store's folder"),
    ],
)
def test_a_place_of_a_claim_that_is_not_as_asked_for(pod: Pod, item: dict[str, Any], reason: str, message: str) -> None:
    folder = mounted(pod, **item)
    (folder / "out").symlink_to("/etc")
    done = pod.begin("stage").wait()
    assert (done.code, done.message["reason"], done.message["input"]) == (248, reason, "data")
    assert done.message["message"] == message


def test_what_goes_to_a_claim_is_named_as_a_reference_to_its_store(pod: Pod, run: Callable[..., Ended]) -> None:
    folder = mounted(pod)
    pod.plan["inputs"] = []
    pod.output(key="res/scores.zip")
    pod.plan["logs"] = {"store": 0, "prefix": "logs/score/1/"}
    assert pod.begin("stage").wait().code == 0
    code = "import os\ndef predict():\n    open(os.environ['BATCH_OUTPUT_DIR'] + '/x', 'w').write('1')\n"
    assert run(code).code == 0
    done = pod.begin("collect").wait()
    assert done.code == 0, done.err
    assert [output["uri"] for output in done.message["outputs"]] == ["heart/paths/res/scores.zip"]
    assert done.message["logs"] == "heart/paths/logs/score/1/"
    with zipfile.ZipFile(folder / "res/scores.zip") as archive:
        assert archive.read("x") == b"1"


def test_a_claim_that_the_pod_s_user_may_not_read_is_not_ready(pod: Pod) -> None:
    told = {"stores": [CLAIM]}
    done = pod.begin("probe", **{PROBE_VARIABLE: json.dumps(told)}).wait()
    assert (done.code, done.message["reason"]) == (1, "NotFound")
    pod.path("/millrace/stores/0").mkdir(parents=True)
    assert pod.begin("probe", **{PROBE_VARIABLE: json.dumps(told)}).wait().code == 0

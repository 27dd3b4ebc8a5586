"""A JSON echo handler, one worker, 64 connections: our runtime beside the bare server that it stands on, FastAPI on uvicorn,
functions-framework and func-python, in alternating rounds on this machine.

Two figures of each: requests per second, and CPU time of the server's processes per request, which other work on the machine
changes less. A round starts each contender anew. What is checked of each answer: the body of the first, and that all are 2xx.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from cluster import tools

from integration.serve.service import TOKEN, Service, bundle

ROUNDS, SECONDS, CONNECTIONS = 5, 5, 64
BODY = {"name": "millrace", "values": [1, 2, 3.5], "nested": {"a": True}}
PORT = 18080
PINNED = (
    "fastapi==0.165.0", "func-python==0.7.0", "functions-framework==3.10.2", "httptools==0.9.0", "uvicorn==0.54.0", "uvloop==0.23.0",
)  # fmt: skip
AIMS = {  # requests per second of ours at least so many times those of
    "bare server": 0.7, "FastAPI async": 3, "FastAPI sync": 3, "functions-framework": 10, "func-python": 4,
}  # fmt: skip
SOURCES = {
    "ours.py": "async def handle(body):\n    return body\n",
    "ours_sync.py": "def handle(body):\n    return body\n",
    "bare.py": """
import json
async def app(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    out = json.dumps(json.loads(body)).encode()
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(out))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": out})
""",
    "fast.py": """
from fastapi import Body, FastAPI
app = FastAPI()
@app.post("/async")
async def echo_async(body: dict = Body()):
    return body
@app.post("/sync")
def echo_sync(body: dict = Body()):
    return body
""",
    "main.py": """
import functions_framework
@functions_framework.http
def echo(request):
    return request.get_json()
""",
    "function/func.py": """
import json
def new():
    return Function()
class Function:
    async def handle(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        out = json.dumps(json.loads(body)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [[b"content-type", b"application/json"]]})
        await send({"type": "http.response.body", "body": out})
""",
    "serve_func.py": "import sys; sys.path.insert(0, 'function')\nfrom func import new\nfrom func_python.http import serve\nserve(new)\n",
}
UVICORN = (
    "-m",
    "uvicorn",
    "--port",
    str(PORT),
    "--no-access-log",
    "--log-level",
    "warning",
    "--loop",
    "uvloop",
    "--http",
    "httptools",
)
COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {  # arguments of Python, path
    "bare server": ((*UVICORN, "--lifespan", "off", "bare:app"), "/"),
    "FastAPI async": ((*UVICORN, "fast:app"), "/async"),
    "FastAPI sync": ((*UVICORN, "fast:app"), "/sync"),
    "functions-framework": (("-m", "functions_framework", "--target", "echo", "--port", str(PORT)), "/"),
    "func-python": (("serve_func.py",), "/"),
}


def below(pid: int) -> list[int]:
    """A process and all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in below(int(child)))]


def cpu(pid: int) -> float:
    """CPU seconds of these."""
    ticks = 0
    for each in below(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB, summed up."""
    lines = [line for each in below(pid) for line in Path(f"/proc/{each}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def load(pid: int, url: str, headers: dict[str, str]) -> dict[str, float]:
    """Figures of one contender in one round."""
    deadline = time.monotonic() + 30
    while True:
        try:
            answer = httpx.post(url, json=BODY, headers=headers)
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline, url
            time.sleep(0.02)
    assert answer.json() == BODY, answer.text
    command = [
        str(tools.binary("bombardier")),
        "-c",
        str(CONNECTIONS),
        "-m",
        "POST",
        "-b",
        json.dumps(BODY),
        "-p",
        "r",
        "-o",
        "json",
        "-l",
    ]
    for name, value in {"Content-Type": "application/json", **headers}.items():
        command += ["-H", f"{name}: {value}"]
    subprocess.run([*command, "-d", "1s", url], check=True, capture_output=True)
    before = cpu(pid)
    result = json.loads(subprocess.run([*command, "-d", f"{SECONDS}s", url], check=True, capture_output=True).stdout)[
        "result"
    ]
    used, answered = cpu(pid) - before, result["req2xx"]
    assert sum(result[key] for key in ("req1xx", "req3xx", "req4xx", "req5xx", "others")) == 0, result
    return {
        "rps": answered / result["timeTakenSeconds"],
        "cpu": used / answered * 1e6,
        "p99": result["latency"]["percentiles"]["99"],
        "rss": resident(pid),
    }


def ours(folder: Path, program: Path, source: str, **plan: Any) -> dict[str, float]:
    """Our runtime, as in a pod."""
    service = Service(folder, program, source, **plan).ready()
    try:
        return load(service.process.pid, service.url, {"Authorization": f"Bearer {TOKEN}"})
    finally:
        service.close()


def other(folder: Path, python: Path, name: str) -> dict[str, float]:
    """One of the others."""
    arguments, path = COMMANDS[name]
    environment = {
        "PATH": os.environ["PATH"],
        "PORT": str(PORT),
        "LISTEN_ADDRESS": f"127.0.0.1:{PORT}",
        "PYTHONPATH": str(folder),
    }
    process = subprocess.Popen(
        [str(python), *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        return load(process.pid, f"http://127.0.0.1:{PORT}{path}", {})
    finally:
        for each in reversed(below(process.pid)):
            os.kill(each, 9)
        process.wait()


def main() -> int:
    """Prints medians, ratios and the raw numbers; 1 where a contender could not run."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as name:
        folder = Path(name)
        for file, text in SOURCES.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_text(text)
        program, python = bundle(folder / "bundle"), folder / "venv" / "bin" / "python"
        uv = str(tools.binary("uv"))
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder / "venv")], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", str(python), *PINNED], check=True)
        figures: dict[str, list[dict[str, float]]] = {}
        for number in range(ROUNDS):
            contenders = ["ours", "ours, sync", "ours, no token", *COMMANDS]
            for each in contenders if number % 2 == 0 else reversed(contenders):
                if each in COMMANDS:
                    found = other(folder, python, each)
                else:
                    source = SOURCES["ours_sync.py" if each == "ours, sync" else "ours.py"]
                    found = ours(folder / f"{number}-{each}", program, source, public=each == "ours, no token")
                figures.setdefault(each, []).append(found)
                print(f"round {number + 1} {each:20} {found['rps']:8.0f}/s {found['cpu']:6.1f} µs of CPU", flush=True)
    median = {each: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for each, runs in figures.items()}
    print(f"\n{'':20} {'req/s':>8} {'CPU µs':>7} {'p99 ms':>7} {'MiB':>5}")
    for each, found in median.items():
        print(f"{each:20} {found['rps']:8.0f} {found['cpu']:7.1f} {found['p99'] / 1000:7.1f} {found['rss']:5.0f}")
    for each, aim in AIMS.items():
        mine = median["ours, sync" if each == "FastAPI sync" else "ours"]
        rate, work = mine["rps"] / median[each]["rps"], median[each]["cpu"] / mine["cpu"]
        verdict = "reached" if rate >= aim else "missed"
        print(f"{rate:5.2f} times {each} by requests, {work:5.2f} by CPU (aim {aim}: {verdict})")
    return 0


if __name__ == "__main__":
    sys.exit(main())

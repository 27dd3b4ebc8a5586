"""A service without a cluster: its Function resolved and staged as for a run, then served by the runtime of its pods."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError
from typing import Any

from millrace import protocol as p
from millrace.build.job import TooLarge
from millrace.domain.obstacle import Obstacle
from millrace.local.pod import ConfigError
from millrace.local.python import RUNNING
from millrace.local.run import LocalRun, workshop
from millrace.observe.failure import of_pod
from millrace.serve.bundle import write_own, write_packages

LOCALHOST = "127.0.0.1"


class NotServed(Exception):
    """Why there is no service; the message is for people."""


class LocalService(LocalRun):
    """The service of the run's Function; the run itself is only what its code is staged for."""

    async def serve(self, parameters: dict[str, Any], port: int) -> None:
        """Answer until `cancel`. parameters: of init. port: 0 for one that is free. Raises NotServed."""
        namespace, name = self._run.metadata.namespace, self._run.spec.function
        function = self._catalog.functions[namespace, name]
        if function.spec.handler is None:
            raise NotServed(f"Function {name} runs a script; a service needs a handler")
        asked = function.spec.python_version
        if asked not in {None, RUNNING}:
            self._listener.warn(f"Function {name} asks for Python {asked}; here it has {RUNNING}, which millrace runs on")
        spec = function.spec.model_copy(update={"python_version": RUNNING})
        self._catalog.functions[namespace, name] = function.model_copy(update={"spec": spec})
        with workshop() as folder:
            try:
                found = await self._resolved(folder)
                if isinstance(found, Obstacle):
                    raise NotServed(f"{found.reason}: {found.message}")
                pod = self._make_pod(found, 1, folder / "pod")
                if p.STAGE in pod.containers:
                    staged = await pod.run(p.STAGE, self._tell)
                    if staged.failed:
                        failure = of_pod(self._facts({p.STAGE: staged}))
                        raise NotServed(f"{failure.reason}: {failure.message}")
                main = pod.containers[p.MAIN]
                program = main.path(p.IMAGE_SERVE_DIR)
                write_packages(str(program))
                write_own(str(program))
                plan = json.loads(main.path(p.PLAN_FILE).read_text(encoding="utf-8"))
                plan["parameters"] = parameters
                plan["service"] = {"namespace": namespace, "deployment": name, "function": name}
                plan["serve"] = {"init": function.spec.init, "public": True, "drain": 0}
                plan["serve"] |= {"host": LOCALHOST, "port": port, "operationsPort": 0}
                main.path(p.PLAN_FILE).write_text(json.dumps(plan), encoding="utf-8")
                served = await main.run([found.image, "-u", str(program / "__main__.py")], self._listener.log)
            except (ConfigError, TooLarge) as error:
                raise NotServed(str(error)) from None
            except PackageNotFoundError as error:
                install = f'uv tool install "millrace[serve]" --python {sys.executable}'
                raise NotServed(f"package {error.name} is not installed: {install}") from None
            finally:
                self.kill()
        if served.exit_code != 0 and self._cancelled is None:
            report = served.report()
            raise NotServed(f"{report.get('reason', 'it ended')}: {report.get('message', f'exit code {served.exit_code}')}")

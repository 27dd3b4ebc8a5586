"""Calls a handler in the child. It runs as a plain script, before user code and without anything of millrace on its path.

    python -u child.py FD

FD is a file that holds, in marshal's format (same interpreter on both sides, and json takes 7 ms to import):

    {"handler": "main:predict", "parameters": {name: value}, "inputs": {name: value}, "source": folder or None,
     "outputs": {name: {"path": folder, "format": None, "void": False}}}

Before user code's function starts, a handler that is not there ends this process with 240 and arguments that do not fit with
241; the message is written into the same file. What user code does afterwards is as in any script: its exit code is its own.
What it returned is written into the run's outputs (returned.py); a value that cannot be ends this process with 239.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

HANDLER_NOT_FOUND = 240  # the codes of millrace.protocol, which is not on this process's path
PARAMETER_MISMATCH = 241
RETURN_REJECTED = 239
SHOWN = 20  # names listed in a message
RETURN_SHOWN = 200  # characters of a returned value in the log
TAKES_ALL = 0x08  # code flag CO_VARKEYWORDS


def main(fd: int) -> None:
    """Find the handler, bind, call."""
    import marshal
    import os

    with os.fdopen(os.dup(fd), "rb") as file:
        call = marshal.load(file)  # noqa: S302 - written by process 1, below a name that is already gone
    report = Report(fd)
    try:
        handler = find(call["handler"], call["source"])
        positional, named = bind(handler, call["handler"], call["parameters"], call["inputs"])
    except Refused as error:
        report.refuse(error.exit_code, str(error))
    result = _finish(handler(*positional, **named))
    if result is not None and call["outputs"]:
        _hand_over(result, call["outputs"], report)
    elif result is not None:
        _log_result(result)


class Refused(Exception):
    """The handler is not there, or cannot be called with what it is given; exit_code says which."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Report:
    """The file of the call, from here on for what process 1 is told."""

    def __init__(self, fd: int) -> None:
        import os

        os.set_inheritable(fd, False)
        os.ftruncate(fd, 0)
        self._fd, self._file = fd, os.fstat(fd)[:3]

    def write(self, text: str) -> None:
        """Say this, and nothing that was said before. Where user code has closed the file, its number may be another's."""
        import os

        try:
            if os.fstat(self._fd)[:3] == self._file:
                os.ftruncate(self._fd, 0)
                os.pwrite(self._fd, text.encode("utf-8", "replace"), 0)
        except OSError:
            pass

    def refuse(self, code: int, message: str) -> NoReturn:
        """Say why, and end."""
        self.write(message)
        print(f"[millrace] {message}", file=sys.stderr)
        sys.exit(code)


def find(handler: str, source: str | None) -> Callable[..., Any]:
    """The callable of MODULE:FUNCTION, or of FUNCTION in `main`; `source`: the folder to tell of.

    Raises Refused; what the import of the module raises.
    """
    import importlib

    module_name, _, name = handler.rpartition(":")
    module_name = module_name or "main"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise  # the module is there and imports something that is not
        raise Refused(HANDLER_NOT_FOUND, f"no module {module_name}: {_modules(source)}") from None
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        what = "is not callable" if found is not None else "is not there"
        raise Refused(HANDLER_NOT_FOUND, f"handler {name} {what} in module {module_name}: {_callables(module)}")
    return found  # type: ignore[no-any-return]


def _modules(source: str | None) -> str:
    import os

    try:
        names = sorted(os.listdir(source or "."))
    except OSError as error:
        return f"the source cannot be listed: {error}"
    modules = [name[:-3] for name in names if name.endswith(".py")]
    return "the source has the modules " + _listed(modules) if modules else "the source has no module"


def _callables(module: Any) -> str:
    """The public callables of a module, its own before what it imported."""
    names = [name for name, value in vars(module).items() if not name.startswith("_") and callable(value)]
    own = [name for name in names if getattr(getattr(module, name), "__module__", None) == module.__name__]
    return "it has " + _listed(sorted(own or names)) if names else "it has no callable"


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def bind(
    function: Callable[..., Any], shown: str, parameters: dict[str, Any], inputs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Positional-only and named arguments, from parameters and inputs by name; `shown` names the function in messages.

    Raises Refused where they do not fit.
    """
    given = {**parameters, **inputs}
    twice = sorted(set(parameters) & set(inputs))
    if twice:
        raise Refused(PARAMETER_MISMATCH, "both a parameter and an input: " + _listed(twice))
    signature = _signature(function)
    if signature is None:
        return [], given
    positional_only, required, accepted, takes_all = signature
    missing = [name for name in required if name not in given]
    unknown = sorted(set(given) - set(accepted)) if not takes_all else []
    if missing or unknown:
        wants = ", ".join(name if name in required else name + "=…" for name in accepted)
        message = f"{shown}({wants}{', ' * bool(wants) + '**' if takes_all else ''})"
        message += f" was given {_listed(sorted(given)) or 'nothing'}"
        message += f"; missing: {_listed(missing)}" if missing else ""
        message += f"; unknown: {_listed(unknown)}" if unknown else ""
        raise Refused(PARAMETER_MISMATCH, message)
    positional = []
    for name in positional_only:
        if name not in given:
            break  # it has a default, and so have all after it
        positional.append(given.pop(name))
    return positional, given


def _signature(handler: Any) -> tuple[list[str], list[str], list[str], bool] | None:
    """(positional-only, required, accepted, takes **), or None for a callable of C that does not tell.

    A plain function is read by hand: inspect takes 14 ms to import.
    """
    if type(handler) is not type(main) or hasattr(handler, "__wrapped__") or hasattr(handler, "__signature__"):
        return _inspected(handler)
    code = handler.__code__
    ordered = list(code.co_varnames[: code.co_argcount])
    keyword = list(code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount])
    required = ordered[: len(ordered) - len(handler.__defaults__ or ())]
    required += [name for name in keyword if name not in (handler.__kwdefaults__ or {})]
    return ordered[: code.co_posonlyargcount], required, ordered + keyword, bool(code.co_flags & TAKES_ALL)


def _inspected(handler: Any) -> tuple[list[str], list[str], list[str], bool] | None:
    import inspect

    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return None
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return (
        [p.name for p in named if p.kind is p.POSITIONAL_ONLY],
        [p.name for p in named if p.default is p.empty],
        [p.name for p in named],
        any(p.kind is p.VAR_KEYWORD for p in parameters),
    )


def _finish(result: Any) -> Any:
    """Await what is to be awaited, run a generator to its end; what came back."""
    if hasattr(result, "__await__"):
        import asyncio

        result = asyncio.run(_awaited(result))
    elif hasattr(result, "__anext__"):
        import asyncio

        result = asyncio.run(_exhausted(result))
    elif hasattr(result, "__next__"):
        for _ in result:
            pass
        result = None
    return result


def _hand_over(result: Any, outputs: dict[str, Any], report: Report) -> None:
    """Write what was returned into the outputs. The module is loaded by its file: this folder is not on the path."""
    import importlib.util
    import os

    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "returned.py")
    spec: Any = importlib.util.spec_from_file_location("millrace_returned", path)
    returned = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(returned)
    try:
        report.write(returned.write(result, outputs))
    except returned.Rejected as error:
        report.refuse(RETURN_REJECTED, str(error))


def _log_result(result: Any) -> None:
    """One line on stderr; a value that cannot be shown, or a stderr that was closed, makes no failure of a success."""
    try:
        shown = repr(result)
        shown = shown if len(shown) <= RETURN_SHOWN else shown[:RETURN_SHOWN] + "…"
        print(f"[millrace] returned {shown}", file=sys.stderr)
    except Exception:  # noqa: BLE001, S110 - repr is user code
        pass


async def _awaited(result: Any) -> Any:
    return await result


async def _exhausted(result: Any) -> None:
    async for _ in result:
        pass


def _show(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """The traceback as Python prints it, without the frames of this file and of the import machinery."""
    while trace is not None and (
        trace.tb_frame.f_code.co_filename == __file__ or "importlib" in trace.tb_frame.f_code.co_filename
    ):
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


if __name__ == "__main__":  # multiprocessing's spawn runs this file again under another name
    if sys.path and __file__.startswith(sys.path[0] + "/"):  # PYTHONSAFEPATH leaves this file's folder out
        del sys.path[0]
    sys.excepthook = _show
    main(int(sys.argv.pop()))

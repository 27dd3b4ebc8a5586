"""What the in-pod programs may import: the images that they run in hold no more."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import millrace
from millrace.inpod.bundle import sources, write_bundle

PACKAGE = Path(millrace.__file__).parent
ABSENT = {"pydantic", "kopf", "kubernetes", "yaml", "typer", "rich", "structlog", "prometheus_client"}  # from stage's image
SLOW = {"dataclasses", "inspect", "pathlib", "subprocess", "tempfile", "typing", "asyncio", "hashlib", "threading"}


def imports(path: Path) -> set[str]:
    """The modules that a file imports, in functions too; not those for type checkers."""
    tree = ast.parse(path.read_text())
    checked = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    skipped = {id(inner) for node in checked for inner in ast.walk(node)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


@pytest.mark.parametrize("name", sources())
def test_the_runtime_is_standard_library_only(name: str) -> None:
    for module in imports(PACKAGE / name):
        if module.startswith("millrace"):
            assert module == "millrace" or module.startswith(("millrace.protocol", "millrace.inpod.runtime")), module
        else:
            assert module.partition(".")[0] in sys.stdlib_module_names, module


@pytest.mark.parametrize("folder", ["inpod", "data"])
def test_nothing_that_stages_image_lacks_is_imported(folder: str) -> None:
    for path in (PACKAGE / folder).rglob("*.py"):
        assert not {module.partition(".")[0] for module in imports(path)} & ABSENT, path
        foreign = {m for m in imports(path) if m.startswith("millrace.")}
        assert all(m.split(".")[1] in ("inpod", "data", "protocol") for m in foreign), path


def loaded(code: str, *flags: str) -> set[str]:
    program = f"{code}\nimport sys; print(' '.join(sys.modules))"
    return set(
        subprocess.run([sys.executable, *flags, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


def test_the_programs_do_not_load_what_stages_image_lacks() -> None:
    code = "import millrace.inpod.__main__, millrace.inpod.stage, millrace.inpod.collect, millrace.inpod.probe"
    code += "\nimport millrace.data.download, millrace.data.output, millrace.data.publish, millrace.inpod.worker"
    # httpx loads its command line's libraries where there are any, but lives without them.
    blocked = "import sys\nfor name in ('rich', 'click', 'pygments'): sys.modules[name] = None\n"
    assert not loaded(blocked + code) & (ABSENT - {"rich"})


def test_nothing_slow_is_loaded_before_user_code_starts(tmp_path: Path) -> None:
    write_bundle(str(tmp_path))
    before = "import sys; sys.path.insert(0, %r)\nfrom millrace.inpod.runtime import process" % str(tmp_path)  # noqa: UP031
    later = "\nfrom millrace.inpod.runtime import environment, launch, logs, scratch, cleanup"
    assert not loaded(before + later, "-I", "-S") & SLOW


@pytest.mark.parametrize("program", ["stage", "collect"])
def test_the_data_plane_is_not_loaded_before_it_is_needed(program: str) -> None:
    assert not loaded(f"import millrace.inpod.{program}") & {"httpx", "minio", "obstore", "millrace.data.stores"}


def test_the_bundle_holds_exactly_the_runtime(tmp_path: Path) -> None:
    write_bundle(str(tmp_path))
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"__main__.py", *(f"millrace/{name}" for name in sources())}
    assert {"protocol.py", "inpod/runtime/process.py", "inpod/runtime/child.py"} <= set(sources())
    assert not [name for name in sources() if name.startswith("data")]
    for name in sources():
        assert (tmp_path / "millrace" / name).read_bytes() == (PACKAGE / name).read_bytes()

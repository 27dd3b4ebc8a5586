"""Manifests made for a script."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.api.base import Metadata
from millrace.api.function import FunctionSpec
from millrace.api.jobrun import JobRunSpec
from millrace.cli.errors import Refused
from millrace.cli.scaffold import INLINE_BYTES, Script, check, manifests


def script(**given: Any) -> Script:
    return Script(**{"file": "train_model.py", "source": "print(1)\n", **given})


def test_a_script_becomes_a_function_and_a_run() -> None:
    function, run = manifests(script(requirements=["pandas"], python="3.11", environment={"A": "b"}))
    assert function["metadata"] == {"name": "train-model"}
    assert function["spec"] == {
        "source": {"inline": "print(1)\n"},
        "script": "main.py",
        "pythonVersion": "3.11",
        "requirements": ["pandas"],
    }
    assert run["spec"] == {"functionRef": {"name": "train-model"}, "environmentVariables": {"A": "b"}}
    assert run["metadata"]["name"].startswith("train-model-")


def test_a_handler_is_a_function_of_main() -> None:
    function, run = manifests(script(handler="predict", parameters={"n": 1}, name="other"), "ns")
    assert function["spec"]["handler"] == "main:predict"
    assert "script" not in function["spec"]
    assert run["spec"] == {"functionRef": {"name": "other"}, "parameters": {"n": 1}}
    assert function["metadata"] == {"name": "other", "namespace": "ns"}


def test_what_is_made_fits_the_models() -> None:
    inputs = [{"name": "data", "dataStore": {"name": "s", "path": "p"}, "stage": "Download"}]
    outputs = [{"name": "scores", "asset": "scores"}]
    function, run = manifests(script(handler="f", inputs=inputs, outputs=outputs))
    assert FunctionSpec.model_validate(function["spec"]).dump() == {**function["spec"], "requirements": []}
    assert JobRunSpec.model_validate(run["spec"]).inputs[0].stage == "Download"
    assert Metadata.model_validate({**run["metadata"], "namespace": "a", "uid": "u", "creationTimestamp": ""})


def test_equal_calls_make_equal_names_and_others_do_not() -> None:
    names = [
        manifests(found)[1]["metadata"]["name"]
        for found in (script(), script(), script(source="print(2)\n"), script(environment={"A": "1"}), script(python="3.11"))
    ]
    assert names[0] == names[1]
    assert len(set(names)) == 4


def test_windows_line_ends_and_byte_order_marks_go() -> None:
    assert manifests(script(source="\ufeffa\r\nb\r\n"))[0]["spec"]["source"]["inline"] == "a\nb\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": "#" * (INLINE_BYTES + 1)}, f"has {INLINE_BYTES + 1} bytes"),
        ({"source": "ü" * (INLINE_BYTES // 2 + 1)}, f"may have {INLINE_BYTES}"),
        ({"source": " \n"}, "is empty"),
        ({"file": "é.py"}, "no name can be made of it"),
    ],
)
def test_what_cannot_be_a_manifest_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as refused:
        manifests(script(**given))
    assert message in refused.value.message


SOURCE = """
import helper, os
from package import thing
predict_all = print
def predict(n): pass
async def later(): pass
class Model: pass
try:
    def guarded(): pass
except ImportError:
    pass
"""


@pytest.mark.parametrize("handler", ["predict", "later", "Model", "guarded", "predict_all", "thing"])
def test_handlers_that_are_there(handler: str) -> None:
    assert check(script(source=SOURCE, handler=handler)) == []


def test_a_handler_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(Refused) as refused:
        check(script(source=SOURCE, handler="predicts"))
    assert "has no function predicts; it has Model, guarded, later, predict" in refused.value.message
    assert refused.value.hints == ("did you mean --handler predict?",)


def test_parameters_need_a_handler() -> None:
    with pytest.raises(Refused, match="--param"):
        check(script(parameters={"n": 1}))


def test_warnings_of_what_will_fail_in_the_cluster() -> None:
    found = check(script(source=SOURCE), ["train_model", "helper", "package", "unrelated"])
    assert [line.split(",")[0] for line in found] == ["train_model.py imports helper", "train_model.py imports package"]
    assert check(script(source="def f(:\n"))[0].startswith("train_model.py, line 1: ")


def test_folders_that_no_option_asks_for_are_warned_of() -> None:
    source = "import os\nos.environ['BATCH_INPUT_DIR'], os.environ['BATCH_OUTPUT_DIR']"
    place = [{"name": "n"}]
    assert check(script(source=source, inputs=place, outputs=place)) == []
    assert check(script(source=source, inputs=place)) == [
        "train_model.py reads BATCH_OUTPUT_DIR, which is there with --output only"
    ]
    assert check(script(source=source, outputs=place)) == [
        "train_model.py reads BATCH_INPUT_DIR, which is there with --input only"
    ]

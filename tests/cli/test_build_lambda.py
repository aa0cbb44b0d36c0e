"""Functions of AWS Lambda, of models and of runs: called through Amazon's own client, by a runtime API on loopback."""

import ast
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from bis.oci import LAYER_GZIP
from bis.oci.layout import Layout
from bis.oci.unpack import unpack
from bis.steps import lambda_zip
from bis.steps.image import Interpreter
from bis.steps.installing import find_uv
from bis.steps.lambda_program import FOLDER, HANDLER, START, client_part, of_model

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
WITH = f"usr/bin/python{VERSION}"
NAMES = ["length", "width"]
ROWS = {"dataframe_split": {"columns": NAMES, "data": [[1.0, 2.0], [3.0, 4.0]]}}
JSON = {"Content-Type": "application/json"}
SAVE = """
import json, pathlib, pickle, sys
import numpy
from sklearn.linear_model import LinearRegression

class Odd(LinearRegression):
    pass

folder = pathlib.Path(sys.argv[1])
folder.mkdir()
rows = numpy.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 5.0]])
(folder / "model.pkl").write_bytes(pickle.dumps(LinearRegression().fit(rows, rows @ [2.0, 3.0] + 1)))
inputs = [{"type": "double", "name": name, "required": True} for name in ("length", "width")]
example = {"columns": ["length", "width"], "data": [[1, 1]]}
(folder / "example.json").write_text(json.dumps({"dataframe_split": example}))
(folder / "MLmodel").write_text(json.dumps({
    "flavors": {
        "python_function": {"loader_module": "mlflow.sklearn", "model_path": "model.pkl"},
        "sklearn": {"pickled_model": "model.pkl", "serialization_format": "pickle"},
    },
    "signature": {"inputs": json.dumps(inputs)},
    "saved_input_example_info": {"serving_input_path": "example.json"},
}))
"""
ABOUT = {"model-name": "cells", "model-version": "3", "run-id": "7f3a", "model-identity": "b3:aa"}


def laid(entries: Any, root: Path) -> None:
    """Files of a layer as they would lie in an image."""
    for entry in entries:
        path = root / entry.path
        if entry.content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(entry.content if isinstance(entry.content, bytes) else entry.content.read_bytes())


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with Amazon's client in it, as in an image, for the Python of these tests."""
    root, room = tmp_path_factory.mktemp("client"), tmp_path_factory.mktemp("room")
    uv = find_uv(os.environ, Path.home(), None)
    laid(client_part(Interpreter(f"/usr/bin/python{VERSION}"), uv, room / "lib", print).entries, root)
    return root


@pytest.fixture(scope="module")
def saved(models_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    subprocess.run([models_python, "-c", SAVE, folder], check=True, timeout=120)
    return folder


def started(lambda_runtime: Any, client: Path, saved: Path, models_python: Path, root: Path, *, trust: bool) -> Any:
    """A model in the function that an image would have."""
    shutil.copytree(client, root, dirs_exist_ok=True)
    described = json.loads((saved / "MLmodel").read_text())
    laid(of_model(f"{FOLDER}/", described, str(saved), ABOUT, trust=trust), root)
    # Where an image has it, so that the words of the image start it here.
    start = root / START.lstrip("/")
    start.write_text(start.read_text().replace("/opt/lambda/lib", str(root / FOLDER / "lib")))
    return lambda_runtime().calling([str(models_python), str(start), HANDLER], root)


@pytest.fixture(scope="module")
def function(
    lambda_runtime: Any, client: Path, saved: Path, models_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    with started(
        lambda_runtime, client, saved, models_python, tmp_path_factory.mktemp("function"), trust=True
    ) as runtime:
        yield runtime


def by_url(path: str, body: Any, method: str = "POST", stage: str = "$default", **headers: str) -> dict[str, Any]:
    """An event as the address of a function, or an HTTP API, makes it."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return {
        "version": "2.0",
        "rawPath": path,
        "headers": {"content-type": "application/json", **headers},
        "requestContext": {"http": {"method": method, "path": path}, "stage": stage},
        "body": base64.b64encode(raw).decode(),
        "isBase64Encoded": True,
    }


def by_rest(path: str, body: Any, **more: Any) -> dict[str, Any]:
    """An event as a REST API, or a load balancer, makes it."""
    about = {"httpMethod": "POST", "path": path, "requestContext": {"stage": "prod"}, "isBase64Encoded": False}
    return {**about, "headers": JSON, "multiValueHeaders": None, "body": json.dumps(body), **more}


def test_an_event_is_answered_as_invocations_would_be(function: Any) -> None:
    said = function.call(ROWS)
    assert said.kind == "response"
    assert said.content == {"predictions": [pytest.approx(9.0), pytest.approx(19.0)]}


@pytest.mark.parametrize(
    "event",
    [
        by_url("/invocations", ROWS),
        by_url("/", ROWS),
        by_url("/prod/invocations", ROWS, stage="prod"),
        by_url("/v1/models/cells:predict", {"instances": [[1.0, 2.0], [3.0, 4.0]]}),
        by_url("/v1/models/cells/versions/3:predict", {"instances": [[1.0, 2.0], [3.0, 4.0]]}),
        by_url("/invocations", b"length,width\n1,2\n3,4\n", **{"content-type": "text/csv"}),
        by_rest("/invocations", ROWS),
    ],
    ids=["url", "root", "stage", "v1", "version", "csv", "rest"],
)
def test_a_request_over_http_is_answered_as_by_bis_serve_and_tells_the_version_and_the_run(
    function: Any, event: dict[str, Any]
) -> None:
    said = function.call(event).content
    assert said["statusCode"] == 200, said
    assert json.loads(said["body"])["predictions"] == [pytest.approx(9.0), pytest.approx(19.0)]
    assert said["headers"]["x-model-version"] == "3"
    assert said["headers"]["x-run-id"] == "7f3a"
    assert said["headers"]["x-request-id"] == "event-1"


def test_the_open_inference_protocol_is_spoken_with_binary_tensors_too(function: Any) -> None:
    asked = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}]}
    said = function.call(by_url("/v2/models/cells/infer", asked)).content
    assert json.loads(said["body"])["outputs"][0]["data"] == [pytest.approx(9.0)]
    asked["parameters"] = {"binary_data_output": True}  # type: ignore[assignment]
    said = function.call(by_url("/v2/models/cells/infer", asked)).content
    assert said["isBase64Encoded"] is True
    length = int(said["headers"]["inference-header-content-length"])
    body = base64.b64decode(said["body"])
    assert json.loads(body[:length])["outputs"][0]["parameters"]["binary_data_size"] == len(body) - length == 8


def test_a_load_balancer_that_sends_lists_of_heads_gets_them(function: Any) -> None:
    lists = {key: [value] for key, value in JSON.items()}
    event = by_rest("/invocations", ROWS, multiValueHeaders=lists)
    del event["headers"]
    said = function.call(event).content
    assert said["statusCode"] == 200
    assert said["multiValueHeaders"]["x-model-name"] == ["cells"]
    assert "headers" not in said


@pytest.mark.parametrize(
    ("event", "status", "words"),
    [
        (by_url("/ping", b"", "GET"), 200, ""),
        (by_url("/v2/health/ready", b"", "GET"), 200, ""),
        (by_url("/elsewhere", ROWS), 404, "nothing is at this address"),
        (by_url("/v2/models/other/infer", ROWS), 404, "nothing is at this address"),
        (by_url("/v2/models/cells/versions/2/infer", ROWS), 404, "nothing is at this address"),
        (by_url("/invocations", b"{"), 400, "no valid JSON at byte 1"),
        (by_url("/invocations", ROWS, **{"content-type": "text/html"}), 415, "only supports"),
        (by_url("/invocations", ROWS, **{"content-encoding": "gzip"}), 415, "not packed"),
        ({**by_url("/invocations", ROWS), "body": "*"}, 400, "no valid base64"),
        (by_url("/invocations", {"dataframe_split": {"columns": ["length"], "data": [[1]]}}), 400, "width"),
    ],
)
def test_what_is_no_prediction_is_told_with_its_status(
    function: Any, event: dict[str, Any], status: int, words: str
) -> None:
    said = function.call(event).content
    assert said["statusCode"] == status
    assert words in said["body"]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"dataframe_split": {"columns": NAMES, "data": [[1.0, "Ada Lovelace"]]}}, "width"),
        ({"dataframe_split": {"columns": ["length"], "data": [[1.0]]}}, "width"),
        ([1, 2], "is to be a JSON object"),
        ({"source": "aws.events"}, "exactly one of dataframe_split"),
    ],
)
def test_an_event_that_cannot_be_answered_is_an_error_that_names_what_is_wrong_and_holds_nothing_of_it(
    function: Any, event: Any, words: str
) -> None:
    said = function.call(event)
    assert said.kind == "error"
    assert said.content["errorType"] == "NotAnswered"
    assert words in said.content["errorMessage"]
    assert "Lovelace" not in said.text


def test_a_pickle_that_nobody_trusts_is_not_opened_and_the_function_does_not_start(
    lambda_runtime: Any, client: Path, saved: Path, models_python: Path, tmp_path: Path
) -> None:
    with started(lambda_runtime, client, saved, models_python, tmp_path, trust=False) as runtime:
        said = runtime.said.get(timeout=60)
    assert said.kind == "init"
    assert "pickle" in said.content["errorMessage"]


def test_the_function_of_a_model_holds_all_that_it_imports_of_its_own() -> None:
    held = {entry.path: entry.content for entry in of_model("", {}, "model", ABOUT, trust=False)}
    code = {
        path: content.decode() for path, content in held.items() if isinstance(content, bytes) and path[-3:] == ".py"
    }
    missing = []
    for path, text in code.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.level:
                around = "/".join([*path.split("/")[: -node.level], *(node.module or "").split(".")]).rstrip("/")
                beside = code.get(f"{around}/__init__.py", "")
                there = f"{around}.py" in code
                missing += [
                    f"{path}: {alias.name}"
                    for alias in node.names
                    if not (there or f"{around}/{alias.name}.py" in code or defined(alias.name, beside))
                ]
    assert not missing


def defined(name: str, text: str) -> bool:
    """At the top of a module."""
    return re.search(rf"^(class |def |){name}\b", text, re.MULTILINE) is not None


# -- images ------------------------------------------------------------------------------------------------------


def built(bis: Any, project: Path, *words: str, **more: str) -> dict[str, Any]:
    done = bis("build", "lambda", *words, "--json", folder=project, **more)
    assert done.status == 0, done.err
    found: dict[str, Any] = done.json
    return found


def test_an_image_for_lambda_starts_amazons_client_and_has_layers_of_gzip_alone(
    bis: Any, trained: Path, model: Path, base: Callable[..., str], tmp_path: Path
) -> None:
    words = (str(model), "--base", base(WITH), "--python", ".venv", "--name", "churn")
    answer = built(bis, trained, *words)
    image = Layout(trained / "image").find("churn")
    assert answer["digest"] == image.descriptor.digest == built(bis, trained, *words, "--output", "again")["digest"]
    assert {layer.media_type for layer in image.manifest.layers} == {LAYER_GZIP}
    assert image.config["config"]["Entrypoint"] == ["/opt/env/bin/python", "/opt/lambda/start.py"]
    assert image.config["config"]["Cmd"] == ["bis_lambda.handler"]
    unpack(Layout(trained / "image"), image, tmp_path / "root")
    lay = tmp_path / "root" / "opt"
    assert (lay / "lambda" / "lib" / "awslambdaric" / "bootstrap.py").is_file()
    assert not (lay / "bis").exists(), "the server of bis is not needed"
    assert json.loads((lay / "lambda" / "bis_lambda" / "job.json").read_text())["trust"] is False
    assert (lay / "model" / "python_model.pkl").read_bytes() == model.joinpath("python_model.pkl").read_bytes()


def test_the_image_of_a_run_leads_back_to_it(bis: Any, trained: Path, base: Callable[..., str]) -> None:
    answer = built(bis, trained, "train-1", "--base", base(WITH))
    found = bis("lineage", answer["digest"], "--json", folder=trained).json["lineage"]
    assert found["thing"]["kind"] == "lambda"
    assert [node["name"] for node in found["made_of"] if node["kind"] == "run"] == ["train-1"]


# -- zips --------------------------------------------------------------------------------------------------------


def in_a_runtime_of_lambda(lambda_runtime: Any, file: Path, client: Path, root: Path) -> Any:
    """The function of a zip, unpacked into a folder that a runtime calls it in."""
    with zipfile.ZipFile(file) as box:
        box.extractall(root)
    path = f"{root}:{client / FOLDER / 'lib'}"
    return lambda_runtime().calling([sys.executable, "-m", "awslambdaric", HANDLER], root, PYTHONPATH=path)


def test_the_zip_of_a_run_runs_its_command_anew_for_each_event(
    bis: Any, trained: Path, lambda_runtime: Any, client: Path, tmp_path: Path
) -> None:
    answer = built(bis, trained, "train-1", "--zip", "train.zip")
    assert answer["runtime"] == f"python{VERSION}"
    assert answer["handler"] == HANDLER
    with in_a_runtime_of_lambda(lambda_runtime, trained / "train.zip", client, tmp_path / "task") as runtime:
        for _ in range(2):
            said = runtime.call({}).content
            assert said["status"] == 0
            assert said["output"] == "trained\n"
            seven = "sha256:7902699be42c8a8e46fbbb4501726517e86b22c56a189f7625a6da49081b2451"
            assert said["outputs"] == {"out.txt": seven}


def test_a_command_that_fails_is_an_error_of_the_function_with_what_it_printed_last(
    bis: Any, trained: Path, lambda_runtime: Any, client: Path, tmp_path: Path
) -> None:
    (trained / "train.py").write_text("print('no luck')\nraise SystemExit(3)\n")
    assert bis("run", "--", ".venv/bin/python", "train.py", folder=trained).status == 3
    built(bis, trained, "@latest", "--zip", "train.zip")
    with in_a_runtime_of_lambda(lambda_runtime, trained / "train.zip", client, tmp_path / "task") as runtime:
        said = runtime.call({})
    assert said.kind == "error"
    assert said.content["errorType"] == "CommandFailed"
    assert "the status 3: no luck" in said.content["errorMessage"]


def test_the_same_zip_is_made_again_and_wherever_its_environment_lies(
    bis: Any, trained: Path, model: Path, make_wheel: Callable[..., Path]
) -> None:
    wheel = make_wheel(
        "tool", "1.0", {"tool.py": "def main(): pass\n"}, entry_points="[console_scripts]\ntool = tool:main\n"
    )
    for place in ("here", "there"):
        subprocess.run([find_uv_bin(), "venv", "-q", "-p", sys.executable, place], cwd=trained, check=True)
        command = [find_uv_bin(), "pip", "install", "-q", "--no-deps", "-p", place, str(wheel)]
        subprocess.run(command, cwd=trained, check=True)
        built(bis, trained, str(model), "--python", place, "--zip", f"{place}.zip")
    assert (trained / "here.zip").read_bytes() == (trained / "there.zip").read_bytes()
    with zipfile.ZipFile(trained / "here.zip") as box:
        names = box.namelist()
        assert {info.compress_type for info in box.infolist()} == {zipfile.ZIP_STORED}
        assert b"bin/tool" not in box.read("tool-1.0.dist-info/RECORD")
    assert {"tool.py", "bis_lambda/__init__.py", "bis_lambda/model/MLmodel"} <= set(names)
    assert not [name for name in names if name.startswith(("bin/", "../", "/"))]


def test_from_a_zip_from_its_digest_and_from_what_lambda_tells_lineage_leads_to_the_run(
    bis: Any, trained: Path
) -> None:
    answer = built(bis, trained, "train-1", "--zip", "train.zip")
    (trained / "train.zip").rename(trained / "renamed.zip")
    for thing in (answer["digest"], answer["code_sha256"], "renamed.zip"):
        found = bis("lineage", thing, "--json", folder=trained).json["lineage"]
        assert found["thing"]["kind"] == "lambda", thing
        assert [node["name"] for node in found["made_of"] if node["kind"] == "run"] == ["train-1"]
    beside = json.loads((trained / "train.zip.provenance.json").read_text())
    assert beside["subject"] == [{"name": "train.zip", "digest": {"sha256": answer["digest"].removeprefix("sha256:")}}]
    named = {one["uri"] for one in beside["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert "bis:part/code" in named


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("manylinux_2_99_x86_64", "odd needs the C library 2.99, and Lambda's python"),
        ("linux_x86_64", "built on this machine, and may need libraries that Lambda has not: odd"),
    ],
)
def test_a_package_that_a_runtime_of_lambda_could_not_load_is_told(
    bis: Any, trained: Path, model: Path, tag: str, said: str
) -> None:
    folder = trained / f".venv/lib/python{VERSION}/site-packages/odd-1.0.dist-info"
    folder.mkdir()
    (folder / "WHEEL").write_text(f"Wheel-Version: 1.0\nTag: py3-none-{tag}\n")
    done = bis("build", "lambda", str(model), "--python", ".venv", "--zip", "it.zip", folder=trained)
    assert done.status == (4 if "99" in tag else 0), done.err
    assert said in done.err
    assert (trained / "it.zip").exists() == ("99" not in tag)


def test_more_than_lambda_unpacks_is_refused_and_the_largest_is_named(bis: Any, trained: Path, model: Path) -> None:
    with (model / "weights.bin").open("wb") as file:
        file.truncate(lambda_zip.MOST)
    (trained / "it.zip").write_text("as it was")
    done = bis("build", "lambda", str(model), "--python", ".venv", "--zip", "it.zip", folder=trained)
    assert done.status == 4
    assert "it is 250 MiB, and Lambda unpacks 250 MiB of a zip" in done.err
    assert "bis_lambda 250 MiB" in done.err
    assert f"bis build lambda {model} --base mmdebstrap:bookworm makes an image" in done.err
    assert (trained / "it.zip").read_text() == "as it was"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train-1", "--zip", "a.zip", "--base", "oci:x"), "--base is of an image, and --zip makes none"),
        (("train-1",), "nothing says what the image is built on"),
        (("nobody", "--zip", "a.zip"), "nobody"),
        (("train-1", "--zip", "missing/a.zip"), "missing"),
    ],
)
def test_what_makes_no_sense_is_told_in_words(bis: Any, trained: Path, words: tuple[str, ...], said: str) -> None:
    done = bis("build", "lambda", *words, folder=trained)
    assert done.status in (2, 3, 5)
    assert said in done.err
    assert "Traceback" not in done.err

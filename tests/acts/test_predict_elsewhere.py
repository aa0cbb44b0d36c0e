"""Scoring what lies in a bucket, into a bucket: a server of S3 on this machine."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bis.nouns.run import Run

Bis = Callable[..., "subprocess.CompletedProcess[str]"]
pytestmark = pytest.mark.slow
SAVE = """
import json, pathlib
import numpy, skops.io
from sklearn.linear_model import LogisticRegression

rows = numpy.random.default_rng(1).normal(size=(90, 2))
model = LogisticRegression().fit(rows, (rows[:, 0] - rows[:, 1] > 0).astype("int64"))
folder = pathlib.Path("model")
folder.mkdir()
skops.io.dump(model, folder / "model.skops")
inputs = [{"type": "double", "name": name, "required": True} for name in ("age", "income")]
flavors = {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}}
described = {"flavors": flavors, "signature": {"inputs": json.dumps(inputs)}}
(folder / "MLmodel").write_text(json.dumps(described))
"""
SECRET = "s3cr3t0fAna"


class Bucket:
    """What lies in the bucket, as another client of it sees that."""

    def __init__(self, name: str, port: int) -> None:
        import obstore
        from obstore.store import S3Store

        endpoint = f"http://127.0.0.1:{port}"
        config: Any = {"endpoint": endpoint, "access_key_id": "ana", "secret_access_key": SECRET, "region": "us-east-1"}
        self._do = obstore
        self._store = S3Store(name, config=config, client_options={"allow_http": True})
        self.url = f"s3://{name}"
        keys = {"AWS_ACCESS_KEY_ID": "ana", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
        self.variables = {**keys, "AWS_ENDPOINT_URL": endpoint}

    def put(self, name: str, content: bytes) -> None:
        self._do.put(self._store, name, content)

    def read(self, name: str) -> bytes:
        return bytes(self._do.get(self._store, name).bytes())

    def names(self) -> list[str]:
        return sorted(one["path"] for page in self._do.list(self._store) for one in page)


@pytest.fixture
def s3(bucket: str, s3_port: int) -> Bucket:
    """A bucket with rows in three objects, of which the middle one is packed."""
    found = Bucket(bucket, s3_port)
    for place in range(3):
        rows = rows_of(place * 1000, 1000)
        found.put(f"in/{place}.csv{'.gz' if place == 1 else ''}", gzip.compress(rows) if place == 1 else rows)
    return found


def rows_of(first: int, number: int) -> bytes:
    rows = "".join(f"{place},{place % 7 - 3.0},{place % 5 - 2.0}\n" for place in range(first, first + number))
    return f"id,age,income\n{rows}".encode()


@pytest.fixture
def predict(bis: Bis, project: Path, models_python: Path, s3: Bucket) -> Bis:
    """`predict(INPUT, OUTPUT)` with a model in a project, by somebody who may use the bucket."""
    (project / "save.py").write_text(SAVE)
    subprocess.run([models_python, "save.py"], cwd=project, check=True)

    def call(input: str, output: str, *more: str) -> "subprocess.CompletedProcess[str]":
        return bis(*words_of(models_python, input, output), *more, env=s3.variables)

    return call


def words_of(python: Path, input: str, output: str) -> list[str]:
    return ["predict", "./model", "--input", input, "--output", output, "--python", str(python), "--keep", "id"]


def test_rows_of_a_bucket_are_scored_into_a_bucket_as_they_are_here(
    predict: Bis, project: Path, s3: Bucket, last: Callable[[], Run]
) -> None:
    (project / "x.csv").write_bytes(rows_of(0, 3000))
    assert predict("x.csv", "here.csv").returncode == 0
    done = predict(f"{s3.url}/in/", f"{s3.url}/out/scores.csv.gz", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["output"]) == (3000, f"{s3.url}/out/scores.csv.gz")
    assert gzip.decompress(s3.read("out/scores.csv.gz")) == (project / "here.csv").read_bytes()
    single = predict(f"{s3.url}/in/1.csv.gz", f"{s3.url}/out/one.parquet")
    assert single.returncode == 0, single.stderr
    assert s3.read("out/one.parquet")[:4] == b"PAR1"
    assert not list((project.parent / ".local/share/bis").glob("*puts/*"))
    files = [path for path in project.parent.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_scoring_of_a_bucket_is_repeated_when_the_bucket_is_gone(
    predict: Bis, bis: Bis, s3: Bucket, identical: Callable[..., dict[str, Any]]
) -> None:
    assert predict(f"{s3.url}/in/", f"{s3.url}/out/scores.csv").returncode == 0
    identical(bis("repeat", "predict-1", "--json"))


def test_an_output_of_many_megabytes_is_there_whole_or_not_at_all(
    predict: Bis, project: Path, models_python: Path, s3: Bucket, variables: dict[str, str]
) -> None:
    (project / "x.csv").write_bytes(rows_of(0, 1_000_000))
    output = f"{s3.url}/out/scores.csv"
    asked = [sys.executable, "-m", "bis", *words_of(models_python, "x.csv", output), "--json"]
    given = variables | s3.variables
    with subprocess.Popen(asked, cwd=project, env=given, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        work, patience = project / ".bis" / "predict", time.monotonic() + 60
        while not list(work.glob("*/0*-*.csv")) and time.monotonic() < patience:
            time.sleep(0.005)
        for pid in _below(process.pid):
            os.kill(pid, signal.SIGKILL)
    assert "out/scores.csv" not in s3.names()
    done = predict("x.csv", output, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["resumed"]
    content = s3.read("out/scores.csv")
    assert len(content) > 8 << 20  # which is sent in several parts
    lines = content.splitlines()
    assert len(lines) == 1_000_001
    assert [int(line.split(b",")[0]) for line in lines[1:]] == list(range(1_000_000))


def _below(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _below(int(child)))]


def test_what_is_not_there_or_cannot_be_written_is_told_and_predictions_are_kept(
    predict: Bis, project: Path, s3: Bucket
) -> None:
    missing = predict(f"{s3.url}/nothing/", "y.csv")
    assert (missing.returncode, "nothing" in missing.stderr) == (3, True), missing.stderr
    (project / "x.csv").write_bytes(rows_of(0, 100))
    done = predict("x.csv", "s3://no-such-bucket/scores.csv")
    assert done.returncode == 5, done.stderr
    kept = next(word for word in done.stderr.split() if word.endswith("scores.csv") and word.startswith("/"))
    assert len(Path(kept).read_text().splitlines()) == 101
    assert SECRET not in missing.stderr + done.stderr

"""Files by MLflow's own client, with a token, whole and in parts."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import os, sys, mlflow
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
client = mlflow.MlflowClient()
with mlflow.start_run() as run:
    mlflow.log_artifact("large.bin", "models/deep")
    mlflow.log_text("hello", "notes.txt")
id = run.info.run_id
assert [(file.path, file.is_dir) for file in client.list_artifacts(id)] == [("models", True), ("notes.txt", False)]
(large,) = client.list_artifacts(id, "models/deep")
assert (large.path, large.file_size) == ("models/deep/large.bin", os.path.getsize("large.bin"))
got = mlflow.artifacts.download_artifacts(run_id=id, artifact_path="models/deep/large.bin", dst_path="got")
assert open(got, "rb").read() == open("large.bin", "rb").read()
assert mlflow.artifacts.load_text(run.info.artifact_uri + "/notes.txt") == "hello"
get_artifact_repository(run.info.artifact_uri).delete_artifacts("models")
assert [file.path for file in client.list_artifacts(id)] == ["notes.txt"]
"""
IN_PARTS = {
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true",
    "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": "1000000",
    "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": str(5 << 20),
}


@pytest.mark.parametrize("in_parts", [False, True])
def test_files_go_there_and_back(serving: Callable[..., Any], clients: Path, tmp_path: Path, in_parts: bool) -> None:
    (tmp_path / "large.bin").write_bytes(os.urandom(12_000_000))
    server = serving("--log", "text")
    made = subprocess.run(
        [sys.executable, "-m", "bis", "-C", tmp_path, "server", "token", "add", "me"],
        capture_output=True,
        text=True,
        check=True,
    )
    variables = {"MLFLOW_TRACKING_URI": server.url, "MLFLOW_TRACKING_TOKEN": made.stdout.strip(), "HOME": str(tmp_path)}
    done = subprocess.run(
        [clients, "-c", SCRIPT],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **variables, **(IN_PARTS if in_parts else {})},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert ("/mpu/part/" in server.told) == in_parts

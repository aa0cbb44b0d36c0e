"""TLS: a server with a certificate of the team's own authority, who trusts it, and what is said of others."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bis.store.remote.http import in_the_clear


class Authority(NamedTuple):
    """Signs certificates."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def sign(self, name: str, names: str = "IP:127.0.0.1,DNS:localhost", days: int = 30) -> tuple[str, ...]:
        """What `bis server` is told to use it."""
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        openssl("req", "-newkey", *KIND, "-nodes", "-keyout", key, "-subj", f"/CN={name}", "-out", f"{cert}.csr")
        (self.folder / "names").write_text(f"subjectAltName={names}\n")
        signer = ("-CA", self.file, "-CAkey", self.folder / "ca.key", "-CAcreateserial")
        extended = ("-extfile", self.folder / "names")
        openssl("x509", "-req", "-in", f"{cert}.csr", *signer, *extended, "-days", days, "-out", cert)
        return "--tls-cert", str(cert), "--tls-key", str(key)


KIND = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def openssl(*words: Any) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def authority(folder: Path) -> Authority:
    folder.mkdir()
    made = Authority(folder)
    openssl(
        *("req", "-x509", "-newkey", *KIND, "-nodes", "-keyout", folder / "ca.key", "-out", made.file),
        *("-subj", "/CN=The team's own", "-days", 30),
    )
    return made


@pytest.fixture
def ours(tmp_path: Path) -> Authority:
    return authority(tmp_path / "ours")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """With a run, and a server to share with in a folder beside it."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text("open('model.bin', 'w').write('model')\n")
    assert bis(folder, "run", "--name", "first", "--", sys.executable, "train.py").returncode == 0
    (tmp_path / "team").mkdir()
    return folder


def bis(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bis", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, env=plain(variables))


def plain(variables: dict[str, str]) -> dict[str, str]:
    """Without what this machine may say of certificates."""
    left = {key: value for key, value in os.environ.items() if key not in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    return {**left, **variables}


def served(serving: Callable[..., Any], tmp_path: Path, options: tuple[str, ...]) -> Any:
    return serving(*options, folder=tmp_path / "team")


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "MLFLOW_TRACKING_SERVER_CERT_PATH"])
def test_who_trusts_the_authority_pushes_and_clones(
    serving: Callable[..., Any], ours: Authority, project: Path, tmp_path: Path, variable: str
) -> None:
    server = served(serving, tmp_path, ours.sign("server"))
    trusting = {variable: str(ours.file)}
    pushed = bis(project, "push", server.url, **trusting)
    assert (pushed.returncode, pushed.stderr) == (0, "")
    cloned = bis(tmp_path, "clone", server.url, "copy", **trusting)
    assert cloned.returncode == 0, cloned.stderr
    assert "first" in bis(tmp_path / "copy", "log").stdout


@pytest.mark.parametrize(
    ("made", "said", "help"),
    [
        ({}, "its certificate is not trusted", "SSL_CERT_FILE=FILE"),
        ({"days": -1}, "its certificate has expired", "renews it"),
        ({"names": "DNS:elsewhere.example.org"}, "its certificate is for another name", "as its certificate does"),
    ],
)
def test_a_certificate_that_is_not_right_is_refused_and_it_is_said_what_is_wrong(
    serving: Callable[..., Any],
    ours: Authority,
    project: Path,
    tmp_path: Path,
    made: dict[str, Any],
    said: str,
    help: str,
) -> None:
    server = served(serving, tmp_path, ours.sign("server", **made))
    trusting = {"SSL_CERT_FILE": str(ours.file if made else authority(tmp_path / "others").file)}
    refused = bis(project, "push", server.url, BIS_TOKEN="bis_secret", **trusting)
    assert refused.returncode == 5
    assert said in refused.stderr
    assert help in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "bis_secret" not in refused.stderr + server.told


def test_a_file_of_certificates_that_cannot_be_read_is_named(
    serving: Callable[..., Any], ours: Authority, project: Path, tmp_path: Path
) -> None:
    server = served(serving, tmp_path, ours.sign("server"))
    (tmp_path / "empty.pem").write_text("nothing")
    for file in (tmp_path / "none.pem", tmp_path / "empty.pem"):
        refused = bis(project, "push", server.url, SSL_CERT_FILE=str(file))
        assert (refused.returncode, str(file) in refused.stderr) == (5, True)
        assert "SSL_CERT_FILE" in refused.stderr


def test_what_a_script_logs_waits_until_the_certificate_is_trusted(
    serving: Callable[..., Any], ours: Authority, project: Path, tmp_path: Path
) -> None:
    server = served(serving, tmp_path, ours.sign("server"))
    (project / "log.py").write_text("import bis\nwith bis.run('logged'): bis.log(loss=0.5)\n")
    for trusting in ({}, {"SSL_CERT_FILE": str(ours.file)}):
        subprocess.run([sys.executable, "log.py"], cwd=project, check=True, env=plain({"BIS_SERVER": server.url}))
        done = bis(project, "sync", BIS_SERVER=server.url, **trusting)
        assert ("certificate is not trusted" in done.stderr) != bool(trusting), done.stderr
    found = subprocess.run(
        ["curl", "-s", "--cacert", ours.file, f"{server.url}/api/bis/1/runs"], capture_output=True, text=True
    )
    assert found.stdout.count('"logged') >= 2


def test_mlflows_client_trusts_it_by_the_variable_that_it_has(
    serving: Callable[..., Any], ours: Authority, clients: Path, project: Path, tmp_path: Path
) -> None:
    server = served(serving, tmp_path, ours.sign("server"))
    lines = "import mlflow\nwith mlflow.start_run(): mlflow.log_metric('loss', 0.5); mlflow.log_text('hi', 'a.txt')\n"
    told = {"MLFLOW_TRACKING_URI": server.url, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "GIT_PYTHON_REFRESH": "quiet"}
    for trusting, status in (({"MLFLOW_TRACKING_SERVER_CERT_PATH": str(ours.file)}, 0), ({}, 1)):
        done = subprocess.run(
            [clients, "-W", "ignore", "-c", lines], capture_output=True, text=True, env=plain({**told, **trusting})
        )
        assert done.returncode == status, done.stderr


def test_a_token_that_everybody_on_the_way_can_read_is_warned_of(project: Path) -> None:
    warned = bis(project, "push", "http://lab.invalid:5000", BIS_TOKEN="bis_secret")
    assert "warning: the token goes to lab.invalid by http://" in warned.stderr
    assert "bis_secret" not in warned.stderr
    assert "warning" not in bis(project, "push", "http://lab.invalid:5000").stderr
    token = {"BIS_TOKEN": "bis_secret"}
    for url in ("https://lab.example.org", "http://127.0.0.1:5000", "http://localhost", "http://[::1]:5000"):
        assert in_the_clear(url, token) == ""
    assert in_the_clear("http://10.0.0.7:5000", token) == "10.0.0.7"

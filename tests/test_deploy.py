"""The image and the compose file for a team, as far as they can be looked at without a container."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from bis.parts.dockerfile import instructions, read_dockerfile

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")


def compose() -> Any:
    return yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))


def test_nothing_floats_in_the_image_but_the_digest_that_its_comment_tells_to_add() -> None:
    reading = read_dockerfile(DOCKERFILE)
    assert {one.code for one in reading.floating} == {"floating-image"}
    assert all(re.search(r":\d+\.\d+\.\d+-", image) for image in reading.images)


def test_what_the_image_copies_is_there_and_is_sent_to_the_builder() -> None:
    sent = {line[1:] for line in (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = [
        source
        for _, keyword, rest in instructions(DOCKERFILE)
        if keyword == "COPY" and "--from" not in rest
        for source in shlex.split(rest)[:-1]
    ]
    assert len(copied) >= 5
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source in sent, source


def test_every_package_of_the_image_has_the_digests_of_its_files() -> None:
    text = (ROOT / "requirements" / "server.txt").read_text("utf-8")
    locked = re.findall(r"^([A-Za-z0-9_.-]+)==", text, re.M)
    assert {"starlette", "uvicorn", "psycopg", "obstore", "hatchling", "msgspec"} <= set(locked)
    for entry in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.M):
        assert not entry.strip() or "--hash=sha256:" in entry, entry[:60]


def test_the_image_runs_as_nobody_in_particular_and_says_when_it_is_well() -> None:
    found = {keyword: rest for _, keyword, rest in instructions(DOCKERFILE)}
    assert found["USER"] == "10001"
    assert "/health" in found["HEALTHCHECK"]
    assert found["STOPSIGNAL"] == "SIGTERM"


def test_the_services_start_with_options_that_the_server_has() -> None:
    services = compose()["services"]
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", services["db"]["image"])
    command = [re.sub(r"\$\{\w+:-(.*?)\}", r"\1", word) for word in services["bis"]["command"]]
    done = subprocess.run([sys.executable, "-m", "bis", *command, "--help"], capture_output=True, text=True)
    assert (done.returncode, "Usage: bis server" in done.stdout) == (0, True), done.stderr
    assert services["bis"]["ports"][0].startswith("127.0.0.1:")
    assert services["bis"]["read_only"] is True
    assert services["bis"]["cap_drop"] == ["ALL"]
    assert all("BIS_DB_PASSWORD:?" in services[name]["environment"][key] for name, key in SECRETS)


SECRETS = (("db", "POSTGRES_PASSWORD"), ("bis", "PGPASSWORD"))

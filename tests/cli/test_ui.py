"""`bis ui`: the pages of a project, on this machine."""

import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path


def test_a_script_is_told_where_the_pages_are_and_no_browser_opens(variables: dict[str, str], project: Path) -> None:
    typed = [sys.executable, "-m", "bis", "ui", "--json", "--port", "0"]
    process = subprocess.Popen(typed, cwd=project, env=variables, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        assert (told["schema"], told["project"]) == ("bis.ui/1", str(project))
        assert told["url"].startswith("http://127.0.0.1:")
        with urllib.request.urlopen(told["url"]) as answer:
            assert "high" in answer.read().decode()
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_a_port_that_is_taken_is_told_with_what_to_type_instead(variables: dict[str, str], project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        typed = [sys.executable, "-m", "bis", "ui", "--no-browser", "--port", str(port)]
        done = subprocess.run(typed, cwd=project, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 5
    assert f"port {port}" in done.stderr
    assert "bis ui --port 0  takes a free port" in done.stderr

"""Requests that are written down: one line of JSON for each, whatever it looked like on its way."""

import json
from pathlib import Path

import pytest

from bis.serving.asking import Answer, Asking
from bis.serving.sampled import Sampled
from bis.serving.version import Version

ANSWER = Answer(200, "application/json", b'{"predictions":[1]}', 1)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_request_of_several_lines_is_one_line(tmp_path: Path, end: str) -> None:
    sampled = Sampled(tmp_path, 1.0)
    asked = {"inputs": [[1.0, 2.0]], "params": {"text": "two\nlines"}}
    for body in (json.dumps(asked, indent=2).replace("\n", end), json.dumps(asked)):
        asking = Asking("invocations", "application/json", body.encode(), -1, 60.0, lambda answer, version: None)
        sampled.take(Version(name="churn", number="1"), asking, ANSWER)
    sampled.close()
    lines = (tmp_path / "churn-v1.jsonl").read_text().splitlines()
    assert [json.loads(line)["request"] for line in lines] == [asked, asked]

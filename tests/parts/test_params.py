"""What a run was told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bis.digest import keyed_digest
from bis.nouns.trace import Trace
from bis.parts import Scene, params
from bis.store.local import LocalStore


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["train.py", "--lr", "0.1"], {"argument 0": "train.py", "lr": "0.1"}),
        (["--lr=0.1", "-n", "3"], {"lr": "0.1", "n": "3"}),
        (["--fast", "--depth", "-1"], {"fast": "true", "depth": "-1"}),
        (["--low", "-1e5", "--high", "-.5E+3", "-1_000"], {"low": "-1e5", "high": "-.5E+3", "argument 0": "-1_000"}),
        (["model.layers=4", "+x=1"], {"model.layers": "4", "x": "1"}),
        (["--tag", "a", "--tag", "b"], {"tag": "a b"}),
        (["--", "x"], {"argument 0": "x"}),
        (["--last"], {"last": "true"}),
    ],
)
def test_options_are_read_as_people_write_them(words: list[str], found: dict[str, str]) -> None:
    assert params.options(words) == found


def test_values_of_configuration_files_that_were_read_are_params(
    scene: Callable[..., Scene], store: LocalStore, project: Path, reading: Callable[..., Trace]
) -> None:
    (project / "config.yaml").write_text("model:\n  layers: 4\n  password: hunter2\n")
    (project / "unread.yaml").write_text("a: 1\n")
    part = params.capture(scene(trace=reading(project / "config.yaml")), store)
    assert part.facts["values"]["config.yaml:model.layers"] == "4"
    assert "hunter2" not in json.dumps(part.facts)
    assert list(part.facts["config"]) == ["config.yaml"]


def test_variables_are_recorded_by_allow_list_and_others_by_keyed_digest(
    scene: Callable[..., Scene], store: LocalStore
) -> None:
    variables = {"OMP_NUM_THREADS": "2", "MY_VAR": "x", "HF_TOKEN": "hf_secret", "PATH": "/bin", "BIS_RUN": "1"}
    facts = params.capture(scene(variables=variables), store).facts
    assert facts["variables"] == {"OMP_NUM_THREADS": "2"}
    assert facts["hidden"] == {"MY_VAR": keyed_digest(b"key", "x"), "HF_TOKEN": keyed_digest(b"key", "hf_secret")}


def test_a_repeat_gets_recorded_variables_and_what_is_still_the_same(
    scene: Callable[..., Scene], store: LocalStore
) -> None:
    part = params.capture(scene(variables={"TZ": "Asia/Tokyo", "A": "1", "B": "2"}), store)
    given, findings = params.variables_to_give(
        part, {"TZ": "UTC", "A": "1", "B": "3", "HOME": "/h", "NEW": "x"}, b"key"
    )
    assert given == {"TZ": "Asia/Tokyo", "A": "1", "HOME": "/h"}
    assert [finding.code for finding in findings] == ["variables-not-kept"]
    assert "B" in findings[0].text


def test_changed_options_are_named_once(scene: Callable[..., Scene], store: LocalStore) -> None:
    before = params.capture(scene(("python", "train.py", "--lr", "0.1")), store)
    after = params.capture(scene(("python", "train.py", "--lr", "0.2")), store)
    changes = params.compare(before, after, store)
    assert [(change.name, change.before, change.after) for change in changes] == [("lr", "0.1", "0.2")]


def test_nothing_changed_is_no_change(scene: Callable[..., Scene], store: LocalStore) -> None:
    part = params.capture(scene(), store)
    assert params.compare(part, part, store) == []


def test_a_configuration_file_that_means_billions_of_values_is_read_only_so_far(
    project: Path, scene: Callable[..., Scene], store: LocalStore, reading: Callable[..., Trace]
) -> None:
    lines = ["a0: &a0 [{x: 1}, {x: 2}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (project / "config.yaml").write_text("\n".join(lines))
    part = params.capture(scene(trace=reading(project / "config.yaml")), store)
    assert len(part.facts["values"]) == params.VALUES

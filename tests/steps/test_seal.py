"""What a run made goes into the store, whatever the processes that it left behind do meanwhile."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bis.digest import Digest
from bis.parts import Scene
from bis.settings import Limits, Settings
from bis.steps.seal import collect
from bis.store.local import LocalStore, open_store
from bis.store.statcache import open_cache

Leftover = Callable[[Path], object]


class Crossed(LocalStore):
    """A store while a process that the run left behind is at work: it acts once a file has been kept."""

    act: Callable[[], object] = staticmethod(lambda: None)

    def put_bytes(self, data: bytes, kind: str = "blob") -> Digest:  # type: ignore[override]
        digest = super().put_bytes(data, kind)  # type: ignore[arg-type]
        self.act()
        return digest


@pytest.fixture
def scene(project: Path) -> Callable[..., Scene]:
    def make(**limits: int) -> Scene:
        settings = Settings(limits=Limits(**limits))
        command = ("python", "train.py")
        return Scene(
            project=project,
            folder=project,
            command=command,
            variables={},
            settings=settings,
            home=project.parent,
            cache=open_cache(None),
        )

    return make


@pytest.fixture
def crossed(project: Path, tmp_path: Path) -> Crossed:
    (project / "data.csv").unlink()
    return Crossed(open_store(tmp_path / "store").path)


@pytest.mark.parametrize("act", [Path.unlink, lambda path: path.write_text('{"acc": 0.1}')], ids=["gone", "changed"])
def test_metrics_are_those_of_the_file_that_was_kept(
    act: Leftover, project: Path, scene: Callable[..., Scene], crossed: Crossed
) -> None:
    (project / "metrics.json").write_text('{"acc": 0.5}')
    crossed.act = lambda: act(project / "metrics.json")
    _, metrics, findings = collect(scene(), crossed, 0, ["metrics.json"])
    assert (metrics, findings) == ({"acc": 0.5}, [])


@pytest.mark.parametrize(
    ("act", "why"),
    [(Path.unlink, "cannot be read any more: No such file"), (lambda path: path.write_text("{}"), "changed after")],
    ids=["gone", "changed"],
)
def test_metrics_of_a_file_that_was_not_kept_and_is_not_there_as_it_was_are_a_finding(
    act: Leftover, why: str, project: Path, scene: Callable[..., Scene], crossed: Crossed
) -> None:
    (project / "small").write_text("x")
    (project / "metrics.json").write_text('{"acc": 0.5}')
    crossed.act = lambda: act(project / "metrics.json") if (project / "metrics.json").exists() else None
    outputs, metrics, findings = collect(scene(output_file=5), crossed, 0, ["metrics.json"])
    assert [(output.path, output.kept) for output in outputs] == [("metrics.json", False), ("small", True)]
    assert metrics == {}
    assert [finding.code for finding in findings] == ["output-not-kept", "metrics-unread"]
    assert why in findings[1].text


def test_metrics_of_a_file_that_was_not_kept_are_read_where_it_lies(
    project: Path, scene: Callable[..., Scene], crossed: Crossed
) -> None:
    (project / "metrics.json").write_text('{"acc": 0.5}')
    _, metrics, _ = collect(scene(output_file=5), crossed, 0, ["metrics.json"])
    assert metrics == {"acc": 0.5}

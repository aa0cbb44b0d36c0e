"""The infrastructure part: identity, drift, and what weighs in a comparison."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bis.digest import canonical
from bis.nouns.part import Part
from bis.nouns.trace import Access, Stat, Trace
from bis.parts import Place, Scene, declared, infrastructure, system
from bis.store.local import LocalStore
from bis.store.snapshot import walk

SHA = "sha256:" + "0123456789abcdef" * 4
IMAGE = f"ghcr.io/team/train:v1@{SHA}"
MakeScene = Callable[..., Scene]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the packages of the operating system what they are to be."""
    folder = tmp_path / "root/var/lib/dpkg"
    (folder / "info").mkdir(parents=True)
    owned = {"libc6": "/lib/libc.so.6", "libgomp1": "/usr/lib/libgomp.so.1", "vim": "/usr/bin/vim"}
    for name, path in owned.items():
        (folder / "info" / f"{name}.list").write_text(f"{path}\n")
    monkeypatch.setattr(infrastructure.system, "observe", partial(system.observe, root=tmp_path / "root"))

    def make(**versions: str) -> None:
        rows = [f"Package: {name}\nStatus: install ok installed\nVersion: {v}\n" for name, v in versions.items()]
        (folder / "status").write_text("\n".join(rows))

    make(libc6="2.36-9", libgomp1="12.2.0-14", vim="9.0")
    return make


@pytest.fixture(autouse=True)
def _given(packages: Callable[..., None]) -> None:
    """No test depends on what is installed where it runs."""


def opened(*paths: str, complete: bool = True) -> Trace:
    accesses = tuple(Access(path=path, how="r", before=Stat(1, 1, 1)) for path in paths)
    return Trace(mechanism="notify", complete=complete, accesses=accesses)


def named(changes: list[Any]) -> dict[str, tuple[str | None, str | None, str]]:
    return {change.name: (change.before, change.after, change.weight) for change in changes}


def codes(part: Part) -> list[str]:
    return [finding.code for finding in part.findings]


def in_image(image: str = IMAGE) -> dict[str, str]:
    return {"BIS_IMAGE": image}


def test_the_same_surroundings_are_the_same_part(scene: MakeScene, store: LocalStore) -> None:
    before, after = infrastructure.capture(scene(), store), infrastructure.capture(scene(), store)
    assert before == after
    assert infrastructure.compare(before, after, store) == []


def test_all_packages_are_kept_once(scene: MakeScene, store: LocalStore) -> None:
    part = infrastructure.capture(scene(), store)
    assert part.facts["packages"] == {"manager": "dpkg", "count": 3}
    assert store.get_bytes(part.trees["packages"]) == b"libc6=2.36-9\nlibgomp1=12.2.0-14\nvim=9.0\n"
    assert "3 system packages" in part.summary


@pytest.fixture
def in_the_system_of_an_image(
    scene: MakeScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Scene]:
    """A scene of a command that has the system of an image, which is `image/root` here."""
    monkeypatch.setattr(infrastructure.system, "observe", infrastructure.system.observe.func)  # type: ignore[attr-defined]
    root = tmp_path / "image" / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/os-release").write_text("PRETTY_NAME=Other\nID=other\nVERSION_ID=3\n")
    return partial(scene, image=f"oci:image@{SHA}", system=root)


def test_in_the_system_of_an_image_its_packages_and_libraries_are_the_infrastructure(
    scene: MakeScene, in_the_system_of_an_image: Callable[..., Scene], store: LocalStore, tmp_path: Path
) -> None:
    info = tmp_path / "image/root/var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "libc6.list").write_text("/lib/libc.so.6\n")
    (info.parent / "status").write_text("Package: libc6\nStatus: install ok installed\nVersion: 2.41-1\n")
    trace = opened("/usr/lib/libc.so.6")
    inside = infrastructure.capture(in_the_system_of_an_image(trace=trace), store)
    assert inside.facts["distribution"] == {"name": "Other", "id": "other", "version": "3"}
    assert inside.facts["container"] == {"image": f"oci:image@{SHA}"}
    assert inside.facts["used"] == ["libc6"]
    assert "libc" not in inside.facts, "that of this machine is another one"
    assert store.get_bytes(inside.trees["packages"]) == b"libc6=2.41-1\n"
    assert codes(inside) == []
    outside = infrastructure.capture(scene(), store)
    assert {"distribution", "image"} <= named(infrastructure.compare(outside, inside, store)).keys()


def test_an_image_that_does_not_say_which_packages_it_has_leaves_a_doubt(
    in_the_system_of_an_image: Callable[..., Scene], store: LocalStore
) -> None:
    (finding,) = infrastructure.capture(in_the_system_of_an_image(), store).findings
    assert (finding.code, finding.blocks) == ("system-packages-unknown", True)


def test_packages_that_a_run_used_weigh_and_others_do_not(
    scene: MakeScene, store: LocalStore, packages: Callable[..., None]
) -> None:
    trace = opened("/usr/lib/libc.so.6", "/usr/lib/libgomp.so.1")
    before = infrastructure.capture(scene(trace=trace), store)
    assert before.facts["used"] == ["libc6", "libgomp1"]
    packages(libc6="2.36-10", libgomp1="12.2.0-14", vim="9.1", nano="7")
    after = infrastructure.capture(scene(trace=trace), store)
    assert named(infrastructure.compare(before, after, store)) == {
        "libc6": ("2.36-9", "2.36-10", "matters"),
        "nano": (None, "7", "minor"),
        "vim": ("9.0", "9.1", "minor"),
    }


def test_where_the_use_is_not_known_every_package_weighs(
    scene: MakeScene, store: LocalStore, packages: Callable[..., None]
) -> None:
    for trace in (None, opened("/lib/libc.so.6", complete=False)):
        packages(libc6="1", vim="1")
        before = infrastructure.capture(scene(trace=trace), store)
        packages(libc6="1", vim="2")
        after = infrastructure.capture(scene(trace=opened("/lib/libc.so.6")), store)
        assert named(infrastructure.compare(before, after, store)) == {"vim": ("1", "2", "matters")}


def test_many_changes_of_no_weight_are_one_line(
    scene: MakeScene, store: LocalStore, packages: Callable[..., None]
) -> None:
    trace = opened("/lib/libc.so.6")
    before = infrastructure.capture(scene(trace=trace), store)
    packages(libc6="2.36-10", **{f"p{number}": "1" for number in range(100)})
    after = infrastructure.capture(scene(trace=trace), store)
    first, folded = infrastructure.compare(before, after, store)
    assert (first.name, first.weight) == ("libc6", "matters")
    assert (folded.name, folded.weight) == ("102 system packages that the runs did not use", "minor")
    assert "vim 9.0 -> -" in folded.detail.splitlines()


def test_a_list_that_is_not_in_the_store_is_said_to_be_missing(
    scene: MakeScene, store: LocalStore, packages: Callable[..., None]
) -> None:
    before = infrastructure.capture(scene(), store)
    packages(libc6="3")
    after = infrastructure.capture(scene(), store)
    lost = Part(kind="infrastructure", digest=before.digest, facts=before.facts, trees={"packages": "b3:" + "0" * 64})  # type: ignore[dict-item]
    (change,) = infrastructure.compare(lost, after, store)
    assert (change.name, change.detail) == ("system packages", "The lists are not here.")


def test_packages_that_change_meanwhile_are_a_finding(
    scene: MakeScene, store: LocalStore, packages: Callable[..., None]
) -> None:
    earlier = infrastructure.capture(scene(), store)
    assert codes(infrastructure.capture(scene(trace=opened()), store, earlier)) == []
    packages(libc6="3")
    assert codes(infrastructure.capture(scene(trace=opened()), store, earlier)) == ["system-packages-changed"]


def test_a_database_that_cannot_be_read_is_a_finding(
    scene: MakeScene, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("rpm is not there")

    monkeypatch.setattr(infrastructure.system, "observe", broken)
    part = infrastructure.capture(scene(), store)
    assert codes(part) == ["system-packages-unknown"]
    assert "packages" not in part.trees


def test_libraries_of_no_package_are_known_by_their_bytes(scene: MakeScene, store: LocalStore, tmp_path: Path) -> None:
    """Seen from a room, in which the file lies elsewhere."""
    library = tmp_path / "libtuned.so"
    library.write_bytes(b"one")
    at_need = "/usr/local/nvidia/lib64/libnvidia-ptxjitcompiler.so.1"  # opened when no kernels were compiled before
    trace = opened("/opt/tuned/libtuned.so", "/opt/tuned/notes.txt", "/etc/passwd", at_need)
    given = {"trace": trace, "locate": lambda path: library if path.name == library.name else path}
    before = infrastructure.capture(scene(**given), store)
    assert list(before.facts["unowned"]) == ["/opt/tuned/libtuned.so"]
    library.write_bytes(b"other")
    after = infrastructure.capture(scene(**given), store)
    assert before.digest != after.digest
    ((name, (_, _, weight)),) = named(infrastructure.compare(before, after, store)).items()
    assert (name, weight) == ("/opt/tuned/libtuned.so", "matters")


def test_a_patch_level_of_the_kernel_is_not_the_identity(scene: MakeScene, store: LocalStore) -> None:
    part = infrastructure.capture(scene(), store)

    def identity(kernel: str) -> object:
        return infrastructure._identity({**part.facts, "kernel": kernel}, part.trees)

    assert identity("Linux 6.18.44-generic") == identity("Linux 6.18.45")
    assert identity("Linux 6.18.44") != identity("Linux 6.1.44")


def test_the_c_library_weighs_and_the_kernel_does_not(scene: MakeScene, store: LocalStore) -> None:
    before = infrastructure.capture(scene(), store)
    facts = {**before.facts, "libc": "glibc 2.99", "kernel": "Linux 9.9.9"}
    after = Part(kind="infrastructure", digest="b3:x", facts=facts, trees=before.trees)  # type: ignore[arg-type]
    changes = infrastructure.compare(before, after, store)
    assert [(change.name, change.weight) for change in changes] == [("C library", "matters"), ("kernel", "minor")]


# Declarations


def test_declared_files_are_part_of_the_identity(scene: MakeScene, store: LocalStore, project: Path) -> None:
    before = infrastructure.capture(scene(), store)
    (project / "Dockerfile").write_text(f"FROM debian@{SHA}\n")
    after = infrastructure.capture(scene(), store)
    assert before.digest != after.digest
    (change,) = infrastructure.compare(before, after, store)
    assert (change.name, change.before, change.weight) == ("Dockerfile", None, "minor")
    assert change.detail == f"+ debian@{SHA}"
    assert "1 declaration" in after.summary


def test_a_declaration_weighs_in_a_container(scene: MakeScene, store: LocalStore, project: Path) -> None:
    (project / ".gitlab-ci.yml").write_text("a: {image: x}\n")
    (project / "Dockerfile").write_text("FROM scratch\n")
    before = infrastructure.capture(scene(variables=in_image()), store)
    (project / ".gitlab-ci.yml").write_text("a: {image: y}\n")
    (project / "Dockerfile").write_text("FROM scratch\n\n")
    after = infrastructure.capture(scene(variables=in_image()), store)
    weights = {change.name: change.weight for change in infrastructure.compare(before, after, store)}
    assert weights == {"Dockerfile": "matters", ".gitlab-ci.yml": "minor"}


def test_another_image_weighs(scene: MakeScene, store: LocalStore) -> None:
    before = infrastructure.capture(scene(variables=in_image("train:1")), store)
    after = infrastructure.capture(scene(variables=in_image("train:2")), store)
    assert named(infrastructure.compare(before, after, store)) == {"image": ("train:1", "train:2", "matters")}


def test_what_floats_in_what_makes_images_is_a_finding(scene: MakeScene, store: LocalStore, project: Path) -> None:
    (project / "Dockerfile").write_text("FROM python:3.11\nRUN pip install numpy\nRUN pip install scipy\n")
    (project / ".gitlab-ci.yml").write_text("a: {image: x}\n")
    part = infrastructure.capture(scene(), store)
    assert codes(part) == ["floating-image", "floating-pip"]
    first, second = part.findings
    assert first.text == "Dockerfile:1: FROM python:3.11 has no digest, and a tag can be moved to another image"
    assert second.text.endswith("(and 1 more like it)")
    assert first.hint
    assert not first.blocks
    floats = {one["path"]: len(one["floating"]) for one in part.facts["declared"]}
    assert floats == {".gitlab-ci.yml": 1, "Dockerfile": 3}


def test_a_broken_declaration_is_a_finding_with_its_line(scene: MakeScene, store: LocalStore, project: Path) -> None:
    (project / "compose.yml").write_text("services:\n  a: [\n")
    (finding,) = infrastructure.capture(scene(), store).findings
    assert finding.code == "unreadable-declaration"
    assert finding.text.startswith("compose.yml could not be read as compose: line 3:")


def test_what_was_declared_at_the_start_counts_at_the_end(scene: MakeScene, store: LocalStore, project: Path) -> None:
    (project / "Dockerfile").write_text("FROM scratch\n")
    earlier = infrastructure.capture(scene(), store)
    (project / "Dockerfile").unlink()
    later = infrastructure.capture(scene(trace=opened()), store, earlier)
    assert later.facts["declared"] == earlier.facts["declared"]


def test_a_project_in_a_room_is_found_where_it_lies(scene: MakeScene, store: LocalStore, project: Path) -> None:
    (project / "Dockerfile").write_text("FROM scratch\n")
    shown = Path("/bis-is-not-here")
    part = infrastructure.capture(scene(project=shown, locate=lambda path: project), store)
    assert [one["path"] for one in part.facts["declared"]] == ["Dockerfile"]
    assert not (project.parent / ".cache/bis/declared").exists()


def test_the_memory_of_declarations_is_kept_between_captures(
    scene: MakeScene, store: LocalStore, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.setattr(infrastructure.time, "time_ns", lambda: 10**20)
    first = infrastructure.capture(scene(cache=None), store)
    monkeypatch.setattr(declared, "_examine", lambda *_: pytest.fail("it was read again"))
    assert infrastructure.capture(scene(cache=None), store) == first


# Drift


def test_drift_between_a_dockerfile_and_the_container(scene: MakeScene, store: LocalStore, project: Path) -> None:
    pins = "libgomp1=12.2.0-14 libc6=2.36-8 vim=9.* absent=1"
    (project / "Dockerfile").write_text(f"FROM debian@{SHA}\nRUN apt-get install -y {pins}\n")
    assert codes(infrastructure.capture(scene(), store)) == []
    part = infrastructure.capture(scene(variables=in_image()), store)
    assert [finding.text for finding in part.findings] == [
        "Dockerfile asks for libc6=2.36-8, and this container has 2.36-9",
        "Dockerfile asks for absent=1, and this container does not have it",
    ]
    assert set(codes(part)) == {"infrastructure-drift"}


def test_of_several_dockerfiles_none_is_held_against_the_container(
    scene: MakeScene, store: LocalStore, project: Path
) -> None:
    for name in ("Dockerfile", "Dockerfile.gpu"):
        (project / name).write_text(f"FROM debian@{SHA}\nRUN apt-get install -y libc6=1\n")
    assert codes(infrastructure.capture(scene(variables=in_image()), store)) == []


def test_drift_between_a_deployment_and_the_image(scene: MakeScene, store: LocalStore, project: Path) -> None:
    (project / "compose.yml").write_text(
        f"services:\n  a: {{image: 'ghcr.io/team/train:v2@{SHA}'}}\n  b: {{image: 'x@{SHA}'}}\n"
    )
    part = infrastructure.capture(scene(variables=in_image()), store)
    (finding,) = part.findings
    assert finding.text == f"compose.yml names ghcr.io/team/train:v2@{SHA}, and this container runs {IMAGE}"


def test_declared_files_come_back_where_the_code_did_not_bring_them(
    scene: MakeScene, store: LocalStore, project: Path, tmp_path: Path
) -> None:
    (project / "deploy").mkdir()
    (project / "deploy" / "Dockerfile").write_text("FROM scratch\n")
    (project / "compose.yml").write_text("services: {}\n")
    before = infrastructure.capture(scene(), store)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "compose.yml").write_text("services: {changed: {}}\n")
    infrastructure.restore(before, Place(project=fresh), store)
    assert (fresh / "deploy" / "Dockerfile").read_text() == "FROM scratch\n"
    assert "changed" in (fresh / "compose.yml").read_text()
    (fresh / "compose.yml").write_text("services: {}\n")
    assert infrastructure.capture(scene(project=fresh), store).digest == before.digest


def test_without_declared_files_nothing_is_restored(scene: MakeScene, store: LocalStore, tmp_path: Path) -> None:
    part = infrastructure.capture(scene(), store)
    infrastructure.restore(part, Place(project=tmp_path / "fresh"), store)
    assert not (tmp_path / "fresh").exists()


def test_credentials_in_declarations_are_not_kept(scene: MakeScene, store: LocalStore, project: Path) -> None:
    (project / "prod.tfvars").write_text('password = "hunter2"\n')
    (project / "Dockerfile").write_text("FROM scratch\nRUN pip install git+https://me:hunter2@x.org/a\n")
    one = infrastructure.capture(scene(), store)
    assert "hunter2" not in str(one)
    assert "declared" in one.trees
    assert [leaf.path for leaf in walk(store, one.trees["declared"])] == ["Dockerfile"]
    other = infrastructure.capture(scene(key=b"another"), store)
    digests = [
        {item["path"]: item["digest"] for item in part.facts["declared"]}["prod.tfvars"] for part in (one, other)
    ]
    assert digests[0].startswith("hmac:")
    assert digests[0] != digests[1]


def test_a_part_compares_the_same_when_it_comes_from_a_record(scene: MakeScene, store: LocalStore) -> None:
    """A record has its keys sorted."""
    before = infrastructure.capture(scene(variables=in_image("a")), store)
    after = infrastructure.capture(scene(variables=in_image("b")), store)
    recorded = msgspec.json.decode(canonical(before), type=Part)
    assert [change.name for change in infrastructure.compare(recorded, after, store)] == ["image"]


def test_a_home_that_cannot_be_written_is_no_trouble(scene: MakeScene, store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    assert infrastructure.capture(scene(home=tmp_path / "home"), store).facts["packages"]["count"] == 3

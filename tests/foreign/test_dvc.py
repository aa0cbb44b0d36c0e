"""DVC: what it wrote is read, what is written it takes for its own. Hashes are those that DVC 3.67.1 made."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bis.errors import UsageError
from bis.foreign import dvc
from bis.foreign.dvc import MD5, OLD, Member, Out

Shell = Callable[..., str]
Peer = Callable[[str], Path]

POINTER = """outs:
- md5: 8a9b2cc0cf8a7a1e7a1d8e9f3f6e1b2c
  size: 20
  hash: md5
  path: train.csv
"""
LOCK = """schema: '2.0'
stages:
  prepare:
    cmd: python prepare.py
    deps:
    - path: train.csv
      hash: md5
      md5: 8a9b2cc0cf8a7a1e7a1d8e9f3f6e1b2c
      size: 20
    outs:
    - path: clean
      hash: md5
      md5: 12345678901234567890123456789012.dir
      size: 7
      nfiles: 2
    - path: scores.json
      hash: md5
      md5: 00000000000000000000000000000e10
      size: 2
  fit@a:
    cmd:
    - first
    - second
    outs:
    - path: a.bin
      md5: 8a9b2cc0cf8a7a1e7a1d8e9f3f6e1b2c
"""
PIPELINE = """stages:
  prepare:
    cmd: python prepare.py
    wdir: work
    outs: [clean]
    metrics:
    - scores.json:
        cache: false
  fit:
    foreach: [a]
    do:
      cmd: first
      wdir: models
"""


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# Quick: files written by hand ----------------------------------------------------------------------------------------


def test_a_pointer_is_read(tmp_path: Path) -> None:
    stage = dvc.read_pointer(POINTER, "train.csv.dvc")
    assert stage.outs == (Out(path="train.csv", value="8a9b2cc0cf8a7a1e7a1d8e9f3f6e1b2c", size=20),)


def test_a_pointer_is_written_as_dvc_writes_it() -> None:
    assert dvc.write_pointer(dvc.read_pointer(POINTER, "x").outs) == POINTER


def test_an_entry_without_the_key_hash_is_one_of_dvc_2() -> None:
    (out,) = dvc.read_pointer(POINTER.replace("  hash: md5\n", ""), "x").outs
    assert out.hash == OLD


@pytest.mark.parametrize("value", ["12345678901234567890123456789012", "1234567890123456789012345678e012"])
def test_a_hash_that_looks_like_a_number_stays_text(value: str) -> None:
    text = dvc.write_pointer([Out(path="a", value=value)])
    assert f"'{value}'" in text
    assert dvc.read_pointer(text, "x").outs[0].value == value
    assert dvc.read_pointer(text.replace("'", ""), "x").outs[0].value == value


def test_a_lock_is_read_with_what_the_pipeline_says_of_folders_and_caching() -> None:
    prepare, fit = dvc.read_lock(LOCK, "dvc.lock", PIPELINE)
    assert [prepare.place(out) for out in prepare.outs] == ["work/clean", "work/scores.json"]
    assert [(out.is_folder, out.cached) for out in prepare.outs] == [(True, True), (False, False)]
    assert prepare.outs[0].nfiles == 2
    assert [dep.path for dep in prepare.deps] == ["train.csv"]
    assert (fit.command, fit.place(fit.outs[0]), fit.outs[0].hash) == ("first && second", "models/a.bin", OLD)


def test_where_an_imported_file_came_from_is_told() -> None:
    repository = "deps:\n- path: data.xml\n  repo:\n    url: https://example.org/r.git\n    rev_lock: abc1\n"
    assert dvc.read_pointer(repository + POINTER, "x").source == "https://example.org/r.git@abc1:data.xml"
    address = "deps:\n- path: https://example.org/data.xml\n  etag: '1'\n"
    assert dvc.read_pointer(address + POINTER, "x").source == "https://example.org/data.xml"


@pytest.mark.parametrize("text", ["[", "- a\n", "outs: 3\n", "outs:\n- md5: a\n", "a: &x [*x]\nouts: *x\n"])
def test_what_is_no_pointer_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"odd\.dvc"):
        dvc.read_pointer(text, "odd.dvc")


def test_the_listing_of_a_folder_has_the_bytes_that_dvc_gives_it() -> None:
    """DVC 3.67.1 named a folder with these three files as below; letters beyond ASCII are escaped in its listing."""
    members = [
        Member(path="sub/b.txt", value="b8b340fb35d9faf6c0faa16368485f2f"),
        Member(path="a.txt", value="0cc175b9c0f1b6a831c399e269772661"),
        Member(path="ü.txt", value="d41d8cd98f00b204e9800998ecf8427e"),
    ]
    data = dvc.write_listing(members)
    assert data.startswith(b'[{"md5": "0cc175b9c0f1b6a831c399e269772661", "relpath": "a.txt"}, ')
    assert b"\\u00fc" in data
    assert dvc.folder_value(data) == FOLDER_VALUE
    assert dvc.read_listing(data) == sorted(members, key=lambda member: member.path)


FOLDER_VALUE = "b6c5cde9a98232cb0ab2f751593fd46c.dir"


@pytest.mark.parametrize("path", ["../a", "/etc/passwd", "a/../../b", "", "a//b"])
def test_a_listing_that_leads_out_of_its_folder_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="no path inside"):
        dvc.read_listing(dvc.write_listing([Member(path=path, value="0cc175b9c0f1b6a831c399e269772661")]))


@pytest.mark.parametrize("value", ["../../etc/passwd", "", "0cc175b9c0f1b6a831c399e26977266", "0" * 32 + ".dir/x"])
def test_what_is_no_hash_becomes_no_path(value: str) -> None:
    with pytest.raises(UsageError):
        dvc.object_place(value)


def test_line_ends_of_text_do_not_count_in_the_old_hash(tmp_path: Path) -> None:
    windows = write(tmp_path / "w.txt", b"a\r\nb\r\n")
    unix = write(tmp_path / "u.txt", b"a\nb\n")
    binary = write(tmp_path / "b.bin", b"\0a\r\nb\r\n")
    assert dvc.hash_file(windows, OLD) == dvc.hash_file(unix, MD5) == "dd8c6a395b5dd36c56d23275028f526c"
    assert dvc.hash_file(windows, MD5) != dvc.hash_file(unix, MD5)
    assert dvc.hash_file(binary, OLD) == dvc.hash_file(binary, MD5)


def test_both_rules_for_what_is_text_are_known(tmp_path: Path) -> None:
    """DVC 2 looked at the beginning of a file, DVC 3 looks at each mebibyte of it. The hash is that of DVC 2.58.2."""
    path = write(tmp_path / "mixed", b"a\r\n" * 350_000 + b"\0\r\n" * 350_000)
    with path.open("rb") as file:
        second = dvc.hash_stream(file, OLD, first=True)
    assert second == "76d81cc4ec6d7d11e7a821f7681f2ac0"
    assert second != dvc.hash_file(path, OLD)
    assert dvc.is_content(path, second, OLD)
    assert dvc.is_content(path, dvc.hash_file(path, OLD), OLD)
    assert not dvc.is_content(path, dvc.hash_file(path, MD5), OLD)


def test_a_changed_object_is_not_the_content_though_dvc_trusts_its_mode(tmp_path: Path) -> None:
    place = write(tmp_path / dvc.object_place("0cc175b9c0f1b6a831c399e269772661"), b"b")
    place.chmod(dvc.MODE)
    found = dvc.find_content("0cc175b9c0f1b6a831c399e269772661", MD5, [tmp_path])
    assert found == place
    assert not dvc.is_content(place, "0cc175b9c0f1b6a831c399e269772661", MD5)


def test_both_layouts_of_a_cache_are_found(tmp_path: Path) -> None:
    value = "0cc175b9c0f1b6a831c399e269772661"
    old = write(tmp_path / "0c/c175b9c0f1b6a831c399e269772661", b"a")
    assert dvc.find_content(value, OLD, [tmp_path / "none", tmp_path]) == old
    new = write(tmp_path / "files/md5/0c/c175b9c0f1b6a831c399e269772661", b"a")
    assert dvc.find_content(value, MD5, [tmp_path]) == new
    assert dvc.find_content("f" * 32, MD5, [tmp_path]) is None


def test_remotes_are_read_from_both_configurations(tmp_path: Path) -> None:
    write(
        tmp_path / ".dvc" / "config",
        "[core]\n    remote = main\n['remote \"main\"']\n    url = ../store\n['remote \"cloud\"']\n    url = s3://b/p%20q\n",
    )
    write(tmp_path / ".dvc" / "config.local", "[cache]\n    dir = /big/cache\n['remote \"main\"']\n    url = /mnt/x\n")
    config = dvc.read_config(tmp_path)
    assert (config.default, config.cache) == ("main", Path("/big/cache"))
    assert config.remotes["main"].folder == Path("/mnt/x")
    assert (config.remotes["cloud"].folder, config.remotes["cloud"].url) == (None, "s3://b/p%20q")


def test_relative_places_are_relative_to_the_configuration(tmp_path: Path) -> None:
    config = dvc.read_config(tmp_path, ["['remote \"r\"']\nurl = ../store\n"])
    assert config.remotes["r"].folder == tmp_path / ".dvc" / "../store"
    assert config.cache == tmp_path / ".dvc" / "cache"


def test_what_is_said_of_a_remote_is_read_from_both_configurations(tmp_path: Path) -> None:
    said = "['remote \"a\"']\nurl = s3://b/p\nendpointurl = https://own\ncredentialpath = ../keys\nprofile = 'x'\n"
    secret = (
        "['remote \"a\"']\nsecret_access_key = hush\nprofile = y\n['remote \"v\"']\nurl = s3://b\nworktree = true\n"
    )
    a, v = dvc.read_config(tmp_path, [said, secret]).remotes.values()
    keys = str(tmp_path / ".dvc" / "../keys")
    assert a.options == {
        "endpointurl": "https://own",
        "credentialpath": keys,
        "profile": "y",
        "secret_access_key": "hush",
    }
    assert (a.is_versioned, v.is_versioned) == (False, True)


def test_a_remote_below_another_one_is_found_with_what_is_said_of_that(tmp_path: Path) -> None:
    far = "['remote \"far\"']\nurl = s3://b/p/\nregion = x\n['remote \"in\"']\nurl = remote://far/q/r\nprofile = y\n"
    here = "['remote \"here\"']\nurl = ../s\n['remote \"sub\"']\nurl = remote://here/q\n"
    config = dvc.read_config(tmp_path, [far, here])
    inner = config.remotes["in"]
    assert (inner.url, inner.folder, inner.options) == ("s3://b/p/q/r", None, {"region": "x", "profile": "y"})
    assert config.remotes["sub"].folder == tmp_path / ".dvc" / "../s" / "q"
    (broken,) = dvc.read_config(tmp_path, ["['remote \"a\"']\nurl = remote://a/x\n"]).remotes.values()
    assert (broken.url, broken.folder) == ("remote://a/x", None)


def test_which_file_tracks_a_path_is_found_upwards(tmp_path: Path) -> None:
    value = "12345678901234567890123456789012"
    write(tmp_path / "data.dvc", dvc.write_pointer([Out(path="data", value=value + ".dir")]))
    write(tmp_path / "data" / "x" / "own.csv.dvc", dvc.write_pointer([Out(path="own.csv", value=value)]))
    write(tmp_path / "dvc.lock", LOCK)
    write(tmp_path / "dvc.yaml", PIPELINE)

    def found(path: str) -> list[tuple[str, str]]:
        return [(file.name, inside) for file, _, _, inside in dvc.tracking(tmp_path / path, tmp_path)]

    assert found("data/x/y.csv") == [("data.dvc", "x/y.csv")]
    assert found("data/x/own.csv") == [("own.csv.dvc", ""), ("data.dvc", "x/own.csv")]
    assert found("work/clean/1.csv") == [("dvc.lock", "1.csv")]
    assert found("elsewhere.csv") == []


# Slow: DVC itself ----------------------------------------------------------------------------------------------------


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
def test_what_is_written_is_clean_for_dvc_and_checked_out_by_it(tmp_path: Path, shell: Shell, peer: Peer) -> None:
    project = tmp_path / "project"
    project.mkdir()
    shell(project, "git", "init", "-q")
    shell(project, peer("dvc"), "init", "-q")
    content = {"a.txt": b"a\r\n", "sub/b.bin": b"\0" * 3_000_000, "ü ñ.csv": b"", "sub/z.txt": b"z", "sub.x": b"1"}
    for name, data in content.items():
        write(project / "data" / name, data)
    members = []
    for name in content:
        value = dvc.hash_file(project / "data" / name)
        write(project / ".dvc/cache" / dvc.object_place(value), content[name])
        members.append(Member(path=name, value=value))
    listing = dvc.write_listing(members)
    value = dvc.folder_value(listing)
    write(project / ".dvc/cache" / dvc.object_place(value), listing)
    size = sum(map(len, content.values()))
    text = dvc.write_pointer([Out(path="data", value=value, size=size, nfiles=len(content))])
    write(project / "data.dvc", text)
    assert "up to date" in shell(project, peer("dvc"), "status")
    for path in sorted((project / "data").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    shell(project, peer("dvc"), "checkout")
    assert files_of(project / "data") == content
    (project / "data.dvc").unlink()
    shell(project, peer("dvc"), "add", "-q", "data")
    assert (project / "data.dvc").read_text() == text


@pytest.mark.slow
def test_what_dvc_pushed_is_found_and_is_the_content(tmp_path: Path, shell: Shell, peer: Peer) -> None:
    project = tmp_path / "project"
    project.mkdir()
    shell(project, "git", "init", "-q")
    shell(project, peer("dvc"), "init", "-q")
    shell(project, peer("dvc"), "remote", "add", "-d", "my store", "../store")
    write(project / "raw" / "one.csv", "x\r\n1\r\n")
    write(project / "raw" / "deep" / "two.csv", "x\n2\n")
    shell(project, peer("dvc"), "add", "-q", "raw")
    command = "python3 -c \"import os; os.mkdir('out'); open('out/m.txt', 'w').write('7')\""
    shell(project, peer("dvc"), "stage", "add", "-q", "-n", "fit", "-d", "raw", "-o", "out", command)
    shell(project, peer("dvc"), "repro", "-q")
    shell(project, peer("dvc"), "push", "-q")
    config = dvc.read_config(project)
    store = config.remotes[config.default].folder
    assert store is not None
    stages = [dvc.read_pointer((project / "raw.dvc").read_text(), "raw.dvc")]
    stages += dvc.read_lock((project / "dvc.lock").read_text(), "dvc.lock", (project / "dvc.yaml").read_text())
    for stage in stages:
        for out in stage.outs:
            found = dvc.find_content(out.value, out.hash, [store])
            assert found is not None
            assert dvc.is_content(found, out.value, out.hash)
            for member in dvc.read_listing(found.read_bytes()):
                inner = dvc.find_content(member.value, out.hash, [store])
                assert inner is not None
                assert inner.read_bytes() == (project / out.path / member.path).read_bytes()
    assert [(stage.name, [out.path for out in stage.outs]) for stage in stages] == [("", ["raw"]), ("fit", ["out"])]


@pytest.mark.slow
def test_hashes_are_those_of_dvc(tmp_path: Path, shell: Shell, peer: Peer) -> None:
    contents = [b"", b"a\r\nb", b"\0\r\n", b"\xff" * 400 + b"\r\n" * 300, b"a\r\n" * 350_000 + b"\0\r\n" * 350_000]
    asked = "import sys; from dvc_data.hashfile.hash import fobj_md5\n"
    asked += "for p in sys.argv[2:]: print(fobj_md5(open(p, 'rb'), name=sys.argv[1]))"
    paths = [write(tmp_path / str(index), content) for index, content in enumerate(contents)]
    for kind in (MD5, OLD):
        told = shell(tmp_path, peer("python"), "-c", asked, kind, *paths).split()
        assert told == [dvc.hash_file(path, kind) for path in paths]


@pytest.mark.slow
def test_a_folder_has_the_name_that_dvc_gives_it(tmp_path: Path, shell: Shell, peer: Peer) -> None:
    shell(tmp_path, "git", "init", "-q")
    shell(tmp_path, peer("dvc"), "init", "-q")
    write(tmp_path / "d" / "a.txt", "a")
    write(tmp_path / "d" / "sub" / "b.txt", "bb\r\n")
    os.close(os.open(tmp_path / "d" / "ü.txt", os.O_CREAT))
    shell(tmp_path, peer("dvc"), "add", "-q", "d")
    (out,) = dvc.read_pointer((tmp_path / "d.dvc").read_text(), "d.dvc").outs
    assert (out.value, out.nfiles, out.size) == (FOLDER_VALUE, 3, 5)

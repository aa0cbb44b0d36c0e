"""Artifacts over HTTP: what is acknowledged is there, whole, in ranges, after a kill, and after `bis gc`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from bis.digest import digest_bytes
from bis.errors import NotFound
from bis.store.local import open_store

ROOT = "/api/2.0/mlflow-artifacts/artifacts"
MPU = "/api/2.0/mlflow-artifacts/mpu"


def noise(size: int, seed: int = 1) -> bytes:
    import random

    return random.Random(seed).randbytes(size)


def put(server: Any, path: str, content: bytes) -> None:
    answer = server.http.put(f"{ROOT}/{path}", content=content)
    assert (answer.status_code, answer.json()) == (200, {})


def bis(folder: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "bis", "-C", folder, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000, (1 << 20) + 1, 9_000_001])
def test_what_was_put_is_got_back_at_any_size(server: Any, size: int) -> None:
    content = noise(size)
    put(server, "0/run/artifacts/model.bin", content)
    answer = server.http.get(f"{ROOT}/0/run/artifacts/model.bin")
    assert answer.content == content
    assert answer.headers["etag"] == f'"{digest_bytes(content)}"'
    assert answer.headers["content-disposition"] == "attachment; filename=model.bin"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_body_without_a_length_is_taken_as_it_comes(server: Any) -> None:
    def parts() -> Iterator[bytes]:
        for number in range(50):
            yield noise(70_000, number)

    assert server.http.put(f"{ROOT}/0/run/artifacts/x", content=parts()).status_code == 200
    assert server.http.get(f"{ROOT}/0/run/artifacts/x").content == b"".join(parts())


def test_ranges_are_answered_with_just_these_bytes(server: Any) -> None:
    content = noise(9_000_001)
    put(server, "0/run/artifacts/large", content)

    def asked(range: str, **more: str) -> httpx.Response:
        answer: httpx.Response = server.http.get(f"{ROOT}/0/run/artifacts/large", headers={"Range": range, **more})
        return answer

    for range, start, end in [
        ("bytes=0-0", 0, 1),
        ("bytes=8388607-8388700", 8_388_607, 8_388_701),
        ("bytes=9000000-", 9_000_000, 9_000_001),
        ("bytes=-7", 8_999_994, 9_000_001),
        ("bytes=5000000-99999999999", 5_000_000, 9_000_001),
    ]:
        answer = asked(range)
        assert (answer.status_code, answer.content) == (206, content[start:end]), range
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/9000001"
    for range in ("bytes=9000001-", "bytes=-0"):
        answer = asked(range)
        assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */9000001")
    for range in ("bytes=5-2", "lines=1-2", "bytes=0-1,4-5", "bytes=-"):
        assert asked(range).status_code == 200, range
    assert asked("bytes=0-0", **{"If-Range": '"b3:other"'}).status_code == 200


def test_what_did_not_change_is_not_sent_again(server: Any) -> None:
    put(server, "0/run/artifacts/a", b"one")
    etag = server.http.get(f"{ROOT}/0/run/artifacts/a").headers["etag"]
    answer = server.http.get(f"{ROOT}/0/run/artifacts/a", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (304, b"")
    put(server, "0/run/artifacts/a", b"two")
    assert server.http.get(f"{ROOT}/0/run/artifacts/a", headers={"If-None-Match": etag}).content == b"two"
    head = server.http.head(f"{ROOT}/0/run/artifacts/a")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "3", b"")


def test_names_in_any_script_are_kept_and_given_back(server: Any) -> None:
    for name in ["größe.txt", "模型 1.bin", "100%25.txt", "a+b&c=d;e.txt", "emoji-🎵.bin", 'quo"te.txt', "a%2Fb.txt"]:
        path = f"{ROOT}/0/run/artifacts/" + "".join(f"%{byte:02X}" for byte in name.encode())
        assert server.http.put(path, content=name.encode()).status_code == 200, name
        answer = server.http.get(path)
        assert answer.content == name.encode()
    listed = server.http.get(ROOT, params={"path": "0/run/artifacts"}).json()["files"]
    assert {file["path"] for file in listed} >= {"größe.txt", "模型 1.bin", "100%25.txt", "a%2Fb.txt"}


@pytest.mark.parametrize(
    "path",
    "../../etc/passwd 0/..%2f..%2fetc %2e%2e/x %252e%252e%252fx /etc/passwd %2Fetc/passwd C:%5Cx C:/x a%00b a%0d%0ab"
    " %ff%fe a/../../b".split(),
)
def test_a_path_that_could_lead_elsewhere_is_refused_by_every_call(server: Any, path: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        import http.client

        connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
        connection.request(method, f"{ROOT}/{path}", body=b"x" if method == "PUT" else None)
        answer = connection.getresponse()
        assert 400 <= answer.status < 500, (method, answer.status)
        assert b"Traceback" not in answer.read()
        connection.close()
    assert server.http.get(ROOT).json() == {"files": []}


def test_a_path_of_endless_length_is_refused(server: Any) -> None:
    for size in (2_001, 50_000):
        assert 400 <= server.http.put(f"{ROOT}/{'n' * size}", content=b"x").status_code < 500


def test_a_folder_is_listed_by_name_and_removed_whole(server: Any) -> None:
    for path in ("a.txt", "dir/b.txt", "dir/deep/c.txt"):
        put(server, path, b"0")
    assert server.http.get(ROOT).json() == {
        "files": [{"path": "a.txt", "is_dir": False, "file_size": 1}, {"path": "dir", "is_dir": True}]
    }
    assert server.http.delete(f"{ROOT}/dir").json() == {}
    assert server.http.get(ROOT).json()["files"] == [{"path": "a.txt", "is_dir": False, "file_size": 1}]
    gone = server.http.get(f"{ROOT}/dir/b.txt")
    assert (gone.status_code, gone.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert server.http.delete(f"{ROOT}/").status_code in (400, 404, 405)


def test_many_upload_at_once_and_each_finds_its_own(server: Any) -> None:
    def upload(number: int) -> bool:
        content = noise(20_000 + number * 7_000, number)
        with httpx.Client(base_url=server.url, timeout=60) as http:
            assert http.put(f"{ROOT}/0/run/artifacts/{number}", content=content).status_code == 200
            return http.get(f"{ROOT}/0/run/artifacts/{number}").content == content

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(upload, range(64)))


def test_a_large_upload_and_download_do_not_take_memory_for_it(serving: Callable[..., Any]) -> None:
    server = serving()
    block = noise(1 << 20)

    def parts() -> Iterator[bytes]:
        for number in range(300):
            yield block[number:] + block[:number]

    put(server, "warm", block)
    before = peak(server.process.pid)
    assert server.http.put(f"{ROOT}/0/run/artifacts/large", content=parts()).status_code == 200
    with server.http.stream("GET", f"{ROOT}/0/run/artifacts/large") as answer:
        assert sum(map(len, answer.iter_bytes())) == 300 << 20
    assert peak(server.process.pid) - before < 150 << 20


def peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM"))


def test_what_was_acknowledged_survives_a_kill(serving: Callable[..., Any], tmp_path: Path) -> None:
    first = serving()
    content = noise(3_000_000)
    put(first, "0/run/artifacts/small", b"small")
    put(first, "0/run/artifacts/large", content)
    first.stop(signal.SIGKILL)
    again = serving()
    assert again.http.get(f"{ROOT}/0/run/artifacts/small").content == b"small"
    assert again.http.get(f"{ROOT}/0/run/artifacts/large").content == content
    assert "sound" in bis(tmp_path, "verify")


def test_an_upload_that_is_broken_off_leaves_nothing(server: Any, tmp_path: Path) -> None:
    import socket

    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as wire:
        wire.sendall(f"PUT {ROOT}/0/x HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 9000000\r\n\r\n".encode())
        wire.sendall(noise(3_000_000))
    put(server, "0/other", b"x")  # by now the server knows
    assert server.http.get(f"{ROOT}/0/x").status_code == 404
    for _ in range(100):
        if not list((tmp_path / ".bis" / "uploads").iterdir()):
            break
        time.sleep(0.05)
    assert not list((tmp_path / ".bis" / "uploads").iterdir())


def test_garbage_collection_keeps_what_is_named_and_takes_what_was_removed(
    serving: Callable[..., Any], tmp_path: Path
) -> None:
    server = serving()
    kept, gone = noise(2_000_000, 1), noise(2_000_000, 2)
    put(server, "0/run/artifacts/kept", kept)
    put(server, "0/run/artifacts/gone", gone)
    assert server.http.delete(f"{ROOT}/0/run/artifacts/gone").status_code == 200
    server.stop()
    bis(tmp_path, "gc", "--now")
    again = serving()
    assert again.http.get(f"{ROOT}/0/run/artifacts/kept").content == kept
    packs = sum(path.stat().st_size for path in (tmp_path / ".bis" / "store" / "packs").iterdir())
    assert 2_000_000 <= packs < 2_500_000
    assert "sound" in bis(tmp_path, "verify")


def test_garbage_is_collected_while_the_server_runs(server: Any, tmp_path: Path) -> None:
    kept = {f"0/run/artifacts/{number}": noise(3000, number) for number in range(110)}
    for path, content in {**kept, "0/run/artifacts/gone": noise(2_000_000)}.items():
        put(server, path, content)
    server.http.delete(f"{ROOT}/0/run/artifacts/gone")
    time.sleep(1.5)  # by then nothing is being uploaded, and the store is told so
    bis(tmp_path, "gc", "--now")
    packs = [path.stat().st_size for path in (tmp_path / ".bis" / "store" / "packs").iterdir()]
    assert (len(packs), sum(packs) < 500_000) == (1, True)
    assert all(server.http.get(f"{ROOT}/{path}").content == content for path, content in kept.items())
    put(server, "0/run/artifacts/new", b"new")
    assert server.http.get(f"{ROOT}/0/run/artifacts/new").content == b"new"


def test_verify_names_an_artifact_whose_content_is_gone(serving: Callable[..., Any], tmp_path: Path) -> None:
    server = serving()
    put(server, "0/run/artifacts/a.txt", b"content")
    server.stop()
    for path in (tmp_path / ".bis" / "store" / "packs").iterdir():
        path.unlink()
    done = subprocess.run([sys.executable, "-m", "bis", "-C", tmp_path, "verify"], capture_output=True, text=True)
    assert (done.returncode, "artifact 0/run/artifacts/a.txt is missing" in done.stdout) == (5, True)


def test_an_upload_in_parts_is_put_together_in_order(server: Any, tmp_path: Path) -> None:
    parts = [noise(700_000, number) for number in range(3)]
    begun = server.http.post(
        f"{MPU}/create/0/run/artifacts/models", json={"path": "/home/me/model.bin", "num_parts": 3}
    ).json()
    sent = []
    for credential in reversed(begun["credentials"]):
        number = credential["part_number"]
        answer = httpx.put(credential["url"], content=parts[number - 1], headers=credential["headers"])
        sent.append({"part_number": number, "etag": answer.headers["ETag"], "url": credential["url"]})
    finish = {
        "path": "/home/me/model.bin",
        "upload_id": begun["upload_id"],
        "parts": sorted(sent, key=lambda p: p["part_number"]),
    }
    wrong = [{**finish["parts"][0], "etag": "b3:00"}, *finish["parts"][1:]]
    assert (
        server.http.post(f"{MPU}/complete/0/run/artifacts/models", json={**finish, "parts": wrong}).status_code == 400
    )
    assert server.http.post(f"{MPU}/complete/elsewhere", json=finish).status_code == 400
    assert server.http.post(f"{MPU}/complete/0/run/artifacts/models", json=finish).json() == {}
    assert server.http.get(f"{ROOT}/0/run/artifacts/models/model.bin").content == b"".join(parts)
    assert not list((tmp_path / ".bis" / "uploads").iterdir())
    assert server.http.post(f"{MPU}/complete/0/run/artifacts/models", json=finish).status_code == 404


def test_an_upload_in_parts_that_is_given_up_leaves_nothing(server: Any, tmp_path: Path) -> None:
    begun = server.http.post(f"{MPU}/create", json={"path": "model.bin", "num_parts": 2}).json()
    httpx.put(begun["credentials"][0]["url"], content=b"part")
    asked = {"path": "model.bin", "upload_id": begun["upload_id"]}
    assert server.http.post(f"{MPU}/abort", json=asked).json() == {}
    assert not list((tmp_path / ".bis" / "uploads").iterdir())
    late = httpx.put(begun["credentials"][1]["url"], content=b"part")
    assert late.status_code == 404
    for id in ("..", "%2e%2e", "0" * 32, "x"):
        assert httpx.put(f"{server.url}{MPU}/part/{id}/1", content=b"x").status_code in (404, 405)


def test_the_outputs_of_a_sealed_run_are_its_artifacts_and_do_not_change(
    serving: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "train.py").write_text("import os; os.mkdir('out'); open('out/model.bin', 'w').write('weights')")
    bis(tmp_path, "run", "--", sys.executable, "train.py")
    server = serving()
    import json

    (row,) = json.loads(bis(tmp_path, "log", "--json"))["runs"]
    place = f"0/{row['id']}/artifacts"
    answer = server.http.get("/api/2.0/mlflow/artifacts/list", params={"run_id": row["id"]}).json()
    assert answer["root_uri"] == f"mlflow-artifacts:/{place}"
    assert {"path": "out", "is_dir": True} in answer["files"]
    inner = server.http.get("/api/2.0/mlflow/artifacts/list", params={"run_id": row["id"], "path": "out"}).json()
    assert inner["files"] == [{"path": "out/model.bin", "is_dir": False, "file_size": 7}]
    assert server.http.get(f"{ROOT}/{place}/out/model.bin").content == b"weights"
    assert server.http.get("/get-artifact", params={"run_id": row["id"], "path": "out/model.bin"}).text == "weights"
    for refused in (
        server.http.put(f"{ROOT}/{place}/new", content=b"x"),
        server.http.delete(f"{ROOT}/{place}/out"),
        server.http.post(
            "/ajax-api/2.0/mlflow/upload-artifact", params={"run_uuid": row["id"], "path": "x"}, content=b"x"
        ),
    ):
        assert refused.status_code == 400
        assert "sealed" in refused.json()["message"]


def test_damaged_content_is_never_handed_out_as_if_it_were_whole(serving: Callable[..., Any], tmp_path: Path) -> None:
    server = serving()
    put(server, "0/run/artifacts/a", noise(3_000_000))
    server.stop()
    (pack,) = (tmp_path / ".bis" / "store" / "packs").glob("*.pack")
    middle = pack.stat().st_size // 2
    pack.chmod(0o644)
    with pack.open("r+b") as file:
        file.seek(middle)
        byte = file.read(1)
        file.seek(middle)
        file.write(bytes([byte[0] ^ 1]))
    os.sync()
    again = serving()
    try:
        answer = again.http.get(f"{ROOT}/0/run/artifacts/a")
    except httpx.RemoteProtocolError:
        return
    assert answer.status_code >= 500


def test_what_would_go_of_a_removed_run_that_is_in_a_record_is_what_goes(server: Any, tmp_path: Path) -> None:
    made = server.http.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]
    put(server, f"0/{made['run_id']}/artifacts/model.bin", noise(300_000))
    server.http.post("/api/2.0/mlflow/runs/update", json={"run_id": made["run_id"], "status": "FINISHED"})
    time.sleep(1.1)  # the server relies on nothing any more
    bis(tmp_path, "gc")
    assert list(open_store(tmp_path / ".bis" / "store").list("record"))
    server.http.post("/api/2.0/mlflow/runs/delete", json={"run_id": made["run_id"]})
    would = json.loads(bis(tmp_path, "gc", "--dry-run", "--now", "--json"))["unneeded"]
    assert sum(gone["size"] for gone in would.values()) >= 300_000
    assert json.loads(bis(tmp_path, "gc", "--now", "--json"))["unneeded"].items() >= would.items()


def test_a_removed_run_comes_back_until_gc_then_it_and_its_files_are_gone(server: Any, tmp_path: Path) -> None:
    made = server.http.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]
    run, content = made["run_id"], noise(300_000)
    put(server, f"0/{run}/artifacts/model.bin", content)
    put(server, "0/other/artifacts/x", noise(1000, 2))

    def ask(what: str) -> httpx.Response:
        return server.http.post(f"/api/2.0/mlflow/runs/{what}", json={"run_id": run})  # type: ignore[no-any-return]

    ask("delete")
    assert "nothing" in bis(tmp_path, "gc"), "the time of grace has not passed"
    told = bis(tmp_path, "gc", "--dry-run", "--now")
    assert "would be gone for good: 1 run, with 1 artifact of 293 KiB" in told
    assert ask("restore").status_code == 200
    assert server.http.get(f"{ROOT}/0/{run}/artifacts/model.bin").content == content
    ask("delete")
    assert json.loads(bis(tmp_path, "gc", "--now", "--json"))["removed_by_clients"]["runs"] == 1
    refused = ask("restore")
    assert (refused.status_code, "is gone: it was removed" in refused.json()["message"]) == (404, True)
    with pytest.raises(AssertionError, match="is gone: it was removed"):
        bis(tmp_path, "rm", "--undo", run)
    assert server.http.get(f"{ROOT}/0/{run}/artifacts/model.bin").status_code == 404
    assert server.http.get(f"{ROOT}/0/other/artifacts/x").content == noise(1000, 2)
    time.sleep(1.1)  # the server relies on nothing any more
    bis(tmp_path, "gc", "--now")
    with pytest.raises(NotFound):
        open_store(tmp_path / ".bis" / "store").size(digest_bytes(content))

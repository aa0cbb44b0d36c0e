"""What nobody should ask: bodies that are broken, that lie, or that grow. Each is refused with what is wrong, none
costs a worker, and whoever asks beside them is answered as if they were not there."""

import io
import json
import random
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = ["age", "income", "visits"]
MARK = "s3cr3t"
ROW = [[1.0, 2.0, 3.0]]
JSON = {"content-type": "application/json"}
CSV = {"content-type": "text/csv"}
PARQUET = {"content-type": "application/vnd.apache.parquet"}
V2 = "/v2/models/logistic/infer"
V1 = "/v1/models/logistic:predict"


class Poison(NamedTuple):
    """One request, and what may be answered to it."""

    name: str
    body: bytes
    path: str = "/invocations"
    headers: dict[str, str] = JSON
    statuses: tuple[int, ...] = (400,)


def split(data: Any, columns: Any = NAMES) -> bytes:
    return json.dumps({"dataframe_split": {"columns": columns, "data": data}}).encode()


def tensor(**more: Any) -> bytes:
    return json.dumps(
        {"inputs": [{"name": MARK, "shape": [1, 3], "datatype": "FP64", "data": ROW[0], **more}]}
    ).encode()


def parquet(table: dict[str, Any], times: int = 1) -> bytes:
    """A table, so many times over."""
    file, one = io.BytesIO(), pyarrow.table(table)
    with pyarrow.parquet.ParquetWriter(file, one.schema) as writer:
        for _ in range(times):
            writer.write_table(one)
    return file.getvalue()


def poisons() -> Iterator[Poison]:
    one_text = pyarrow.DictionaryArray.from_arrays(numpy.zeros(1_000_000, "int32"), [MARK * 100_000])
    texts = [[MARK * 200_000, 1, 1], *([["x", 1, 1]] * 50_000)]
    yield Poison("nothing", b"")
    yield Poison("no object", b"[1, 2]")
    yield Poison("no UTF-8", b"\xff\xfe\x00{")
    yield Poison("cut off", split(ROW)[:-3])
    yield Poison("ends with rubbish", split(ROW) + b"}")
    yield Poison("deep lists", b"[" * 200_000)
    yield Poison("deep lists in a table", b'{"inputs": ' + b"[" * 900 + b"1" + b"]" * 900 + b"}")
    yield Poison("deep objects", b'{"a":' * 100_000)
    yield Poison("a number of a million digits", b'{"inputs": [[' + b"9" * 1_000_000 + b"]]}")
    yield Poison("a number without end", b'{"dataframe_split": {"columns": ["age"], "data": [[1e999]]}}')
    yield Poison("no number", b'{"dataframe_split": {"columns": ["age","income","visits"], "data": [[NaN, 1, 1]]}}')
    yield Poison("whole numbers beyond any type", split([[10**400, 1, 1]]))
    yield Poison("text among numbers", split([[MARK, 1, 1]]))
    yield Poison("a long text among short ones", split(texts))
    yield Poison("the same as a list", json.dumps({"inputs": texts}).encode())
    yield Poison("the same in a tensor", tensor(shape=[50_001, 3], data=texts), V2)
    yield Poison("objects for numbers", split([[{MARK: 1}, 1, 1]]))
    yield Poison("rows of several lengths", split([[1, 2, 3], [1]]))
    yield Poison("rows that are none", split(MARK))
    yield Poison("columns twice", split([[1, 2, 3]], ["age", "age", "age"]))
    yield Poison("other columns", split([[1, 2, 3]], [MARK, "b", "c"]))
    yield Poison("half of a pair of letters as a name", split([[1, 2, 3]], ["\ud800", "b", "c"]))
    yield Poison("a hundred thousand columns", split([[0] * 100_000], list(map(str, range(100_000)))))
    yield Poison("two forms", json.dumps({"inputs": ROW, "instances": ROW}).encode())
    yield Poison("a param that is none", json.dumps({"inputs": ROW, "params": {MARK: 1}}).encode())
    yield Poison("a shape beyond all", tensor(shape=[10**18, 10**18]), V2)
    yield Poison("a shape below nothing", tensor(shape=[-1, -3]), V2)
    yield Poison("no shape", tensor(shape=None), V2)
    yield Poison("a type that is none", tensor(datatype=MARK), V2)
    yield Poison("half of a pair of letters as an id", tensor()[:-1] + b', "id": "\\ud800"}', V2, JSON, (200, 400))
    size = tensor(parameters={"binary_data_size": 10**12})
    yield Poison("bytes that are not there", size, V2, {**JSON, "inference-header-content-length": str(len(size))})
    yield Poison("a head that is larger", b"{}", V2, {**JSON, "inference-header-content-length": "99999999999"})
    yield Poison(
        "a head of a length that is none", tensor(), V2, {**JSON, "inference-header-content-length": "x"}, (200,)
    )
    text = struct.pack("<I", 2**31) + MARK.encode()
    named = tensor(datatype="BYTES", parameters={"binary_data_size": len(text)})
    length = {**JSON, "inference-header-content-length": str(len(named))}
    yield Poison("a text that is longer than it is", named + text, V2, length)
    yield Poison("instances that are none", json.dumps({"instances": {MARK: {}}}).encode(), V1)
    yield Poison("no table", b"\x00" * 1000, "/invocations", CSV)
    yield Poison("a quote without end", b'age,income,visits\n"' + MARK.encode() * 100_000, "/invocations", CSV)
    yield Poison("a line that is too long", b"age,income,visits\n1,2,3" + b",4" * 100_000, "/invocations", CSV)
    yield Poison("text in a table", f"age,income,visits\n{MARK},2,3\n".encode(), "/invocations", CSV)
    yield Poison("no file", b"PAR1" + MARK.encode(), "/invocations", PARQUET)
    whole = parquet({name: numpy.ones(1000) for name in NAMES})
    yield Poison("a damaged file", whole[:200] + b"\xff" * 50 + whole[250:], "/invocations", PARQUET, (200, 400))
    yield Poison("a small file of much", parquet({"age": numpy.zeros(1 << 26)}), "/invocations", PARQUET, (413,))
    yield Poison("a text a million times", parquet(dict.fromkeys(NAMES, one_text)), "/invocations", PARQUET)
    for kind, value in (
        (pyarrow.list_(pyarrow.string()), ["x" * 1_000_000]),
        (pyarrow.binary(1_000_000), b"x" * 1_000_000),
    ):
        many = parquet({"age": pyarrow.array([value] * 500, kind)}, 8)
        yield Poison(f"a {kind} many times", many, "/invocations", PARQUET, (413,))
    packed = zlib.compress(b"[" * 60_000_000)
    yield Poison("packed brackets", packed, "/invocations", {**JSON, "content-encoding": "deflate"})
    yield Poison("a type that is none", split(ROW), "/invocations", {"content-type": MARK * 1000}, (415,))
    yield Poison(
        "letters that are none", split(ROW), "/invocations", {"content-type": "application/json; charset=x"}, (415,)
    )


@pytest.fixture
def model(served: Callable[..., Any], saved: Path, models_python: Path) -> Any:
    return served("logistic", "--python", str(models_python), folder=saved, python=False)


def peak(worker: int) -> int:
    """MiB that a process had in memory, at most."""
    lines = Path(f"/proc/{worker}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10


def test_poison_is_refused_in_words_and_costs_no_worker(model: Any, of: Callable[..., Any]) -> None:
    (worker,) = model.workers()
    right = of(model.ask(*ROW))
    wrong: list[Any] = []
    done = threading.Event()

    def ask_beside() -> None:
        while not done.is_set():
            answer = model.ask(*ROW)
            if answer.status_code != 200 or of(answer) != right:
                wrong.append(answer)

    beside = [threading.Thread(target=ask_beside) for _ in range(3)]
    for one in beside:
        one.start()
    try:
        for poison in poisons():
            answer = model.http.post(poison.path, content=poison.body, headers=poison.headers)
            assert answer.status_code in poison.statuses, (poison.name, answer.status_code, answer.text[:300])
            if answer.status_code != 415:  # which names the type that came
                assert MARK not in answer.text or f"tensor '{MARK}'" in answer.text, poison.name
            assert len(answer.content) < 5000, poison.name
            assert model.workers() == [worker], poison.name
    finally:
        done.set()
        for one in beside:
            one.join()
    assert not wrong
    assert MARK not in model.told
    assert "Traceback" not in model.told
    assert peak(worker) < 1500


GOOD = [
    (split(ROW), "/invocations", JSON),
    (json.dumps({"dataframe_records": [{"age": 1, "income": 2.5, "visits": 3}]}).encode(), "/invocations", JSON),
    (b"age,income,visits\n1,2,3\n4,5,6\n", "/invocations", CSV),
    (parquet({name: [1.0, 2.0] for name in NAMES}), "/invocations", PARQUET),
    (tensor(), V2, JSON),
    (json.dumps({"instances": ROW}).encode(), V1, JSON),
]


def test_whatever_comes_is_answered_or_refused(model: Any) -> None:
    (worker,) = model.workers()

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(place=st.integers(0, len(GOOD) - 1), seed=st.integers(0, 2**32))
    def ask(place: int, seed: int) -> None:
        body, path, headers = GOOD[place]
        answer = model.http.post(path, content=bent(body, random.Random(seed)), headers=headers)
        assert answer.status_code in (200, 400, 413), answer.text[:300]
        assert model.workers() == [worker]

    ask()
    assert "Traceback" not in model.told


def bent(body: bytes, chance: random.Random) -> bytes:
    """A body in which some bytes are others, are missing, or come twice."""
    for _ in range(chance.randint(1, 4)):
        place, size = chance.randrange(len(body) + 1), chance.randint(1, 8)
        part = chance.choice([b"", chance.randbytes(size), body[place : place + size] * 2, b"\x00", b"[", b'"', b"1e9"])
        body = body[:place] + part + body[place + size :]
    return body


def test_who_leaves_before_the_answer_disturbs_nobody(model: Any, of: Callable[..., Any]) -> None:
    place = urlsplit(model.url)
    body = split(ROW * 2000)
    lines = ["POST /invocations HTTP/1.1", "host: localhost", "content-type: application/json"]
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""])
    for end in (len(body), len(body) // 2, 1) * 20:
        one = socket.create_connection((place.hostname, place.port))
        one.sendall(head.encode() + body[:end])
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
    (right,) = set(of(model.ask(*ROW)))
    assert of(model.ask(*ROW)) == [right]
    assert "Traceback" not in model.told


@pytest.mark.slow
def test_heads_that_come_slowly_are_not_waited_for(model: Any, of: Callable[..., Any]) -> None:
    place = urlsplit(model.url)
    slow = [socket.create_connection((place.hostname, place.port)) for _ in range(200)]
    for one in slow:
        one.sendall(b"POST /invocations HTTP/1.1\r\n")
    ended: set[socket.socket] = set()
    begun = time.monotonic()
    while len(ended) < len(slow):
        assert time.monotonic() - begun < 60, "heads without end are waited for"
        for number, one in enumerate(slow):
            if one in ended:
                continue
            try:
                one.sendall(f"x-{number}: y\r\n".encode())
                one.settimeout(0.001)
                if one.recv(100)[:12] in (b"HTTP/1.1 408", b""):
                    ended.add(one)
            except TimeoutError:
                pass
            except OSError:
                ended.add(one)
        took = time.monotonic()
        assert len(of(model.ask(*ROW))) == 1
        assert time.monotonic() - took < 5
        time.sleep(1)
    for one in slow:
        one.close()

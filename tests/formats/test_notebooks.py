"""Notebooks: sources and outputs."""

import base64
import copy
import json
import struct
import zlib


def png(value: int, level: int) -> str:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 40, 8, 0, 0, 0, 0))
    data = zlib.compress((b"\0" + bytes([value]) * 40) * 40, level)
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")).decode()


def code(source: str, outputs: list, **more) -> dict:
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": outputs, "execution_count": 1, **more}


def stream(text: str, name: str = "stdout") -> dict:
    return {"output_type": "stream", "name": name, "text": text}


BOOK = {
    "cells": [
        {"cell_type": "markdown", "source": ["# A title\n", "text"], "metadata": {}, "id": "aa11"},
        code("train()", [stream("loss 0.5\n"), stream("took 1.2s\n"), stream("warn\n", "stderr")], id="bb22"),
        code(
            "plot()",
            [
                {
                    "output_type": "display_data",
                    "data": {"image/png": png(7, 1), "text/plain": "<Figure 640x480>"},
                    "metadata": {},
                },
                {
                    "output_type": "execute_result",
                    "execution_count": 3,
                    "data": {"text/plain": ["<Model at 0x7f3a5c0d1e50>"], "text/html": "<p>acc 0.91</p>"},
                    "metadata": {},
                },
            ],
            id="cc33",
        ),
    ],
    "metadata": {"kernelspec": {"name": "python3"}, "language_info": {"version": "3.11.7"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def again() -> dict:
    book = copy.deepcopy(BOOK)
    train, plot = book["cells"][1], book["cells"][2]
    book["cells"][0]["source"] = "# A title\ntext"
    train["outputs"] = [stream("loss 0.5\ntook 0.8s\n"), stream("warn\n", "stderr")]
    train["metadata"] = {"execution": {"iopub.execute_input": "2026-11-23T15:00:01Z"}}
    plot["outputs"][0]["data"]["image/png"] = png(7, 9)
    plot["outputs"][1]["data"]["text/plain"] = "<Model at 0x55d0c8a01230>"
    for number, cell in enumerate(book["cells"]):
        cell["id"] = f"zz{number}"
        cell["execution_count"] = number + 10
    book["metadata"]["papermill"] = {"duration": 2.5}
    book["metadata"]["widgets"] = {"state": {}}
    return book


def test_ids_counts_times_and_packing_are_set_aside(judge) -> None:
    found = judge("n.ipynb", json.dumps(BOOK), json.dumps(again(), indent=1))
    assert (found.same, found.level, found.format) == (True, "meaning", "notebook"), found.detail
    rules = {mask.rule for mask in found.masked}
    assert rules >= {"cell id", "execution count", "duration", "address", "time", "notebook metadata", "widget ids"}


def judged(judge, change) -> str:
    book = again()
    change(book)
    found = judge("n.ipynb", json.dumps(BOOK), json.dumps(book))
    assert found.same is False
    return found.why


def test_a_source_a_printed_digit_a_pixel_and_a_word_count(judge) -> None:
    cells = "cells"
    told = judged(judge, lambda b: b[cells][1].update(source="trane()"))
    assert "cell 2 source: line 1: 'train()' -> 'trane()'" in told
    why = judged(
        judge, lambda b: b[cells][1].update(outputs=[stream("loss 0.6\ntook 0.8s\n"), stream("warn\n", "stderr")])
    )
    assert why == "cell 2 output 1 <stdout>: line 1: 'loss 0.5' -> 'loss 0.6'"
    why = judged(judge, lambda b: b[cells][2]["outputs"][0]["data"].update({"image/png": png(8, 9)}))
    assert "cell 3 output 1 image/png" in why
    assert "1,600 pixels" in why
    why = judged(judge, lambda b: b[cells][2]["outputs"][1]["data"].update({"text/html": "<p>acc 0.92</p>"}))
    assert "acc 0.92" in why
    assert "cell 3 output 2: only in the first" in judged(judge, lambda b: b[cells][2]["outputs"].pop())
    why = judged(judge, lambda b: b[cells][2]["outputs"][0].update(output_type="execute_result"))
    assert "display_data" in why
    assert "extra" in judged(judge, lambda b: b[cells][1].update(extra=1))
    assert "rest" in judged(judge, lambda b: b[cells][1]["outputs"][0].update(extra=1))
    assert "<None>" in judged(judge, lambda b: b[cells][1]["outputs"][0].pop("name"))
    assert "extra" in judged(judge, lambda b: b[cells][2]["outputs"][0].update(extra=1))
    assert "3 cells -> 2 cells" in judged(judge, lambda b: b[cells].pop())
    assert "language_info" in judged(judge, lambda b: b["metadata"]["language_info"].update(version="3.12.1"))


def test_an_error_counts_by_what_it_says(judge) -> None:
    def failed(text: str, pid: int) -> str:
        trace = [f"File /tmp/ipykernel_{pid}/1.py, line 1", text]
        error = {"output_type": "error", "ename": "ValueError", "evalue": text, "traceback": trace}
        return json.dumps({"cells": [code("x", [error])], "metadata": {}, "nbformat": 4})

    assert judge("n.ipynb", failed("bad", 123), failed("bad", 4567)).same is True
    assert judge("n.ipynb", failed("bad", 123), failed("worse", 123)).same is False


def test_something_else_of_that_name_is_compared_as_text(judge) -> None:
    assert judge("n.ipynb", '{"cells": 3}', '{"cells": 4}').same is False
    assert judge("n.ipynb", "not json", "not jsn").same is False


def shows(mime: str, data: object, source: str = "show()") -> str:
    output = {"output_type": "display_data", "metadata": {}, "data": {mime: data}}
    return json.dumps({"cells": [code(source, [output])], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def test_what_a_cell_shows_as_data_is_data_whatever_its_keys(judge) -> None:
    for key in ("id", "outputId", "signature"):
        one, other = (shows("application/json", {key: number}) for number in (1, 2))
        assert judge("n.ipynb", one, other).same is False


def test_a_date_in_the_source_of_a_cell_is_code(judge) -> None:
    one, other = (
        shows("text/plain", "x", f"start = '{day} {hour}:00:07'")
        for day, hour in (("2026-11-22", 12), ("2026-11-23", 15))
    )
    assert judge("n.ipynb", one, other).same is False
    one, other = (
        shows("text/plain", "x", f"read('{folder}/a.csv')") for folder in ("/home/ana/churn", "/tmp/again/churn")
    )
    assert judge("n.ipynb", one, other).same is True


def test_pictures_and_sounds_of_any_kind_are_compared_by_their_bytes(judge) -> None:
    """In base64, what looks like a duration is none."""
    for mime in ("image/webp", "audio/wav"):
        assert judge("n.ipynb", shows(mime, "AAAA+3s+BBBB"), shows(mime, "AAAA+4s+BBBB")).same is False

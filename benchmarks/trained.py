"""Two checkpoints of a small real training, in the formats in which weights are kept: 1/ and 2/ of a folder.

    .venv-training/bin/python benchmarks/trained.py FOLDER [WIDTH]

A network with two hidden layers of WIDTH units learns the digits of scikit-learn with Adam; the checkpoints are one
epoch apart, at the end.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # so that it is the same training everywhere, and quick on a busy machine
import numpy as np
from sklearn.datasets import load_digits

EPOCHS = 6


def main(folder: Path, width: int = 512) -> None:
    digits = load_digits()
    images, wanted = (digits.data / 16).astype("f4"), np.eye(10, dtype="f4")[digits.target]
    chance = np.random.default_rng(1)
    sizes = [(64, width), (width, width), (width, 10)]
    weights = [(chance.normal(0, (2 / size[0]) ** 0.5, size)).astype("f4") for size in sizes]
    first, second = [0 * one for one in weights], [0 * one for one in weights]
    step = 0
    for epoch in range(1, EPOCHS + 1):
        rate = 1e-3 * (1 - (epoch - 1) / EPOCHS)
        for batch in np.array_split(chance.permutation(len(images)), 30):
            step += 1
            for number, slope in enumerate(slopes(weights, images[batch], wanted[batch])):
                first[number] += 0.1 * (slope - first[number])
                second[number] += 0.001 * (slope * slope - second[number])
                scaled = first[number] / (1 - 0.9**step), second[number] / (1 - 0.999**step)
                weights[number] -= (rate * scaled[0] / (np.sqrt(scaled[1]) + 1e-8)).astype("f4")
        if epoch >= EPOCHS - 1:
            save(weights, epoch, folder / str(epoch - EPOCHS + 2))


def slopes(weights: list[np.ndarray], images: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
    """What the loss of a batch changes by with each weight."""
    inner = np.maximum(images @ weights[0], 0)
    outer = np.maximum(inner @ weights[1], 0)
    told = np.exp((scores := outer @ weights[2]) - scores.max(1, keepdims=True))
    wrong = (told / told.sum(1, keepdims=True) - wanted) / len(images)
    back = (wrong @ weights[2].T) * (outer > 0)
    before = (back @ weights[1].T) * (inner > 0)
    return [images.T @ before, inner.T @ back, outer.T @ wrong]


def save(weights: list[np.ndarray], epoch: int, folder: Path) -> None:
    folder.mkdir(parents=True)
    named = {f"layer{number}.weight": one for number, one in enumerate(weights)}
    half = {name: (one.view("u4") >> 16).astype("u2") for name, one in named.items()}
    (folder / "f32.safetensors").write_bytes(safetensors(named, "F32"))
    (folder / "bf16.safetensors").write_bytes(safetensors(half, "BF16"))
    np.save(folder / "f64.npy", weights[1].astype("f8"))
    np.savez(folder / "f16.npz", **{name: one.astype("f2") for name, one in named.items()})
    (folder / "f32.pkl").write_bytes(pickle.dumps({"epoch": epoch, **named}, protocol=4))
    torch_like(named, epoch, folder / "f32.pt")


def safetensors(named: dict[str, np.ndarray], kind: str) -> bytes:
    listed, end = {}, 0
    for name, one in named.items():
        listed[name] = {"dtype": kind, "shape": one.shape, "data_offsets": [end, end := end + one.nbytes]}
    head = json.dumps({"__metadata__": {"format": "np"}, **listed}).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + b"".join(one.tobytes() for one in named.values())


def torch_like(named: dict[str, np.ndarray], epoch: int, path: Path) -> None:
    """A zip of stored members, as `torch.save` writes it."""
    with zipfile.ZipFile(path, "w") as file:
        about = {"epoch": epoch, **{name: one.shape for name, one in named.items()}}
        file.writestr("model/data.pkl", pickle.dumps(about, protocol=2))
        for number, one in enumerate(named.values()):
            file.writestr(zipfile.ZipInfo(f"model/data/{number}"), one.tobytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))

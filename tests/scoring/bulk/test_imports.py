"""What the program that scores imports, which takes longer than to score what most files hold."""

import re
import subprocess
from pathlib import Path


def test_the_program_imports_what_its_model_needs(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("age,income\n1.5,2.5\n")
    asked = [words[0], "-v", *words[1:], "--input", "x.csv", "--output", "y.csv", "--format", "csv", "--work", "w"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=True)
    imported = set(re.findall(r"^import '([\w.]+)'", done.stderr, re.M))
    kinds = {"xgboost", "lightgbm", "sklearn", "onnx", "keras", "tensorflow", "torch", "function"}
    assert {kind for kind in kinds if f"_bis.flavors.{kind}" in imported} == {"sklearn"}
    assert "_bis.scoring.bulk.clusters" not in imported
    assert not {"pandas.core", "scipy.stats", "scipy._lib._docscrape"} & imported

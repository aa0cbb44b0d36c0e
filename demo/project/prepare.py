"""Write data/cells.csv: 569 measured cell nuclei, benign or malignant (the Wisconsin set that scikit-learn ships)."""

from pathlib import Path

from sklearn.datasets import load_breast_cancer

cells = load_breast_cancer(as_frame=True).frame
cells.columns = [name.replace(" ", "_") for name in cells.columns]
Path("data").mkdir(exist_ok=True)
cells.to_csv("data/cells.csv", index=False)
print(f"data/cells.csv: {len(cells)} rows, {len(cells.columns)} columns")

"""Train a classifier of cell nuclei. An ordinary training script: it knows nothing of bis."""

import argparse
import json

import joblib
import pandas as pd
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--depth", type=int, default=2)
parser.add_argument("--learning-rate", type=float, default=0.1)
parser.add_argument("--rounds", type=int, default=100)
options = parser.parse_args()

cells = pd.read_csv("data/cells.csv")
features, target = cells.drop(columns="target"), cells["target"]
train_x, test_x, train_y, test_y = train_test_split(features, target, test_size=0.25, random_state=0)

# Nobody thought of a seed here: each training draws other rows and other columns.
model = GradientBoostingClassifier(
    max_depth=options.depth,
    learning_rate=options.learning_rate,
    n_estimators=options.rounds,
    subsample=0.5,
    max_features="sqrt",
)
model.fit(train_x, train_y)

for number, probability in enumerate(model.staged_predict_proba(test_x), start=1):
    if number % (options.rounds // 5) == 0:
        print(f"round {number:3d}  test loss {log_loss(test_y, probability):.5f}", flush=True)

probability = model.predict_proba(test_x)[:, 1]
metrics = {
    "accuracy": accuracy_score(test_y, probability > 0.5),
    "loss": log_loss(test_y, probability),
}
with open("metrics.json", "w") as file:
    json.dump(metrics, file, indent=2)
pd.DataFrame({"target": test_y, "probability": probability}).to_csv("predictions.csv", index_label="row")
joblib.dump(model, "model.joblib")
print(f"accuracy {metrics['accuracy']:.4f}, loss {metrics['loss']:.5f}")

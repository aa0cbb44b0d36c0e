"""The server: one application, three faces over one ledger. MLflow's spelling lives in `mlflow/` and stops there."""

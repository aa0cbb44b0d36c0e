"""MLflow's REST API, as its clients in every language speak it. Names are translated here, and nothing else is done."""

"""Errors in MLflow's words: its clients look at the code, and some of them at the sentence."""

from __future__ import annotations

from typing import Final

from bis.errors import AlreadyThere, BisError, NotFound, UsageError
from bis.ledger.refusals import BadToken, NoSuch, ParamChanged, Removed
from bis.server.mlflow.endpoint import Refused

_NO_SUCH: Final = {"alias": "INVALID_PARAMETER_VALUE"}
"""Codes other than the one that stands for itself."""


def told(error: Exception) -> Refused | None:
    """An error in MLflow's words; None for one that nobody expected."""
    match error:
        case Refused():
            return error
        case NoSuch():
            return Refused(_NO_SUCH.get(error.kind, "RESOURCE_DOES_NOT_EXIST"), _no_such(error))
        case Removed():
            return Refused(
                "INVALID_PARAMETER_VALUE",
                f"The {error.kind} {error.named} must be in the 'active' state. Current state is deleted.",
            )
        case ParamChanged():
            return Refused("INVALID_PARAMETER_VALUE", _changed(error))
        case BadToken():
            return Refused("INVALID_PARAMETER_VALUE", f"Invalid page token: {error.why}")
        case AlreadyThere():
            return Refused("RESOURCE_ALREADY_EXISTS", error.what)
        case UsageError():
            return Refused("INVALID_PARAMETER_VALUE", str(error))
        case NotFound():
            return Refused("RESOURCE_DOES_NOT_EXIST", error.what)
        case BisError():
            return Refused("TEMPORARILY_UNAVAILABLE", str(error))
    return None


def _no_such(error: NoSuch) -> str:
    match error.kind:
        case "experiment":
            return f"No Experiment with id={error.named} exists"
        case "run":
            return f"Run with id={error.named} not found"
        case "logged model":
            return f"Logged model with ID '{error.named}' not found."
        case "tag" if error.of.startswith("logged model"):
            return f"No tag with key '{error.named}' found for {error.of}."
        case "tag":
            return f"No tag with name: {error.named} in {error.of}"
        case "registered model":
            return f"Registered Model with name={error.named} not found"
        case "model version":
            return f"Model Version (name={error.of}, version={error.named}) not found"
        case "webhook":
            return f"Webhook with ID {error.named} not found."
        case "alias":
            return f"Registered model alias {error.named} not found."
    return error.what


def _changed(error: ParamChanged) -> str:
    told = ", ".join(
        f"Param with key='{key}' was already logged with value='{before}' for run ID='{error.run}'."
        f" Attempted logging new value '{after}'"
        for key, before, after in error.changes
    )
    return f"Changing param values is not allowed. {told}."

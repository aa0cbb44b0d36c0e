"""Errors in MLflow's words: its clients look at the code, and some of them at the sentence."""

from __future__ import annotations

from typing import Final

from bis.errors import AlreadyThere, BisError, NotFound, UsageError
from bis.ledger.filter import Problem, Unfit
from bis.ledger.refusals import BadToken, Collected, NoSuch, ParamChanged, Removed
from bis.server.mlflow.endpoint import Refused
from bis.steps.promotion import Refusal

_NO_SUCH: Final = {"alias": "INVALID_PARAMETER_VALUE"}
"""Codes other than the one that stands for itself."""


def told(error: Exception) -> Refused | None:
    """An error in MLflow's words; None for one that nobody expected."""
    match error:
        case Refused():
            return error
        case Collected():
            return Refused("RESOURCE_DOES_NOT_EXIST", error.what)
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
        case Unfit():
            return Refused("INVALID_PARAMETER_VALUE", _unfit(error))
        case Refusal():
            return Refused("PERMISSION_DENIED", f"{error.what}. {error.because}")
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
        case "tag" if error.of.startswith("model with"):
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


def _unfit(error: Unfit) -> str:
    """What MLflow says of a filter, and then what bis says of it, which helps more."""
    said: dict[Problem, str] = {
        "clause": f"Invalid clause(s) in filter string: '{error.found}'",
        "entity": f"Invalid entity type '{error.found}'",
        "attribute": f"Invalid attribute key '{error.found}' specified",
        "operator": f"Invalid comparison operator for {error.entity}: Invalid comparator '{error.found}'",
        "null": f"IS NULL / IS NOT NULL is only supported for tags and params, not for '{error.entity}'",
        "value": f"Expected a number, or a quoted string value. Found {error.found}",
        "order": f"Invalid order_by clause '{error.text}'",
    }
    whole = "" if error.problem == "order" else f" Invalid filter string: {error.text!r}."
    return f"{said[error.problem]}.{whole} {error}"


def _changed(error: ParamChanged) -> str:
    told = ", ".join(
        f"Param with key='{key}' was already logged with value='{before}' for run ID='{error.run}'."
        f" Attempted logging new value '{after}'"
        for key, before, after in error.changes
    )
    return f"Changing param values is not allowed. {told}."

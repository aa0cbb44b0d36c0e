"""The description of the API, made from the structs of its calls."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from bis import __version__
from bis.server.native.call import ROOT, Call, Failed

TEMPLATE = "#/components/schemas/{name}"


def described(calls: Sequence[Call]) -> dict[str, Any]:
    structs: list[type[msgspec.Struct]] = [*(call.asked for call in calls), *(call.answered for call in calls), Failed]
    schemas, components = msgspec.json.schema_components(structs, ref_template=TEMPLATE)
    answers = dict(zip((struct.__name__ for struct in structs), schemas, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bis",
            "version": __version__,
            "description": "Runs, metrics, models and data of a bis server. All calls look, and change nothing.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": ROOT}],
        "security": [{}, {"token": []}, {"password": []}],
        "paths": {re.sub(r":\w+}", "}", call.path): {"get": _call(call, components, answers)} for call in calls},
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic", "description": "The token is the password."},
            },
        },
    }


def _call(call: Call, components: dict[str, Any], answers: dict[str, Any]) -> dict[str, Any]:
    refused = {"content": {"application/json": {"schema": answers["Failed"]}}}
    told = {"content": {"application/json": {"schema": answers[call.answered.__name__]}}}
    return {
        "operationId": call.answer.__name__,
        "summary": call.says,
        "parameters": list(_parameters(call, components)),
        "responses": {
            "200": {"description": inspect.getdoc(call.answered) or call.says, **told},
            "400": {"description": "It makes no sense as it was asked.", **refused},
            "401": {"description": "A token is needed."},
            "403": {"description": "The token does not allow it, or a page of another server asks."},
            "404": {"description": "It is not there.", **refused},
            "503": {"description": "Ask again later.", **refused},
        },
    }


def _parameters(call: Call, components: dict[str, Any]) -> Any:
    in_path = set(re.findall(r"{(\w+)", call.path))
    shape = components[call.asked.__name__]
    for field in msgspec.structs.fields(call.asked):
        schema = dict(shape["properties"][field.encode_name])
        text = schema.pop("description", "")
        placed = field.name in in_path
        yield {
            "name": field.encode_name,
            "in": "path" if placed else "query",
            "required": placed or field.required,
            "schema": {**schema, "minLength": 1} if placed and schema.get("type") == "string" else schema,
            **({"description": text} if text else {}),
        }

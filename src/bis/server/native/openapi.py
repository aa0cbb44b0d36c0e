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
            "description": "Runs, metrics, models and data of a bis server. GET looks, and changes nothing.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": ROOT}],
        "security": [{}, {"token": []}, {"password": []}],
        "paths": _paths(calls, components, answers),
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "password": {"type": "http", "scheme": "basic", "description": "The token is the password."},
            },
        },
    }


def _paths(calls: Sequence[Call], components: dict[str, Any], answers: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for call in calls:
        path = re.sub(r":\w+}", "}", call.path)
        found.setdefault(path, {})[call.method.lower()] = _call(call, components, answers)
    return found


def _call(call: Call, components: dict[str, Any], answers: dict[str, Any]) -> dict[str, Any]:
    refused = {"content": {"application/json": {"schema": answers["Failed"]}}}
    told = {"content": {"application/json": {"schema": answers[call.answered.__name__]}}}
    return {
        "operationId": call.answer.__name__,
        "summary": call.says,
        "parameters": list(_parameters(call, components)),
        **({"requestBody": _body(call, components)} if call.has_body else {}),
        "responses": {
            "200": {"description": inspect.getdoc(call.answered) or call.says, **told},
            "400": {"description": "It makes no sense as it was asked.", **refused},
            "401": {"description": "A token is needed."},
            "403": {"description": "The token does not allow it, or a page of another server asks."},
            "404": {"description": "It is not there.", **refused},
            **({"409": {"description": "The name is taken.", **refused}} if call.has_body else {}),
            "503": {"description": "Ask again later.", **refused},
        },
    }


def _body(call: Call, components: dict[str, Any]) -> dict[str, Any]:
    shape = components[call.asked.__name__]
    inner = {name: schema for name, schema in shape["properties"].items() if name not in call.in_path}
    required = [name for name in shape.get("required", ()) if name in inner]
    schema = {"type": "object", "properties": inner, "required": required, "additionalProperties": False}
    return {"required": bool(required), "content": {"application/json": {"schema": schema}}}


def _parameters(call: Call, components: dict[str, Any]) -> Any:
    in_path = call.in_path
    shape = components[call.asked.__name__]
    for field in msgspec.structs.fields(call.asked):
        schema = dict(shape["properties"][field.encode_name])
        text = schema.pop("description", "")
        placed = field.name in in_path
        if call.has_body and not placed:
            continue
        yield {
            "name": field.encode_name,
            "in": "path" if placed else "query",
            "required": placed or field.required,
            "schema": {**schema, "minLength": 1} if placed and schema.get("type") == "string" else schema,
            **({"description": text} if text else {}),
        }

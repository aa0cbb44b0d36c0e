"""What is told of served models: the metadata of the Open Inference Protocol, OpenAPI, and a page with a form on which
a model can be tried with its own example."""

from __future__ import annotations

import html as escaping
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bis import __version__
from bis.flavors.signature import Column, Signature, Tensor, read
from bis.serving.slot import Slot
from bis.serving.team import Team

WIDE: Final = 80
"""Columns of the text of an example."""
OUTPUT: Final = "predictions"
"""The name of an output that has none, as `scoring.oip` gives it."""
PARQUET: Final = "application/vnd.apache.parquet"
COLUMN_TYPES: Final = {"boolean": "BOOL", "integer": "INT32", "long": "INT64", "float": "FP32", "double": "FP64"}
TENSOR_TYPES: Final = {
    "bool": "BOOL",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    **{f"int{bits}": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"UINT{bits}" for bits in (8, 16, 32, 64)},
}
JSON_TYPES: Final = {
    "boolean": "boolean",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
}


def told_of(slot: Slot) -> dict[str, Any]:
    """One model, its version, and how it is."""
    found: dict[str, Any] = {"name": slot.name, "ready": slot.able}
    if slot.team is not None:
        found.update(_version(slot.team))
    if slot.canary is not None:
        found["canary"] = {**_version(slot.canary), "share": slot.share}
    if slot.shadow is not None:
        found["shadow"] = _version(slot.shadow)
    if slot.trouble:
        found["trouble"] = slot.trouble
    return found


def _version(team: Team) -> dict[str, Any]:
    one = team.version
    return {"version": one.number, "run": one.run, "identity": one.identity, "workers": team.size}


def metadata(slot: Slot) -> dict[str, Any]:
    """What `GET /v2/models/M` answers."""
    signature = signature_of(slot)
    flavors = list(slot.described.get("flavors") or {})
    number = slot.team.version.number if slot.team else ""
    return {
        "name": slot.name,
        "versions": [number] if number else [],
        "platform": next((name for name in flavors if name != "python_function"), "python_function"),
        "inputs": _tensors(signature.inputs, "input"),
        "outputs": _tensors(signature.outputs, OUTPUT),
    }


def signature_of(slot: Slot) -> Signature:
    return read(slot.described.get("signature"))


def _tensors(fields: Sequence[Column | Tensor], called: str) -> list[dict[str, Any]]:
    several = len(fields) > 1
    return [_tensor(one, f"{called}-{place}" if several else called) for place, one in enumerate(fields)]


def _tensor(field: Column | Tensor, name: str) -> dict[str, Any]:
    if isinstance(field, Tensor):
        kind = TENSOR_TYPES.get(field.dtype, "BYTES")
        return {"name": field.name or name, "datatype": kind, "shape": list(field.shape)}
    kind = COLUMN_TYPES.get(field.type, "BYTES") if isinstance(field.type, str) else "BYTES"
    return {"name": field.name or name, "datatype": kind, "shape": [-1]}


# -- OpenAPI -----------------------------------------------------------------------------------------------------


def openapi(slots: Mapping[str, Slot]) -> dict[str, Any]:
    """What there is to ask, with what each model takes and an example of it."""
    paths: dict[str, Any] = {}
    for slot in slots.values():
        if len(slots) == 1:
            paths["/invocations"] = {"post": _invocations(slot)}
        paths[f"/models/{slot.name}/invocations"] = {"post": _invocations(slot)}
        paths[f"/v1/models/{slot.name}:predict"] = {"post": _other(f"Predict with {slot.name}, as TensorFlow Serving")}
        about = f"Predict with {slot.name}, by the Open Inference Protocol"
        paths[f"/v2/models/{slot.name}/infer"] = {"post": _other(about)}
        paths[f"/v2/models/{slot.name}"] = {"get": _looked(f"What {slot.name} takes and gives")}
    for path, what in (("/ping", "Whether all models can be asked"), ("/metrics", "Counters for Prometheus")):
        paths[path] = {"get": _looked(what)}
    title = ", ".join(slots) if len(slots) < 4 else f"{len(slots)} models"
    return {"openapi": "3.1.0", "info": {"title": title, "version": __version__}, "paths": paths}


def _invocations(slot: Slot) -> dict[str, Any]:
    body: dict[str, Any] = {"schema": _schema(signature_of(slot))}
    if slot.example:
        body["example"] = json.loads(slot.example)
    return {
        "summary": f"Predict with {slot.name}",
        "requestBody": {"required": True, "content": {"application/json": body, "text/csv": {}, PARQUET: {}}},
        "responses": {
            "200": {"description": "One prediction for each row", "content": {"application/json": {}}},
            "400": {"description": "What was asked is not what the model takes: the message says where"},
            "415": {"description": "It comes in a form that is not known, or that the model's environment cannot read"},
        },
    }


def _schema(signature: Signature) -> dict[str, Any]:
    forms: list[dict[str, Any]] = []
    if signature.by_column:
        columns = [one for one in signature.inputs if isinstance(one, Column)]
        kinds = {one.name: {"type": JSON_TYPES.get(str(one.type), "string")} for one in columns}
        needed = [one.name for one in columns if one.required]
        row = {"type": "object", "properties": kinds, "required": needed}
        forms.append(_form("dataframe_records", {"type": "array", "items": row}))
        split = {"columns": {"type": "array", "items": {"enum": list(kinds)}}, "data": {"type": "array"}}
        forms.append(_form("dataframe_split", {"type": "object", "properties": split, "required": ["data"]}))
    forms += [_form("inputs", {}), _form("instances", {"type": "array"})]
    return {"oneOf": forms}


def _form(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema, "params": {"type": "object"}}, "required": [name]}


def _other(summary: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        "responses": {"200": {"description": "Predictions"}, "400": {"description": "Refused, with the reason"}},
    }


def _looked(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": summary}}}


# -- the page ----------------------------------------------------------------------------------------------------

STYLE: Final = """
:root{color-scheme:light dark}a{color:#0b57c9}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.15rem;margin-top:2.5rem}table{border-collapse:collapse}
td,th{text-align:left;padding:.15rem 1rem .15rem 0;border-bottom:1px solid #ddd;vertical-align:top}
textarea{width:100%;min-height:12rem;font:14px/1.4 ui-monospace,monospace}
button{font:inherit;padding:.3rem 1.2rem;margin:.5rem 0}pre{background:#f4f4f4;padding:.8rem;overflow:auto}
@media(prefers-color-scheme:dark){a{color:#8ab4f8}body{color:#eee;background:#161616}pre{background:#242424}td,th{border-color:#444}}
"""
SCRIPT: Final = """
for(const form of document.querySelectorAll('form'))form.addEventListener('submit',async event=>{
event.preventDefault();const out=form.querySelector('pre'),token=form.querySelector('input').value;out.textContent='…';
const headers={'content-type':'application/json'};if(token)headers.authorization='Bearer '+token;
const began=performance.now(),body=form.querySelector('textarea').value;
try{const answer=await fetch(form.getAttribute('action'),{method:'POST',headers,body});
const told=answer.headers.get('x-model-version'),took=Math.round(performance.now()-began);
out.textContent=answer.status+(told?', version '+told:'')+', '+took+' ms\\n'+await answer.text()}
catch(error){out.textContent=String(error)}});
"""


def html(slots: Mapping[str, Slot]) -> str:
    """One form for each model, filled with its example. Nothing is fetched from elsewhere."""
    bodies = "".join(map(_section, slots.values()))
    title = escaping.escape(", ".join(slots)[:200])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1>"
        f"<p><a href=openapi.json>openapi.json</a> · <a href=metrics>metrics</a> · <a href=models>models</a></p>"
        f"{bodies}</main><script>{SCRIPT}</script>"
    )


def _section(slot: Slot) -> str:
    team = slot.team
    number = f" version {team.version.number}" if team and team.version.number else ""
    run = (
        f"<p>Made by the run <code>{escaping.escape(team.version.run)}</code>.</p>" if team and team.version.run else ""
    )
    rows = "".join(_row(one) for one in signature_of(slot).inputs)
    table = f"<table><tr><th>column or tensor<th>type{rows}</table>" if rows else ""
    example = laid_out(json.loads(slot.example or '{"dataframe_split": {"columns": [], "data": []}}'))
    address = escaping.escape(f"models/{slot.name}/invocations", quote=True)
    return (
        f"<h2>{escaping.escape(slot.name + number)}</h2>{run}{table}"
        f"<form action='{address}'><p><label>What is asked<textarea>{escaping.escape(example)}</textarea></label>"
        f"<p><label>Token, where one is needed <input type=password autocomplete=off></label>"
        f"<p><button>Predict</button><pre aria-live=polite></pre></form>"
    )


def laid_out(value: Any, margin: str = "") -> str:
    """JSON as people edit it: what fits is on one line, and so is a row of numbers and texts, however long."""
    text = _written(value)
    inside = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if len(margin) + len(text) <= WIDE or not any(isinstance(one, (dict, list)) for one in inside):
        return text
    names = [f"{_written(key)}: " for key in value] if isinstance(value, dict) else [""] * len(value)
    deeper = margin + "  "
    lines = [f"{deeper}{name}{laid_out(one, deeper)}" for name, one in zip(names, inside, strict=True)]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return "\n".join([begin, ",\n".join(lines), margin + end])


def _written(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a letter, which JSON may name and no page may hold
        return json.dumps(value)
    return text


def _row(field: Column | Tensor) -> str:
    if isinstance(field, Tensor):
        kind = f"{field.dtype} {list(field.shape)}"
    else:
        kind = (field.type if isinstance(field.type, str) else json.dumps(field.type)) + (
            "" if field.required else ", may be missing"
        )
    return f"<tr><td>{escaping.escape(field.name or '(only one)')}<td>{escaping.escape(kind)}"

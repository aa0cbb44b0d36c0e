"""The list of kinds: one line each."""

from __future__ import annotations

from bis.parts import Kind, code, data, environment, infrastructure, machine, params

KINDS: tuple[Kind, ...] = (code, data, params, environment, infrastructure, machine)

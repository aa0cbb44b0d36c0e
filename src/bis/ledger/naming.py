"""Names for what nobody named: `calm-otter-417`. Easy to say and to remember, and not meant to be unique."""

from __future__ import annotations

import random
from typing import Final

HOW: Final = (
    *("able", "agile", "amber", "apt", "bold", "brave", "brisk", "calm", "candid", "clear", "clever", "cosy", "crisp"),
    *("daring", "deft", "eager", "early", "fair", "fleet", "fond", "frank", "gentle", "glad", "golden", "hardy"),
    *("honest", "jolly", "keen", "kind", "light", "lively", "loyal", "lucid", "mellow", "merry", "mild", "neat"),
    *("nimble", "noble", "patient", "placid", "plucky", "polite", "prompt", "quick", "quiet", "rapid", "ready"),
    *("robust", "serene", "sharp", "shy", "silent", "sincere", "sleek", "smart", "snug", "sober", "spry", "stable"),
    *("steady", "sturdy", "subtle", "sunny", "swift", "tidy", "tranquil", "upbeat", "vivid", "warm", "wise", "witty"),
)
WHO: Final = (
    *("alpaca", "badger", "beaver", "bison", "bittern", "buzzard", "caribou", "chamois", "cicada", "crane", "cricket"),
    *("curlew", "dolphin", "dormouse", "duck", "eagle", "egret", "eider", "elk", "falcon", "ferret", "finch", "fox"),
    *("gannet", "gecko", "gibbon", "goose", "grouse", "gull", "hare", "hedgehog", "heron", "ibex", "ibis", "jackdaw"),
    *("jay", "kestrel", "kite", "lark", "lemur", "linnet", "lynx", "magpie", "marmot", "marten", "mole", "moose"),
    *("newt", "otter", "owl", "panda", "perch", "plover", "puffin", "quail", "rail", "raven", "robin", "salmon"),
    *("seal", "shrew", "skylark", "snipe", "sparrow", "squid", "stork", "swan", "tapir", "tern", "thrush", "toad"),
    *("trout", "turtle", "vole", "walrus", "weasel", "whale", "wolf", "wombat", "wren", "yak", "zebra"),
)


CHANCE: Final = random.SystemRandom()
"""Not the generator of the process, which a training may have seeded."""


def drawn_name() -> str:
    return f"{CHANCE.choice(HOW)}-{CHANCE.choice(WHO)}-{CHANCE.randrange(1000)}"

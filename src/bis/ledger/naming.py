"""Names for what nobody named: `calm-otter-417`. Easy to say and to remember, and not meant to be unique."""

from __future__ import annotations

import random
from typing import Final

# Words that MLflow draws, too: who knows its names is not puzzled by these.
HOW: Final = (
    *("able", "adaptable", "agreeable", "ambitious", "auspicious", "big", "bold", "bright", "calm", "capable"),
    *("carefree", "caring", "charming", "classy", "clean", "colorful", "dapper", "delightful", "efficient"),
    *("fearless", "fortunate", "fun", "funny", "gentle", "gifted", "honorable", "industrious", "inquisitive"),
    *("intelligent", "judicious", "kindly", "likeable", "luminous", "lyrical", "marvelous", "melodic"),
    *("merciful", "nimble", "orderly", "peaceful", "persistent", "placid", "polite", "popular", "receptive"),
    *("resilient", "respected", "silent", "sincere", "skillful", "smiling", "stately", "stylish", "thoughtful"),
    *("unique", "upbeat", "useful", "valuable", "welcoming", "whimsical", "wise", "youthful"),
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

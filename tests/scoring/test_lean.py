"""What is loaded leanly, and is held for good."""

import gc
import importlib
import sys
import types

import pytest

from bis.scoring.lean import held_for_good, leanly


def test_what_is_held_for_good_is_not_looked_through_again() -> None:
    before = gc.get_freeze_count()
    try:
        with held_for_good():
            assert not gc.isenabled()
            kept = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(kept)
        assert len(gc.get_objects()) < gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_garbage_is_looked_for_again_where_a_model_cannot_be_loaded() -> None:
    with pytest.raises(KeyError), held_for_good():
        raise KeyError
    assert gc.isenabled()


def test_what_is_not_imported_can_be_imported_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, of a package that is called as SciPy is."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("pandas", "scipy")]:
        monkeypatch.delitem(sys.modules, name)
    scipy = types.ModuleType("scipy")
    scipy.__path__ = []
    monkeypatch.setitem(sys.modules, "scipy", scipy)
    with leanly():
        rank = importlib.import_module("scipy.stats").rankdata
        with pytest.raises(ImportError):
            importlib.import_module("pandas")
        documented = importlib.import_module("scipy._lib._docscrape").FunctionDoc(print)
        documented["Notes"].append("one")
        assert str(documented).split("\n", 1)[1] == ""
    assert not {"pandas", "scipy.stats", "scipy.stats.mstats", "scipy._lib._docscrape"} & sys.modules.keys()
    stats = types.ModuleType("scipy.stats")
    stats.rankdata = lambda rows: sorted(rows)
    monkeypatch.setitem(sys.modules, "scipy.stats", stats)
    assert rank([3, 1]) == [1, 3]

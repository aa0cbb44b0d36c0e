"""PyTorch: modules as `pt2` where an example lets them be exported, TorchScript, a state dict beside the code of its
class, or a pickle.

`pt2` holds a graph and its tensors. A TorchScript file is a program that may read and write files, and a class by its
name is code: both are opened for a reader who trusts them, as pickles are.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import Loading, Refused, Saved, Saving, Untrusted, below, class_names, pickled, version_of
from .beside import loader_of
from .values import Array, Batch, Columns, Predictions, Tensors

FORMATS = ("pt2", "torchscript", "safetensors", "pickle")
DATA = "data"
PICKLED, EXPORTED, WEIGHTS = "model.pth", "model.pt2", "model.safetensors"
MODULE = "mlflow.pytorch.pickle_module"
"""How MLflow reads what is in `model.pth`: cloudpickle, or where that is TorchScript, nothing."""
SCRIPT = "it is TorchScript, a program that may read and write files"
CODE = "it is made by a class of the name that its description gives: loading it runs the code of that class"


class PyTorch:
    """`torch.nn.Module`, scripted and traced ones too."""

    name = "pytorch"

    def takes(self, model: object) -> bool:
        return "torch.nn.modules.module.Module" in class_names(model)

    def save(self, model: Any, folder: Path, how: Saving) -> Saved:
        (folder / DATA).mkdir()
        scripted = any(name.startswith("torch.jit.") for name in class_names(model))
        format = how.format or ("torchscript" if scripted else "pt2" if how.example is not None else "pickle")
        if format not in FORMATS or (scripted and format != "torchscript"):
            allowed = "torchscript" if scripted else " or ".join(FORMATS)
            raise Refused(f"a {type(model).__name__} of PyTorch is saved as {allowed}, not as {format}")
        training = model.training
        model.eval()
        try:
            return self._saved(model, folder, format, how)
        finally:
            model.train(training)

    def _saved(self, model: Any, folder: Path, format: str, how: Saving) -> Saved:
        entry: dict[str, Any] = {"code": None, "model_data": DATA, "pytorch_version": version_of("torch")}
        function: dict[str, Any] = {"loader_module": "mlflow.pytorch", "data": DATA, "pickle_module_name": MODULE}
        packages: tuple[str, ...] = ("torch", "numpy")
        warnings: tuple[str, ...] = ()
        beside: tuple[str, ...] = ()
        if format == "pt2":
            try:
                _export(model, folder / DATA / EXPORTED, how.example)
            except Refused as error:
                if how.format:
                    raise
                warnings, format = (f"{error}; so it is a pickle",), "pickle"
        if format == "safetensors":
            _save_weights(model, folder)
            entry |= {"model_class": f"{type(model).__module__}.{type(model).__qualname__}", **_made_with(model)}
            code, beside, loader = loader_of("torch", folder)
            function = {"loader_module": loader, "code": code, **{k: entry[k] for k in entry if k.startswith("model_")}}
            packages, warnings = (*packages, "safetensors"), (f"{WEIGHTS}: {CODE}",)
        elif format == "torchscript":
            import torch

            script = model if hasattr(model, "save") else torch.jit.script(model)
            torch.jit.save(script, str(folder / DATA / PICKLED))
            (folder / DATA / "pickle_module_info.txt").write_text(MODULE)
            warnings = (f"{PICKLED}: {SCRIPT}",)
        elif format == "pickle":
            _pickle(model, folder / DATA / PICKLED)
            (folder / DATA / "pickle_module_info.txt").write_text(MODULE)
            packages, warnings = (*packages, "cloudpickle"), (*warnings, f"{PICKLED}: {pickled.WARNING}")
            if how.example is None:
                warnings = (*warnings, "with an example it can be saved as pt2, which holds no code")
        return Saved(entry=entry, function=function, packages=packages, warnings=warnings, beside=beside)

    def load(self, folder: Path, entry: Mapping[str, Any], how: Loading) -> Network:
        import torch

        if how.threads:
            torch.set_num_threads(how.threads)
        data = below(folder, entry.get("model_data"), DATA)
        if (data / EXPORTED).is_file():
            return Network(_exported(data / EXPORTED, how))
        if (data / WEIGHTS).is_file():
            return Network(_with_weights(data / WEIGHTS, entry, how))
        return Network(_unpickled(below(folder, data.relative_to(Path(folder).resolve()) / PICKLED), how))

    def summary(self, model: Any) -> dict[str, Any]:
        layers = [
            {
                "name": name or type(one).__name__,
                "kind": getattr(one, "original_name", type(one).__name__),
                "parameters": sum(each.numel() for each in one.parameters(recurse=False)),
            }
            for name, one in model.named_modules()
            if not list(one.children())
        ]
        count = sum(one.numel() for one in model.parameters())
        return {
            "kind": getattr(model, "original_name", type(model).__name__),
            "architecture": str(model)[:4000],
            "parameter_count": count,
            "trainable_count": sum(one.numel() for one in model.parameters() if one.requires_grad),
            "layers": layers[:1000],
            "hyperparameters": _plain(getattr(model, "hparams", {})),
        }


# -- writing -----------------------------------------------------------------------------------------------------


def _export(model: Any, path: Path, example: Batch | None) -> None:
    """Raises Refused for what cannot be exported."""
    import torch

    if example is None:
        raise Refused("pt2 is traced with an example, and none was given")
    given = [_tensor(array[:2]) for array in _arrays(example)]
    given = [torch.cat([one, one]) if len(one) == 1 else one for one in given]  # one row would be held to be constant
    try:
        shapes = tuple({0: torch.export.Dim.DYNAMIC} for _ in given)
        program = torch.export.export(model, tuple(given), dynamic_shapes=shapes, strict=False)
    except Exception as error:
        raise Refused(f"torch.export cannot trace it for any number of rows ({_line(error)})") from error
    program._example_inputs = (tuple(map(torch.zeros_like, given)), {})  # instead of rows of the user's data
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # where the script lies
    torch.export.save(program, str(path))


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _save_weights(model: Any, folder: Path) -> None:
    """The tensors, and the module of the class where no package brings it."""
    import inspect

    from safetensors.torch import save_model

    kind = type(model)
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
        raise Refused(f"{kind.__qualname__} is in no module that could be imported by its name: put it into a file")
    save_model(model, str(folder / DATA / WEIGHTS))
    own = {module.__name__ for module in pickled.own_modules()}
    for name in sorted(own & {kind.__module__, *_parents(kind.__module__)}):
        source = inspect.getsourcefile(sys.modules[name])
        if source:
            package = Path(source).name == "__init__.py"
            target = folder.joinpath("code", *name.split("."), *(["__init__.py"] if package else []))
            target = target if package else target.with_name(f"{target.name}.py")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(source).read_bytes())


def _parents(module: str) -> list[str]:
    words = module.split(".")
    return [".".join(words[:length]) for length in range(1, len(words))]


def _made_with(model: Any) -> dict[str, Any]:
    """What its class is called with: Lightning's `hparams`."""
    found = _plain(getattr(model, "hparams", {}))
    return {"model_arguments": found} if found else {}


def _pickle(model: Any, path: Path) -> None:
    import torch

    try:
        import cloudpickle
    except ImportError:
        torch.save(model, str(path))
        return
    with pickled.taken_along():
        torch.save(model, str(path), pickle_module=cloudpickle)


# -- reading -----------------------------------------------------------------------------------------------------


def _exported(path: Path, how: Loading) -> Any:
    import torch

    if not how.trust:
        _only_tensors(path)
    return torch.export.load(str(path)).module()


def _only_tensors(path: Path) -> None:
    """Raises Refused for a pt2 file with a record that is neither text nor tensors: torch would run what it says."""
    import io
    import json
    import zipfile

    import torch

    if tuple(int(word) for word in torch.__version__.split("+")[0].split(".")[:2] if word.isdigit()) < (2, 10):
        raise Untrusted(f"{path.name} is not opened: PyTorch {torch.__version__} cannot tell whether it holds code")
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise Refused(f"{path.name} is damaged: {error}") from error
    with archive:
        raw = _raw_records(archive)
        for name in archive.namelist():
            if name.endswith("/") or name in raw:
                continue
            content = archive.read(name)
            if len(content) < 100 and content.isascii() and name.rpartition("/")[2] in TEXTS:
                continue
            try:
                json.loads(content)
                continue
            except ValueError:
                pass
            try:
                torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            except Exception as error:
                raise Untrusted(f"{path.name} is not opened: {name} in it is more than tensors") from error


TEXTS = ("archive_format", "archive_version", "byteorder", "version", "serialization_id", "data_format")


def _raw_records(archive: Any) -> set[str]:
    """The members that are the bytes of one tensor each, as the lists of weights and constants say."""
    import json

    names = archive.namelist()
    found = set()
    for name in names:
        if not name.endswith(("weights_config.json", "constants_config.json")):
            continue
        root = name.partition("/data/")[0]
        place = "weights" if name.endswith("weights_config.json") else "constants"
        for one in (json.loads(archive.read(name)).get("config") or {}).values():
            if not one.get("use_pickle", True):
                found.add(f"{root}/data/{place}/{one.get('path_name')}")
    return found & set(names)


def _with_weights(path: Path, entry: Mapping[str, Any], how: Loading) -> Any:
    if not how.trust:
        raise Untrusted(f"{path.name} is not opened: {CODE}")
    import importlib

    from safetensors.torch import load_model

    module, _, kind = str(entry.get("model_class") or "").rpartition(".")
    try:
        maker = getattr(importlib.import_module(module), kind)
        model = maker(**(entry.get("model_arguments") or {}))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise Refused(f"{module}.{kind} could not be made: {_line(error)}") from error
    load_model(model, str(path))
    return model.eval()


def _unpickled(path: Path, how: Loading) -> Any:
    import zipfile

    import torch

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                if not how.trust:
                    raise Untrusted(f"{path.name} is not opened: {SCRIPT}")
                return torch.jit.load(str(path), map_location="cpu").eval()
    found = pickled.load(path, how, lambda file: torch.load(file, map_location="cpu", weights_only=False))
    if not callable(found):
        raise Refused(f"{path.name} holds weights without the model that they are for")
    return found.eval() if hasattr(found, "eval") else found


# -- asking ------------------------------------------------------------------------------------------------------


class Network:
    """A module that can be asked."""

    wants_names = False
    rowwise = False
    """It may look at all rows at once: nobody knows."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._exported = "GraphModule" in type(model).__name__

    def predict(self, batch: Batch, params: Mapping[str, Any]) -> Predictions:
        import torch

        with torch.no_grad():
            if isinstance(batch, Tensors) and len(batch.arrays) > 1 and not self._exported:
                named = {name: _tensor(array) for name, array in batch.arrays.items()}
                return _answered(self.model(**named, **params))
            return _answered(self.model(*map(_tensor, _arrays(batch)), **params))


def _arrays(batch: Batch) -> list[Array]:
    """Columns as one table of single precision, as MLflow has it."""
    return [batch.matrix().astype("float32")] if isinstance(batch, Columns) else list(batch.arrays.values())


def _tensor(array: Array) -> Any:
    import numpy
    import torch

    return torch.from_numpy(numpy.require(array, requirements=["C", "W"]))


def _answered(found: Any) -> Predictions:
    if isinstance(found, Mapping):
        return {str(name): value.detach().cpu().numpy() for name, value in found.items()}
    if isinstance(found, (list, tuple)):
        return {f"output_{place}": value.detach().cpu().numpy() for place, value in enumerate(found)}
    answer: Predictions = found.detach().cpu().numpy()
    return answer


def _plain(given: Any) -> dict[str, Any]:
    kept = (bool, int, float, str, type(None))
    return {str(key): value for key, value in dict(given).items() if isinstance(value, kept)}

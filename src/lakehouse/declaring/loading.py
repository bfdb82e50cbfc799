"""Find the pipeline that a user names: a module, a path, or a path inside a zip."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from asgard.common.errors import DeclarationError, UsageError
from asgard.common.places import ending_of
from asgard.common.stopping import require_none
from asgard.lakehouse.declaring.pipeline import Pipeline
from asgard.lakehouse.declaring.user_modules import placed

_HINT = "Give a module (examples.retail), a file or folder (pipelines/retail.py), or a zip (jobs.zip:retail)."


@placed
def load_pipeline(reference: str) -> Pipeline:
    """Import what `--pipeline` names and return the one `Pipeline` in it.

    Args:
        reference: `package.module`, `package.module:attribute`, `path/to/file.py`, `path/to/package`,
            `archive.zip:module`.

    Raises:
        UsageError: the reference names nothing, or something without exactly one pipeline.
        DeclarationError: the user's module can't be imported (the message has the module's error, the details have
            file and line), or its declarations can't work.
    """
    location, _, attribute = reference.partition(":")
    if location.endswith(".zip"):
        if not Path(location).is_file():
            raise UsageError(f"There is no archive {location}.", hint=_HINT)
        module_name, _, attribute = attribute.partition(":")
        if not all(part.isidentifier() for part in module_name.split(".")):
            raise UsageError(f"There is no pipeline {reference!r}: {module_name!r} is not a module's name.", hint=_HINT)
        sys.path.insert(0, str(Path(location).resolve()))
        module = _import(module_name, reference)
    elif _is_path(location):
        module = _import_path(Path(location), reference)
    else:
        if "" not in sys.path:
            sys.path.insert(0, "")
        module = _import(location, reference)
    pipeline = _pick(module, attribute, reference)
    pipeline.in_order()
    return pipeline


def path_of(reference: str) -> Path | None:
    """The file or folder that `--pipeline` names, which may be missing; None for an archive or an unknown module.

    The pipeline is not imported, only the packages around it.
    """
    location = reference.partition(":")[0]
    if location.endswith(".zip"):
        return None
    if _is_path(location):
        return Path(location).resolve()
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        spec = importlib.util.find_spec(location)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).resolve() if spec and spec.has_location and spec.origin else None


def names_path(reference: str) -> bool:
    """Whether `--pipeline` names a path, and not a module."""
    return _is_path(reference.partition(":")[0])


def _is_path(location: str) -> bool:
    return "/" in location or location.endswith(".py") or Path(location).exists()


def _import_path(path: Path, reference: str) -> ModuleType:
    if path.is_dir() and not (path / "__init__.py").exists() and (path / "pipeline.py").exists():
        path = path / "pipeline.py"
    if not path.exists():
        raise UsageError(f"There is no pipeline at {path}.", hint=_HINT)
    if path.is_file() and path.suffix != ".py":
        raise UsageError(f"{path} is not a Python file.", hint=_HINT)
    path = path.resolve()
    package = path if path.is_dir() else path.with_suffix("")
    parts = [package.name]
    folder = package.parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    sys.path.insert(0, str(folder))
    module = _import(".".join(parts), reference)
    wanted = path / "__init__.py" if path.is_dir() else path
    if module.__file__ is not None and Path(module.__file__).resolve() != wanted:
        raise UsageError(
            f"{path} can't be imported: Python knows {module.__name__!r} as {module.__file__} already.",
            hint="Rename the file, or put it in a package: a folder with an __init__.py.",
        )
    return module


def _import(name: str, reference: str) -> ModuleType:
    missing = UsageError(f"There is no pipeline {reference!r}: no module {name!r} was found.", hint=_HINT)
    if not name or name.startswith("."):
        raise missing
    had_spark = _spark_runs()
    try:
        module = importlib.import_module(name)
    except UsageError:
        raise
    except (SystemExit, KeyboardInterrupt) as error:
        require_none()
        raise DeclarationError(
            f"Pipeline {reference!r} ended the process while it was imported: {ending_of(error)}.",
            hint='Take that line out of the module, or put it under `if __name__ == "__main__":`.',
        ) from error
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise missing from error
        raise DeclarationError(
            f"Pipeline {reference!r} can't be imported: {type(error).__name__}: {error}",
            hint="Import it in a Python shell to see the whole traceback.",
        ) from error
    if _spark_runs() and not had_spark:
        raise DeclarationError(
            f"Pipeline {reference!r} starts a SparkSession of its own while it is imported, without Asgard's catalog.",
            hint="Remove it: a function gets its inputs as DataFrames, and `frame.sparkSession` is their session.",
        )
    return module


def _spark_runs() -> bool:
    pyspark = sys.modules.get("pyspark")
    return pyspark is not None and pyspark.SparkContext._active_spark_context is not None


def _pick(module: ModuleType, attribute: str, reference: str) -> Pipeline:
    found = {name: value for name, value in vars(module).items() if isinstance(value, Pipeline)}
    inside = f"{module.__name__}.pipeline"
    if not found and hasattr(module, "__path__") and importlib.util.find_spec(inside):
        return _pick(_import(inside, reference), attribute, reference)
    if not found:
        raise UsageError(
            f"{reference!r} should contain one Pipeline; it contains none.",
            hint="Assign a Pipeline to a name at the module's top level.",
        )
    if attribute:
        if attribute not in found:
            raise UsageError(f"{reference!r} is not a Pipeline.", hint=f"Pipelines there: {', '.join(sorted(found))}.")
        return found[attribute]
    pipelines = {id(value): value for value in found.values()}
    if len(pipelines) > 1:
        names = ", ".join(sorted(pipeline.name for pipeline in pipelines.values()))
        raise UsageError(
            f"{reference!r} should contain one Pipeline; it contains {names}.",
            hint=f"Name one: {', '.join(f'{reference}:{name}' for name in sorted(found))}.",
        )
    return next(iter(found.values()))

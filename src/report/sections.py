"""The sections of the page, and the templates that render them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgard.common.errors import EnvironmentSetupError
from asgard.report.format import age, grouped, moment, pairs, seconds, shown, size

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from asgard.report.plots import Plot


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        anchor: its id, unique on the page.
        title: its heading, and its name in the list of sections.
        body: HTML below the heading, with escaped texts, as `rendered` returns it.
    """

    anchor: str
    title: str
    body: "Markup"


def rendered(name: str, folder: Path | None = None, **values: Any) -> "Markup":
    """Render a template with values to HTML in which every text is escaped.

    Args:
        name: name of the template.
        folder: folder of the template; None: the folder of this module. It can always import this module's templates.
        **values: values of the template's variables.

    Raises:
        EnvironmentSetupError: jinja2 is not installed.
    """
    from markupsafe import Markup

    return Markup(_environment(folder).get_template(name).render(**values))  # noqa: S704 - escaped by the template


def drawn(plots: "Sequence[Plot]") -> "list[dict[str, Any]]":
    """Plots as the macro `figures` takes them."""
    from markupsafe import Markup

    return [{"title": plot.title, "svg": Markup(plot.svg), "summary": plot.summary} for plot in plots]  # noqa: S704 - matplotlib's


def _environment(folder: Path | None) -> "Environment":
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError as error:
        raise EnvironmentSetupError(
            "The report needs jinja2, which is not installed here.", hint="pip install 'asgard-lakehouse[report]'"
        ) from error
    environment = Environment(
        loader=FunctionLoader(_source_in(folder)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "age": age,
        "grouped": grouped,
        "moment": moment,
        "pairs": pairs,
        "seconds": seconds,
        "shown": shown,
        "size": size,
    }
    return environment


def _source_in(folder: Path | None) -> Callable[[str], str]:
    def source(name: str) -> str:
        own = folder / name if folder is not None else None
        if own is not None and own.is_file():
            return own.read_text(encoding="utf-8")
        return resources.files("asgard.report").joinpath(name).read_text(encoding="utf-8")

    return source

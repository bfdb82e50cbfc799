"""The report's drawings: the flow of rows from files to gold, and the branches beside main. Pure SVG text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_BOX_WIDTH, _BOX_HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 256, 66, 40, 16, 6
_BOW = 40
ROW_HEIGHT = 62
"""Height of one line of the branch graph, in CSS pixels; the list beside it has the same line height."""
_LANE, _LEFT = 24, 16


@dataclass(frozen=True)
class Box:
    """One box of the flow: a file or a table.

    Attributes:
        column: number of the column from the left, 0 for files.
        lines: text below its name.
        style: CSS class: file, bronze, silver, gold or other.
        inputs: names of the boxes that it is computed from.
        mark: `bad` or `warn` if a check failed; else "".
        link: target of a click; "" for none.
    """

    name: str
    column: int
    lines: tuple[str, ...]
    style: str
    inputs: tuple[str, ...] = ()
    mark: str = ""
    link: str = ""


def flow(boxes: Sequence[Box]) -> str:
    """Draw boxes in columns, joined by curves from each input, ordered so that few curves cross."""
    columns = _placed(boxes)
    height = max((len(column) for column in columns.values()), default=0) * (_BOX_HEIGHT + _GAP_Y) - _GAP_Y
    corners: dict[str, tuple[float, float]] = {}
    for place, (_, column) in enumerate(sorted(columns.items())):
        top = (height - len(column) * (_BOX_HEIGHT + _GAP_Y) + _GAP_Y) / 2
        for number, box in enumerate(column):
            corners[box.name] = (
                _MARGIN + place * (_BOX_WIDTH + _GAP_X),
                _MARGIN + top + number * (_BOX_HEIGHT + _GAP_Y),
            )
    pairs = [(corners[source], corners[box.name]) for box in boxes for source in box.inputs if source in corners]
    has_bow = any(source[0] == target[0] for source, target in pairs)
    width = len(columns) * (_BOX_WIDTH + _GAP_X) - _GAP_X + 2 * _MARGIN + (_BOW if has_bow else 0)
    edges = [_edge(source, target) for source, target in pairs]
    drawn = [_box(box, *corners[box.name]) for box in boxes]
    return (
        f'<svg viewBox="0 0 {width} {height + 2 * _MARGIN}" width="{width}" '
        f'style="min-width: {0.75 * width:g}px" role="img" aria-label="Flow of rows between the tables">'
        f"{''.join(edges)}{''.join(drawn)}</svg>"
    )


def _placed(boxes: Sequence[Box]) -> dict[int, list[Box]]:
    columns: dict[int, list[Box]] = {}
    heights: dict[str, float] = {}
    for number in sorted({box.column for box in boxes}):
        column = [box for box in boxes if box.column == number]
        column = sorted(
            column, key=lambda box: _mean([heights[name] for name in _inputs(box, column) if name in heights])
        )
        columns[number] = column
        heights |= {box.name: place - len(column) / 2 for place, box in enumerate(column)}
    return columns


def _inputs(box: Box, column: Sequence[Box]) -> Iterator[str]:
    """A box's inputs; an input in the same column is replaced by its own inputs, so that both are placed together."""
    beside = {other.name: other for other in column if other is not box}
    for name in box.inputs:
        yield from beside[name].inputs if name in beside else (name,)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _edge(source: tuple[float, float], target: tuple[float, float]) -> str:
    x1, y1 = source[0] + _BOX_WIDTH, source[1] + _BOX_HEIGHT / 2
    x2, y2 = target[0], target[1] + _BOX_HEIGHT / 2
    if source[0] == target[0]:  # both in one column: a curve beside it
        return f'<path class="edge" d="M{x1:g},{y1:g} C{x1 + _BOW:g},{y1:g} {x1 + _BOW:g},{y2:g} {x1:g},{y2:g}"/>'
    middle = (x1 + x2) / 2
    return f'<path class="edge" d="M{x1:g},{y1:g} C{middle:g},{y1:g} {middle:g},{y2:g} {x2:g},{y2:g}"/>'


def _box(box: Box, x: float, y: float) -> str:
    lines = "".join(
        f'<text class="small" x="{x + 14:g}" y="{y + 40 + 16 * number:g}">{escape(line)}</text>'
        for number, line in enumerate(box.lines)
    )
    name = _cut(box.name, 27 if box.mark else 30)
    drawn = (
        f'<g class="box {escape(f"{box.style} {box.mark}".strip())}">'
        f"<title>{escape(box.name)}: {escape('; '.join(box.lines))}</title>"
        f'<rect x="{x:g}" y="{y:g}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6"/>'
        f'<rect class="stripe" x="{x:g}" y="{y:g}" width="5" height="{_BOX_HEIGHT}" rx="2"/>'
        f'<text class="name" x="{x + 14:g}" y="{y + 21:g}">{escape(name)}</text>{lines}'
        f"{_sign(box.mark, x + _BOX_WIDTH - 14, y + 14) if box.mark else ''}</g>"
    )
    return f'<a href="{escape(box.link)}">{drawn}</a>' if box.link else drawn


def _sign(mark: str, x: float, y: float) -> str:
    """A cross for a failure, an exclamation mark for a warning, distinguishable without colours."""
    if mark == "bad":
        return f'{_dot(x, y, "failed", 8)}<path class="cross" d="M{x - 3.5:g},{y - 3.5:g} l7,7 m0,-7 l-7,7"/>'
    return f'{_dot(x, y, "warned", 8)}<path class="cross" d="M{x:g},{y - 4.5:g} v5 m0,2.5 v1.5"/>'


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


@dataclass(frozen=True)
class Line:
    """One line of the branch graph: a commit of main, or the end of a branch that was never published.

    Attributes:
        base: number of the line at which its branch began; None: below the graph; its own number: it has no branch.
        published: whether the branch was published to main.
    """

    base: int | None
    published: bool


def branch_graph(lines: Sequence[Line]) -> str:
    """Draw the graph beside the list of commits, newest first: main, and each run's branch from start to end."""
    height = len(lines) * ROW_HEIGHT
    lanes = _lanes(lines)
    parts = [_main(lines)]
    for number, line in enumerate(lines):
        if line.base != number:
            end = _middle(len(lines) if line.base is None else line.base)
            parts.append(_branch(number, end, lanes[number], published=line.published))
    parts += [_dot(_LEFT, _middle(number), "commit") for number, line in enumerate(lines) if line.published]
    width = _LEFT + (max(lanes.values(), default=0) + 1) * _LANE
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Branches beside main">{"".join(parts)}</svg>'
    )


def _middle(number: int) -> float:
    return (number + 0.5) * ROW_HEIGHT


def _main(lines: Sequence[Line]) -> str:
    first = next((number for number, line in enumerate(lines) if line.published), None)
    if first is None:
        return ""
    last = len(lines) - 1
    end = _middle(last) if lines[last].base == last else len(lines) * ROW_HEIGHT
    return f'<path class="main" d="M{_LEFT},{_middle(first):g} V{end:g}"/>'


def _branch(number: int, base_y: float, lane: int, *, published: bool) -> str:
    x, y = _LEFT + lane * _LANE, _middle(number)
    turn = ROW_HEIGHT * 0.45
    out = f"M{_LEFT},{base_y:g} C{_LEFT},{base_y - turn / 2:g} {x},{base_y - turn / 2:g} {x},{base_y - turn:g}"
    if published:
        back = f"V{y + turn:g} C{x},{y + turn / 2:g} {_LEFT},{y + turn / 2:g} {_LEFT},{y:g}"
        middle = (base_y - turn + y + turn) / 2
        return f'<path class="branch" d="{out} {back}"/>{_dot(x, middle, "passed", 4)}'
    cross = f'<path class="cross" d="M{x - 3.5},{y - 3.5} l7,7 m0,-7 l-7,7"/>'
    return f'<path class="branch kept" d="{out} V{y:g}"/>{_dot(x, y, "failed", 8)}{cross}'


def _dot(x: float, y: float, style: str, radius: float = 6) -> str:
    return f'<circle class="{style}" cx="{x:g}" cy="{y:g}" r="{radius:g}"/>'


def _lanes(lines: Sequence[Line]) -> Mapping[int, int]:
    """Assign each branch a lane so that branches in the same lane do not overlap."""
    taken: dict[int, list[tuple[int, int]]] = {}
    lanes: dict[int, int] = {}
    for number, line in enumerate(lines):
        if line.base == number:
            continue
        end = len(lines) if line.base is None else line.base
        lane = next(lane for lane in range(1, len(lines) + 2) if _is_free(taken.get(lane, ()), number, end))
        taken.setdefault(lane, []).append((number, end))
        lanes[number] = lane
    return lanes


def _is_free(spans: Iterable[tuple[int, int]], start: int, end: int) -> bool:
    return all(end <= low or start >= high for low, high in spans)

"""The cost of a value as rows and columns grow, as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.side_by_side.results import Results, record_of
from benchmarks.side_by_side.table import costs

COLOURS = {"numpy": "#2a7f62", "numba": "#2f5fb3"}
WIDTH, HEIGHT, LEFT, TOP = 420, 300, 60, 50
"""Of a panel, and of the margins in it."""

Points = Sequence[tuple[int, float]]


def picture(found: Results) -> str:
    """Two panels, rows and columns; a flat line is a cost that grows as the data do."""
    drawn = {what: _curves(found, what) for what in ("rows", "columns")}
    every = [cost for curves in drawn.values() for points in curves.values() for _, cost in points]
    top = _round_up(max(every)) if every else 1.0
    panels = [
        f'<g transform="translate({place * WIDTH},0)">{_panel(what, curves, top)}</g>'
        for place, (what, curves) in enumerate(drawn.items())
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(panels)}</svg>\n"
    )


def _curves(found: Results, what: str) -> dict[str, Points]:
    """Of each kernel that was measured."""
    record = record_of(found, f"growth {what}") or {"points": []}
    curves = {kernel: costs(record, kernel) for kernel in found["kernels"]}
    return {kernel: points for kernel, points in curves.items() if points}


def _panel(what: str, curves: dict[str, Points], top: float) -> str:
    title = f'<text x="{LEFT}" y="24" font-weight="bold">nanoseconds a value as {what} grow</text>'
    if not curves:
        return f'{title}<text x="{LEFT}" y="{TOP + 20}">not measured</text>'
    base = next(iter(curves.values()))[0][0]
    parts = [title, _axes(top, [values // base for values, _ in next(iter(curves.values()))])]
    for number, (kernel, points) in enumerate(curves.items()):
        parts.append(_curve(kernel, points, top, base, above=number % 2 == 0))
        parts.append(
            f'<text x="{WIDTH - 30}" y="{TOP + 18 + 18 * number}" text-anchor="end" fill="{COLOURS[kernel]}">'
            f"{kernel}</text>"
        )
    return "".join(parts)


def _axes(top: float, growths: Sequence[int]) -> str:
    bottom = HEIGHT - TOP
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = _y(top * share, top)
        parts.append(
            f'<line x1="{LEFT}" y1="{y:.0f}" x2="{WIDTH - 30}" y2="{y:.0f}" stroke="#ddd"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.0f}" text-anchor="end">{top * share:g}</text>'
        )
    for growth in growths:
        parts.append(f'<text x="{_x(growth):.0f}" y="{bottom + 22}" text-anchor="middle">×{growth}</text>')
    return "".join(parts)


def _curve(kernel: str, points: Points, top: float, base: int, *, above: bool) -> str:
    places = [(_x(values / base), _y(cost, top), cost) for values, cost in points]
    colour = COLOURS[kernel]
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y, _ in places)
    parts = [f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for x, y, cost in places:
        parts.append(
            f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="{colour}"/>'
            f'<text x="{x:.0f}" y="{y + (-10 if above else 20):.0f}" text-anchor="middle" fill="{colour}">'
            f"{cost:.1f}</text>"
        )
    return "".join(parts)


def _x(growth: float) -> float:
    return LEFT + 40 + math.log10(growth) * (WIDTH - LEFT - 110) / 2


def _y(cost: float, top: float) -> float:
    return HEIGHT - TOP - cost / top * (HEIGHT - 2 * TOP)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... above."""
    scale = 10.0 ** math.floor(math.log10(value))
    return next(step * scale for step in (1, 2, 5, 10) if step * scale >= value * 1.1 or step == 10)

"""Differences with their intervals, one line a run, as SVG."""

import html
from collections.abc import Callable, Mapping

from mutual_taught.method.statistics import Interval
from mutual_taught.terminal.signs import visible

LEFT, WIDTH, LINE, TOP = 200, 600, 26, 24
NAME_SIGNS = 24  # of a run's name beside its line; the whole name is in the label


def draw(name: str, title: str, points: Mapping[str, Interval]) -> str:
    """Draw a mean and an interval for each run, over a line at 0.

    Args:
        name: of the picture; begins its ids.
        title: says what differs; a screen reader says it.
        points: the difference by run.

    Returns:
        SVG in the colour of the text around it.
    """
    low = min(0.0, *(point.ci_lo for point in points.values()))
    high = max(0.0, *(point.ci_hi for point in points.values()))
    span = (high - low) or 1.0
    height = TOP + LINE * len(points) + 30

    def x(value: float) -> str:
        return f"{LEFT + (value - low) / span * (WIDTH - LEFT - 20):.1f}"

    lines = [
        _line(run, point, TOP + LINE * place + LINE / 2, x)
        for place, (run, point) in enumerate(points.items())
    ]
    bottom = height - 28
    return "".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
            f'aria-labelledby="{name}-title" font-size="13" fill="currentColor" '
            f'stroke="currentColor"><title id="{name}-title">{html.escape(visible(title))}</title>',
            f'<path d="M{x(0)},{TOP - 8}V{bottom}" stroke-dasharray="4 3" fill="none"/>',
            f'<path d="M{LEFT},{bottom}H{WIDTH - 20}" fill="none"/>',
            *(_tick(value, x(value), bottom) for value in sorted({low, 0.0, high})),
            *lines,
            "</svg>",
        ]
    )


def _line(run: str, point: Interval, y: float, x: Callable[[float], str]) -> str:
    run = visible(run)
    label = f"{run}: {point.mean:+.3f} [{point.ci_lo:.3f}, {point.ci_hi:.3f}], {point.n} prompts"
    shown = run if len(run) <= NAME_SIGNS else f"{run[: NAME_SIGNS - 1]}…"
    return (
        f'<g aria-label="{html.escape(label)}">'
        f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end" stroke="none">'
        f"{html.escape(shown)}</text>"
        f'<path d="M{x(point.ci_lo)},{y:.1f}H{x(point.ci_hi)}" stroke-width="2" fill="none"/>'
        f'<circle cx="{x(point.mean)}" cy="{y:.1f}" r="5"/></g>'
    )


def _tick(value: float, x: str, bottom: float) -> str:
    return f'<text x="{x}" y="{bottom + 18}" text-anchor="middle" stroke="none">{value:+.2f}</text>'

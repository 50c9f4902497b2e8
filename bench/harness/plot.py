"""A run as one SVG: a panel per figure, a bar per contender (the median), a dot per round."""

from collections.abc import Iterator
from html import escape
from statistics import median

from bench.harness.figures import BY_KEY, Figures, Metric
from bench.harness.rounds import Row, Run

PANELS = (
    ("full_handler_us", "handler CPU, µs per request at saturation"),
    ("full_envoy_us", "Envoy CPU, µs per request at saturation, added"),
    ("rps", "requests/s at saturation"),
    ("one_p50_us", "p50 latency added, one connection, µs"),
    ("half_p99_us", "p99 latency added, half load, µs"),
    ("rss_mb", "peak resident memory, MB"),
)
COLUMNS, WIDTH, NAMES, BAR, HEAD = 2, 520, 150, 24, 34
COLOURS = ("#2f6f9f", "#c96f2f", "#4f8f4f", "#8f5f9f", "#a08030", "#607080")


def draw(run: Run, figures: Figures) -> str:
    """Return the picture; rows that do not count are left out."""
    rows = [row for row in run.rows if row.counting]
    height = HEAD + BAR * max(1, len(rows)) + 18
    panels = "".join(
        f'<g transform="translate({i % COLUMNS * WIDTH},{i // COLUMNS * height + 30})">'
        + "".join(_panel(title, BY_KEY[key], rows, figures))
        + "</g>"
        for i, (key, title) in enumerate(PANELS)
    )
    whole = -(-len(PANELS) // COLUMNS) * height + 40
    title = f"One Envoy worker, {run.rate:g} requests/s at half load; bars are medians, dots rounds"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{COLUMNS * WIDTH}" height="{whole}"'
        ' font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="12" y="20" fill="#555">{escape(title)}</text>{panels}</svg>\n'
    )


def _panel(title: str, metric: Metric, rows: list[Row], figures: Figures) -> Iterator[str]:
    yield f'<text x="12" y="22" font-weight="bold">{escape(title)}</text>'
    # Envoy alone has no handler, and nothing is added to it.
    shown = [row for row in rows if row.contender.decides or metric.key == "rps"]
    bars = [(row, values) for row in shown if (values := figures.series(row, metric))]
    most = max((value for _, values in bars for value in values), default=0.0) or 1.0
    scale = (WIDTH - NAMES - 80) / most
    for number, (row, values) in enumerate(bars):
        colour = COLOURS[rows.index(row) % len(COLOURS)]
        yield f'<g transform="translate({NAMES},{HEAD + number * BAR})" fill="{colour}">'
        yield from _bar(row.name, [value * scale for value in values])
        end, label = max(values) * scale + 8, f"{median(values):,.{metric.digits}f}"
        yield f'<text x="{end:.1f}" y="14" fill="#333">{label}</text></g>'


def _bar(name: str, lengths: list[float]) -> Iterator[str]:
    yield f'<text x="-8" y="14" text-anchor="end" fill="#000">{escape(name)}</text>'
    width = max(1.0, median(lengths))
    yield f'<rect y="3" width="{width:.1f}" height="{BAR - 9}" fill-opacity="0.55"/>'
    for length in lengths:
        yield f'<circle cx="{max(0.0, length):.1f}" cy="10.5" r="2.5"/>'

"""The rules as one SVG: seconds to rollback, a panel per harm; false rollbacks on top."""

import math
from html import escape
from typing import Any

WIDTH, ROW, NAMES = 560, 22, 110
COLOURS = {"ours": "#2f6f9f"}
_OTHER = "#c9a06f"


def draw(rows: list[dict[str, Any]]) -> str:
    """Return the picture."""
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    height = (len(rules) + 1) * ROW + 20
    panels = []
    for number, scenario in enumerate(scenarios):
        own = [row for row in rows if row["scenario"] == scenario]
        at = f"translate({number % 2 * WIDTH},{number // 2 * height + 10})"
        panels.append(f'<g transform="{at}">{_panel(scenario, own)}</g>')
    whole = -(-len(scenarios) // 2) * height + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{whole}"'
        ' font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(panels)}</svg>\n"
    )


def _panel(scenario: str, rows: list[dict[str, Any]]) -> str:
    healthy = rows[0]["healthy"]
    what = "false rollbacks in 24 h" if healthy else "seconds to rollback (log scale)"
    lines = [f'<text x="12" y="16" font-weight="bold">{escape(scenario)}: {what}</text>']
    for number, row in enumerate(rows):
        length, label = _bar(row)
        colour = COLOURS.get(row["rule"], _OTHER)
        y = ROW * (number + 1)
        lines.append(
            f'<text x="{NAMES - 8}" y="{y + 15}" text-anchor="end">{escape(row["rule"])}</text>'
            f'<rect x="{NAMES}" y="{y + 4}" width="{length:.1f}" height="{ROW - 8}"'
            f' fill="{colour}"/>'
            f'<text x="{NAMES + length + 6:.1f}" y="{y + 15}" fill="#333">{label}</text>'
        )
    return "".join(lines)


def _bar(row: dict[str, Any]) -> tuple[float, str]:
    room = WIDTH - NAMES - 90
    if row["healthy"]:
        return max(1.0, room * row["rolled_back"]), f"{100 * row['rolled_back']:.1f} %"
    if row["seconds"] is None:
        return 1.0, f"most never ({100 * row['rolled_back']:.0f} % do)"
    return room * math.log10(max(row["seconds"], 1) + 1) / 4.5, f"{row['seconds']:,.0f} s"

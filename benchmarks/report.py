"""Tables for the documentation, and a picture drawn without help."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from benchmarks.workloads import WORKLOADS, Result

#: Results by workload and peer.
Results = Mapping[tuple[str, str], list[Result]]

_COLORS = (
    *("#1b6ca8", "#7fb2d9", "#a9cbe6", "#555555", "#999999", "#00a29c", "#5b8c2a", "#d98324"),
    *("#b23a48", "#7b4fa3"),
)


def sound(repetitions: Iterable[Result]) -> list[Result]:
    """Those without errors: the others mean nothing."""
    return [each for each in repetitions if not each.errors]


def median(results: Sequence[Result]) -> Result:
    """The result in the middle, by value."""
    return sorted(results, key=lambda each: each.value)[len(results) // 2]


def spread(results: Sequence[Result]) -> float:
    """How far the values are apart: the largest by the smallest, less one."""
    values = [each.value for each in results]
    return max(values) / min(values) - 1 if min(values) > 0 else 0.0


def listTable(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A reStructuredText table."""
    lines = [f".. list-table:: {title}", "   :header-rows: 1", ""]
    for row in (header, *rows):
        lines += [f"   {'* -' if n == 0 else '  -'} {cell}" for n, cell in enumerate(row)]
    return "\n".join([*lines, "", ""])


def tables(results: Results, titles: Mapping[str, str], missing: Mapping[str, str]) -> str:
    """
    What came out, in reStructuredText.

    :param titles: the peers' titles by name, of those that were measured.
    :param missing: why others weren't.
    """
    names = [name for name in WORKLOADS if any(name == workload for workload, _ in results)]
    header = ["", *(f"{WORKLOADS[name].title}, {WORKLOADS[name].unit}" for name in names)]

    def rows(cell: str) -> list[list[str]]:
        return [
            [
                title,
                *(
                    _cell(
                        results.get((name, peer)),
                        cell,
                        results.get((name, "nodemailer" if cell == "nodemailer" else "ours")),
                    )
                    for name in names
                ),
            ]
            for peer, title in titles.items()
        ]

    parts = [
        listTable(
            "Server CPU per message (idle connection: memory), medians", header, rows("value")
        ),
        listTable(
            "The same, as a part or a multiple of twisted_smtpserver's", header, rows("ratio")
        ),
        listTable("The same, as a part or a multiple of nodemailer's", header, rows("nodemailer")),
        listTable("Per second: messages, or MB of bulk (wall clock)", header, rows("rate")),
        listTable("Peak memory in MiB, and what the load added to it", header, rows("peak")),
        listTable("Largest by smallest of the repetitions", header, rows("spread")),
    ]
    measured = [each for repetitions in results.values() for each in repetitions]
    parts += [f"* {version}\n" for version in dict.fromkeys(each.version for each in measured)]
    parts += [f"* TLS: {tls}\n" for tls in dict.fromkeys(each.tls for each in measured) if tls]
    parts += [f"* Left out: {why}.\n" for why in missing.values()]
    return "".join(parts)


def _cell(repetitions: list[Result] | None, kind: str, other: list[Result] | None) -> str:
    if not repetitions:
        return "–"
    middle = median(repetitions)
    if kind == "value":
        return _number(middle.value)
    if kind in ("ratio", "nodemailer"):
        base = median(other).value if other else 0
        return f"{middle.value / base:.2f}" if base else "–"
    if kind == "rate":
        return _number(statistics.median(each.rate for each in repetitions)) if middle.rate else "–"
    if kind == "peak":
        return f"{middle.peak / 1024:.0f} (+{middle.growth / 1024:.1f})"
    return f"+{spread(repetitions):.0%}"


def _number(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


# -- Pictures -------------------------------------------------------------------------------------


def bars(results: Results, titles: Mapping[str, str]) -> str:
    """An SVG: for each workload the peers' medians, as multiples of twisted_smtpserver's."""
    names = [name for name in WORKLOADS if (name, "ours") in results]
    height, width, left, most = 14, 900, 190, 8.0
    scale = (width - left - 140) / most
    body: list[str] = []
    y = 34.0 + (len(titles) - 1) // 4 * 16  # below the legend
    for name in names:
        base = median(results[name, "ours"]).value or 1.0
        body.append(_text(left - 8, y + height, WORKLOADS[name].title, "end", bold=True))
        for number, peer in enumerate(titles):
            if (name, peer) not in results:
                continue
            middle = median(results[name, peer])
            ratio = middle.value / base
            length = max(1.0, min(ratio, most) * scale)
            color = _COLORS[number % len(_COLORS)]
            body.append(
                f'<rect x="{left}" y="{y:.0f}" width="{length:.0f}" height="{height - 3}"'
                f' fill="{color}"/>'
            )
            label = f"{_number(middle.value)} {WORKLOADS[name].unit}"
            label += f" ({ratio:.0f}×)" if ratio > most else ""
            body.append(_text(left + length + 5, y + height - 4, label))
            y += height
        y += 12
    legend = []
    for number, title in enumerate(titles.values()):
        x, line = left + number % 4 * 175, 8 + number // 4 * 16
        legend.append(
            f'<rect x="{x}" y="{line}" width="10" height="10"'
            f' fill="{_COLORS[number % len(_COLORS)]}"/>'
        )
        legend.append(_text(x + 15, line + 9, title))
    return _svg(width, y, legend + body)


def curve(
    title: str, xLabel: str, yLabel: str, curves: Mapping[str, Sequence[tuple[float, float]]]
) -> str:
    """
    An SVG: values over a logarithmic scale.

    :param curves: points by the curve's name, all with the same places on the scale.
    """
    from math import log10

    width, height, left, bottom = 560.0, 300.0, 60.0, 250.0
    places = [x for x, _ in next(iter(curves.values()))]
    first, last = log10(places[0]), log10(places[-1])
    # A hurried run may have measured nothing.
    top = max(y for points in curves.values() for _, y in points) * 1.15 or 1

    def across(x: float) -> float:
        return left + (log10(x) - first) / (last - first) * 460

    body = [
        _text(left, 24, title, bold=True),
        _text(left, 44, yLabel),
        _text(left + 460, bottom + 38, xLabel, "end"),
        f'<path d="M{left} 50V{bottom}H{left + 470}" fill="none" stroke="#555"/>',
        *(_text(across(x), bottom + 18, f"{x:,.0f}", "middle") for x in places),
    ]
    for number, (name, points) in enumerate(curves.items()):
        color = _COLORS[number % len(_COLORS)]
        spots = [(across(x), bottom - y / top * 200, y) for x, y in points]
        body.append(
            f'<polyline fill="none" stroke="{color}" stroke-width="2" points="'
            + " ".join(f"{x:.0f},{y:.0f}" for x, y, _ in spots)
            + '"/>'
        )
        for x, y, value in spots:
            body.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3.5" fill="{color}"/>')
            body.append(_text(x, y - 9, _number(value), "middle"))
        if len(curves) > 1:
            x = left + 190 + number * 130
            body.append(f'<rect x="{x:.0f}" y="35" width="10" height="10" fill="{color}"/>')
            body.append(_text(x + 15, 44, name))
    return _svg(width, height, body)


def _text(x: float, y: float, text: str, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _svg(width: float, height: float, body: Iterable[str]) -> str:
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
                f' width="{width:.0f}" height="{height:.0f}" font-family="sans-serif"'
                ' font-size="11">'
            ),
            '<rect width="100%" height="100%" fill="white"/>',
            *body,
            "</svg>",
            "",
        ]
    )

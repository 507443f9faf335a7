"""
Draws the state machine of :mod:`twisted_smtpserver.states` as SVG, without any other program.

Only the places of the phases are chosen here. Everything else, the arrows and their labels, comes
from the table of transitions; a phase without a place fails the build.
"""

from __future__ import annotations

from html import escape

from twisted_smtpserver.states import TRANSITIONS, Phase

# The center of each phase's box.
PLACES = {
    Phase.CONNECTED: (330, 40),
    Phase.GREETED: (330, 130),
    Phase.READY: (330, 220),
    Phase.MAIL: (330, 310),
    Phase.RCPT: (330, 400),
    Phase.DATA: (230, 500),
    Phase.CHUNKS: (430, 500),
    Phase.REFUSED: (610, 40),
}
WIDTH, HEIGHT = 720, 540
BOX_WIDTH, BOX_HEIGHT = 130, 38

Point = tuple[float, float]


def svg() -> str:
    """The whole picture."""
    arrows = "\n".join(arrow(*ends, labels) for ends, labels in edges().items())
    boxes = "\n".join(box(phase) for phase in Phase)
    return f"""\
<svg role="img" aria-label="The phases of a conversation and the outcomes between them"
 viewBox="0 0 {WIDTH} {HEIGHT}" style="max-width: {WIDTH}px; width: 100%"
 font-family="sans-serif" font-size="13" fill="none" stroke="currentColor">
<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"
 orient="auto-start-reverse"><path d="M0 0 10 5 0 10z" fill="currentColor" stroke="none"/></marker>
</defs>
{boxes}
{arrows}
</svg>
"""


def edges() -> dict[tuple[Phase, Phase], str]:
    """The arrows, and what is written at each."""
    labels: dict[tuple[Phase, Phase], list[str]] = {}
    for (before, event), after in TRANSITIONS.items():
        labels.setdefault((before, after), []).append(event.name)
    return {ends: ", ".join(names) for ends, names in labels.items()}


def box(phase: Phase) -> str:
    """A phase."""
    x, y = PLACES[phase]
    return (
        f'<rect x="{x - BOX_WIDTH / 2}" y="{y - BOX_HEIGHT / 2}" width="{BOX_WIDTH}"'
        f' height="{BOX_HEIGHT}" rx="8" stroke-width="1.5"/>'
        + text(phase.name, (x, y + 4.5), "middle", "bold")
    )


def arrow(before: Phase, after: Phase, label: str) -> str:
    """From one phase to the next, around those that lie in between."""
    (x1, y1), (x2, y2) = PLACES[before], PLACES[after]
    half, high = BOX_WIDTH / 2, BOX_HEIGHT / 2
    if before is after:
        start, end = (x1 + half, y1 - 6), (x1 + half, y1 + 6)
        path = curve(start, (x1 + half + 40, y1 - 18), (x1 + half + 40, y1 + 18), end)
        return path + text(label, (x1 + half + 36, y1 + 4), "start")
    if y1 == y2:
        start, end = (x1 + half, y1), (x2 - half, y2)
        return line(start, end) + text(label, ((start[0] + end[0]) / 2, y1 - 7), "middle")
    if after is Phase.REFUSED:
        start, end = (x1 + half, y1 - 12), (x2, y2 + high)
        where = ((start[0] + end[0]) / 2 + 8, (start[1] + end[1]) / 2 + 14)
        return line(start, end) + text(label, where, "start")
    if y2 > y1:
        start, end = (x1 + (x2 - x1) / 3, y1 + high), (x2, y2 - high)
        side = -1 if x2 < x1 else 1
        where = ((start[0] + end[0]) / 2 + side * 8, (start[1] + end[1]) / 2 + 4)
        return line(start, end) + text(label, where, "end" if side < 0 else "start")
    # Back up: on the left, or on the right for what stands there; the further, the wider.
    side = 1 if x1 > x2 else -1
    bulge = side * (y1 - y2) * 0.75
    start, end = (x1 + side * half, y1 - 12), (x2 + side * half, y2 + 14)
    outer = (start[0] if side * (start[0] - end[0]) > 0 else end[0]) + bulge
    path = curve(start, (outer, start[1]), (outer, end[1]), end)
    middle = ((start[0] + end[0] + 6 * outer) / 8, (start[1] + end[1]) / 2)
    return path + text(label, (middle[0] - side * 7, middle[1] + 4), "end" if side > 0 else "start")


def line(start: Point, end: Point) -> str:
    """A straight arrow."""
    return path(f"M{start[0]:g} {start[1]:g}L{end[0]:g} {end[1]:g}")


def curve(start: Point, first: Point, second: Point, end: Point) -> str:
    """A bent arrow."""
    points = " ".join(f"{x:g} {y:g}" for x, y in (first, second, end))
    return path(f"M{start[0]:g} {start[1]:g}C{points}")


def path(d: str) -> str:
    """An arrow."""
    return f'<path d="{d}" marker-end="url(#head)"/>'


def text(content: str, place: Point, anchor: str, weight: str = "normal") -> str:
    """Some words."""
    return (
        f'<text x="{place[0]:g}" y="{place[1]:g}" text-anchor="{anchor}" font-weight="{weight}"'
        f' fill="currentColor" stroke="none">{escape(content)}</text>\n'
    )

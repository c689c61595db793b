"""What is painted on covers: palettes, and designs that say where title and author stand. PURE.

Law: a design is drawn from its palette and a few bytes of chance, and keeps clear of its lettering.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

WIDTH, HEIGHT = 200, 300
TILE = 50


@dataclass(frozen=True)
class Palette:
    """Colours that go together: the ground, the lettering on it, and three for shapes."""

    ground: str
    ink: str
    one: str
    two: str
    three: str


@dataclass(frozen=True)
class Place:
    """Where a text stands, and in which colour."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    centred: bool = False


@dataclass(frozen=True)
class Canvas:
    """A painted cover without its lettering; `middle`: the title stands in the middle of its place,
    not at its top.
    """

    shapes: str
    title: Place
    author: Place
    topic: Place | None
    middle: bool = False


PALETTES = (
    Palette("#1f3a4d", "#f6efe0", "#d98f4e", "#e9c98f", "#8fb0b5"),
    Palette("#f3e8d2", "#2c2a26", "#b5543c", "#e0a458", "#3f6f6a"),
    Palette("#2f4a3c", "#f4ecd8", "#a9c29b", "#dcc98a", "#c77b58"),
    Palette("#e4e1d5", "#23303f", "#6f8fa6", "#c9a27c", "#8f5d5d"),
    Palette("#5b2e35", "#f7eadb", "#d3a17e", "#9c5a58", "#e7cfa9"),
    Palette("#efe0d6", "#3a2a3a", "#a06a7f", "#d8a48f", "#6b6f91"),
    Palette("#27304f", "#f1ecdf", "#e3b36a", "#7d88b5", "#c06c6c"),
    Palette("#dbe6df", "#1c3a36", "#3f7f75", "#e0b56b", "#92b8a5"),
    Palette("#3c3a36", "#f3ead6", "#c9a45c", "#8a8374", "#b8674b"),
    Palette("#f5ead0", "#40301c", "#c8862f", "#7a8c5a", "#b4593a"),
)


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{colour}"/>'


def _ground(colour: str) -> str:
    return f'<path fill="{colour}" d="M0 0h{WIDTH}v{HEIGHT}H0z"/>'


def _disc(x: float, y: float, radius: float, colour: str) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{colour}"/>'


def _panel(palette: Palette, chance: bytes) -> Canvas:
    """Three bands, as paperbacks had them; the title on the light one in the middle."""
    paper, ink = "#f7f1e3", "#2a2722"
    band = (palette.one, palette.three)[chance[0] % 2]
    shapes = [
        _ground(band),
        _rect(0, 84, WIDTH, 132, paper),
        f'<path fill="none" stroke="{band}" d="M14 194h172M14 92h172"/>',
        _disc(100, 42, 19, paper),
        f'<path fill="{band}" d="M88 36q7-4 12 1q5-5 12-1v12q-7-3-12 1q-5-4-12-1z"/>',
    ]
    return Canvas(
        "".join(shapes),
        title=Place(16, 110, 168, 82, ink, centred=True),
        author=Place(16, 197, 168, 17, ink, centred=True),
        topic=Place(16, 96, 168, 12, ink, centred=True),
        middle=True,
    )


def _hills(palette: Palette, chance: bytes) -> Canvas:
    """A sun over three hills."""
    sun = 40 + chance[0] % 120
    layers = []
    for index, colour in enumerate((palette.three, palette.one, palette.two)):
        y = 196 + index * 30
        bend, other = y - 44 + chance[1 + index] % 40, y + 26 - chance[4 + index] % 40
        layers.append(
            f'<path fill="{colour}" d="M0 {y}Q55 {bend} 105 {y - 4}T200 {other}V300H0z"/>'
        )
    return Canvas(
        _ground(palette.ground) + _disc(sun, 186, 30, palette.two) + "".join(layers),
        title=Place(16, 32, 168, 104, palette.ink),
        author=Place(16, 140, 168, 16, palette.ink),
        topic=Place(16, 14, 168, 12, palette.ink),
    )


def _arcs(palette: Palette, chance: bytes) -> Canvas:
    """Rings around a lower corner."""
    x = WIDTH * (chance[0] % 2)
    colours = (palette.one, palette.ground, palette.two, palette.ground, palette.three)
    rings = [_disc(x, HEIGHT, 146 - 27 * index, colour) for index, colour in enumerate(colours)]
    return Canvas(
        _ground(palette.ground) + "".join(rings),
        title=Place(16, 34, 168, 92, palette.ink),
        author=Place(16, 132, 168, 16, palette.ink),
        topic=Place(16, 14, 168, 12, palette.ink),
    )


def _tiles(palette: Palette, chance: bytes) -> Canvas:
    """Quarters of circles, each turned by chance."""
    quarters = ("v50a50 50 0 0 0 50-50z", "h50v50a50 50 0 0 1-50-50z",
                "m50 0v50h-50a50 50 0 0 0 50-50z", "m0 0a50 50 0 0 0 50 50h-50z")  # fmt: skip
    drawn: dict[str, str] = {palette.one: "", palette.two: "", palette.three: ""}
    for index in range(12):
        turn = chance[index % len(chance)]
        x, y = TILE * (index % 4), 150 + TILE * (index // 4)
        colour = list(drawn)[turn // 4 % 3]
        drawn[colour] += f"M{x} {y}{quarters[turn % 4]}"
    paths = [f'<path fill="{colour}" d="{path}"/>' for colour, path in drawn.items() if path]
    return Canvas(
        _ground(palette.ground) + "".join(paths),
        title=Place(16, 32, 168, 90, palette.ink),
        author=Place(16, 126, 168, 16, palette.ink),
        topic=Place(16, 14, 168, 12, palette.ink),
    )


def _frame(palette: Palette, chance: bytes) -> Canvas:
    """Cloth with a double line around, and a small ornament."""
    ornament = (
        "M100 214l9 13-9 13-9-13z", "M86 227a14 14 0 0 1 28 0zm0 4h28v3h-28z",
        "M100 212l4 11 11 4-11 4-4 11-4-11-11-4 11-4z",
    )[chance[0] % 3]  # fmt: skip
    line = palette.two
    shapes = (
        f'<path fill="none" stroke="{line}" stroke-width="3" d="M10 10h180v280H10z"/>'
        f'<path fill="none" stroke="{line}" d="M16 16h168v268H16z"/>'
        f'<path fill="{line}" d="{ornament}"/>'
    )
    return Canvas(
        _ground(palette.ground) + shapes,
        title=Place(26, 48, 148, 150, palette.ink, centred=True),
        author=Place(26, 252, 148, 26, palette.ink, centred=True),
        topic=Place(26, 26, 148, 12, palette.ink, centred=True),
        middle=True,
    )


def _spines(palette: Palette, chance: bytes) -> Canvas:
    """Books on a shelf, from behind."""
    colours, x, shapes = (palette.one, palette.three, palette.two), 12, []
    for index in range(8):
        width, height = 14 + chance[index] % 13, 62 + chance[index + 8] % 56
        if x + width > WIDTH - 10:
            break
        colour = colours[(index + chance[0]) % 3]
        shapes.append(_rect(x, 278 - height, width, height, colour))
        shapes.append(_rect(x, 290 - height, width, 3, palette.ground))
        x += width + 2
    shelf = _rect(0, 278, WIDTH, 5, palette.ink)
    return Canvas(
        _ground(palette.ground) + "".join(shapes) + shelf,
        title=Place(16, 32, 168, 100, palette.ink),
        author=Place(16, 136, 168, 16, palette.ink),
        topic=Place(16, 14, 168, 12, palette.ink),
    )


def _moon(palette: Palette, chance: bytes) -> Canvas:
    """A crescent and its reflection."""
    side = 22 if chance[0] % 2 else -22
    waves = "".join(f"M{60 - 9 * index} {124 + 9 * index}h{80 + 18 * index}" for index in range(3))
    shapes = (
        _disc(100, 74, 44, palette.two)
        + _disc(100 + side, 66, 38, palette.ground)
        + f'<path fill="none" stroke="{palette.one}" stroke-width="3" d="{waves}"/>'
    )
    return Canvas(
        _ground(palette.ground) + shapes,
        title=Place(16, 158, 168, 100, palette.ink, centred=True),
        author=Place(16, 264, 168, 26, palette.ink, centred=True),
        topic=Place(16, 12, 168, 12, palette.ink, centred=True),
    )


Design = Callable[[Palette, bytes], Canvas]
DESIGNS: tuple[Design, ...] = (_panel, _hills, _arcs, _tiles, _frame, _spines, _moon)

"""Colours, backgrounds, textures and styles of the tabletop world (linear mixing in sRGB values, range [0, 1])."""

from __future__ import annotations

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.12, 0.14),
    "orange": (0.98, 0.52, 0.06),
    "yellow": (0.97, 0.85, 0.10),
    "green": (0.13, 0.62, 0.22),
    "cyan": (0.08, 0.72, 0.78),
    "blue": (0.12, 0.27, 0.85),
    "purple": (0.50, 0.16, 0.70),
    "pink": (0.98, 0.48, 0.74),
}

# Backgrounds are pale, so that every object colour stands out from each of them.
BACKGROUNDS: dict[str, tuple[float, float, float]] = {
    "white": (0.96, 0.96, 0.95),
    "cream": (0.96, 0.91, 0.79),
    "pale blue": (0.77, 0.87, 0.96),
    "mint": (0.79, 0.92, 0.82),
    "grey": (0.69, 0.70, 0.72),
    "lilac": (0.87, 0.81, 0.93),
}

TEXTURES: tuple[str, ...] = ("plain", "striped", "dotted", "checked", "shaded")
STYLES: tuple[str, ...] = ("flat", "outline", "night", "snow")

# Paints of details that do not carry the object's colour (eyes, doors, trunks, spots).
INK: tuple[float, float, float] = (0.22, 0.18, 0.20)
BONE: tuple[float, float, float] = (0.93, 0.90, 0.84)
STONE: tuple[float, float, float] = (0.58, 0.55, 0.53)
SNOW: tuple[float, float, float] = (0.99, 0.99, 1.0)

TEXTURE_CONTRAST = 0.07  # darkest texture value is (1 - contrast) times the background
STROKE = 0.17  # width of the outline style's line, in units of the object's half size

# At night every paint is scaled, and backgrounds sink to a dark blue.
NIGHT_GAIN = 0.78
NIGHT_BACKGROUND_GAIN = 0.14
NIGHT_TINT: tuple[float, float, float] = (0.02, 0.03, 0.12)


def paint(rgb: tuple[float, float, float], style: str) -> tuple[float, float, float]:
    """The colour that a paint takes in a style. ``rgb`` in [0, 1] -> same."""
    if style == "night":
        r, g, b = rgb
        return (r * NIGHT_GAIN, g * NIGHT_GAIN, b * NIGHT_GAIN)
    return rgb


def backdrop(background: str, style: str) -> tuple[float, float, float]:
    """The base colour of a background in a style (before texture)."""
    r, g, b = BACKGROUNDS[background]
    if style == "night":
        gain, (tr, tg, tb) = NIGHT_BACKGROUND_GAIN, NIGHT_TINT
        return (r * gain + tr, g * gain + tg, b * gain + tb)
    return (r, g, b)

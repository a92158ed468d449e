"""Digits as people draw them: strokes of several handwritings.

Each digit is a list of strokes. A stroke is a text of points "x,y" in a square of 100 x 100,
through which the pen moves on a smooth curve; "!" marks a corner.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Stroke = list[tuple[float, float]]
Drawing = list[Stroke]

HANDWRITINGS: dict[str, list[list[str]]] = {
    "0": [
        ["52,8 30,18 20,50 30,82 50,92 70,82 80,50 70,18 50,8"],
        ["60,12 38,14 24,38 22,64 36,88 58,90 74,70 78,42 68,16 54,10 42,16"],
        ["40,10 20,35 22,70 45,92 70,80 80,52 72,22 50,8 36,12"],
    ],
    "1": [
        ["50,6 50,94"],
        ["32,28! 54,8! 54,92"],
        ["62,6 52,50 42,94"],
        ["30,26! 50,8! 50,92", "28,92 72,92"],
    ],
    "2": [
        ["24,28 34,12 54,8 72,20 72,38 54,62 22,92! 80,92"],
        ["22,30 36,10 60,10 72,28 62,52 40,74 24,86 34,78 48,86 64,92 80,86"],
        ["26,22 48,8 70,18 70,40 46,68 20,90! 50,88 82,90"],
    ],
    "3": [
        ["26,16 46,8 68,18 66,36 44,46! 68,54 74,74 56,92 34,90 22,80"],
        ["24,10! 72,10! 44,42! 66,48 76,66 66,88 42,94 22,82"],
        ["28,22 44,8 64,14 66,32 46,46 40,48 52,48 74,62 68,86 42,94 24,80"],
    ],
    "4": [
        ["34,8 22,56! 80,56", "62,30 62,94"],
        ["62,92! 62,8! 18,64! 82,64"],
        ["28,10 26,48 40,54 74,48", "72,8 70,50 66,94"],
    ],
    "5": [
        ["74,10! 32,10! 28,44! 50,38 72,50 74,74 54,92 28,86"],
        ["34,12 30,44! 54,40 74,56 70,82 46,94 24,82", "34,12 74,10"],
        ["70,8! 36,12! 30,46! 48,42 68,54 70,76 52,92 22,90"],
    ],
    "6": [
        ["66,8 40,28 26,58 32,84 52,92 70,80 68,60 50,52 30,64"],
        ["56,6 34,36 26,68 38,92 62,90 72,70 58,56 36,62 28,74"],
        ["62,10 38,22 24,54 30,84 54,94 74,78 66,56 44,54 28,70"],
    ],
    "7": [
        ["22,12! 78,12! 58,50 46,92"],
        ["22,14! 76,10! 46,92"],
        ["24,14! 76,12! 56,48 44,94", "34,52 72,48"],
    ],
    "8": [
        ["68,20 50,8 32,20 36,38 62,56 72,76 52,92 30,80 36,58 62,40 68,20"],
        ["50,48 32,34 36,14 58,8 68,24 56,44 34,62 30,82 50,94 70,82 66,62 50,48"],
        ["72,16 48,8 32,24 46,44 68,64 64,88 40,92 28,74 46,52 68,34 72,16"],
    ],
    "9": [
        ["70,28 52,8 32,18 30,40 48,52 68,40 72,24! 70,60 66,94"],
        ["70,20 50,8 32,26 38,48 60,46 72,22! 72,58 58,88 36,92"],
        ["66,16 44,10 30,30 40,50 62,44 70,20 66,56 56,94"],
    ],
}


def drawing(digit: str, handwriting: int = 0) -> Drawing:
    """A digit in one of its handwritings, with points of 0..1 and not far from each other."""
    return [_stroke(text) for text in HANDWRITINGS[digit][handwriting]]


def variants(count: int, seed: int = 0) -> list[tuple[str, Drawing]]:
    """Digits in all handwritings in turn, slanted, stretched and wobbling, anywhere on the pad."""
    found = []
    for number in range(count):
        digit = str(number % 10)
        styles = HANDWRITINGS[digit]
        drawn = drawing(digit, number // 10 % len(styles))
        found.append((digit, _varied(drawn, np.random.default_rng([seed, number]))))
    return found


def on_paper(drawn: Drawing, seed: int, *, side: int = 320) -> Image.Image:
    """A drawing in dark ink as a photograph: on gray paper, lit from one side, with some noise."""
    random = np.random.default_rng(seed)
    ink = Image.new("L", (side, side))
    pen = ImageDraw.Draw(ink)
    width = round(0.035 * side)
    for stroke in drawn:
        points = [(side * x, side * y) for x, y in stroke]
        pen.line(points, fill=255, width=width, joint="curve")
        for x, y in points:
            pen.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=255)
    opacity = np.asarray(ink.filter(ImageFilter.GaussianBlur(1))) / 255
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.indices((side, side)) / side - 0.5
    paper = 190 + 60 * (np.cos(angle) * x + np.sin(angle) * y)
    seen = paper * (1 - opacity) + 50 * opacity + random.normal(0, 4, paper.shape)
    return Image.fromarray(seen.clip(0, 255).astype(np.uint8))


SURROUNDINGS = ("shadow", "finger", "table", "dark table", "white table")
"""What can be seen in a photograph besides paper that is evenly lit."""


def on_a_table(photograph: Image.Image, seen: str, seed: int) -> Image.Image:
    """A photograph of paper, with what else can be seen in it.

    Args:
        photograph: gray.
        seen: one of `SURROUNDINGS`: a shadow with a sharp edge over a part of the paper, or that of
            a finger; a table beyond one edge of it, or beyond all four.
        seed: of where it is.
    """
    random = np.random.default_rng([seed, SURROUNDINGS.index(seen)])
    is_shadow = seen in ("shadow", "finger")
    turn = random.uniform(0, 2 * np.pi) if is_shadow else random.uniform(-0.08, 0.08)
    margin = 0 if is_shadow else 0.25
    side = round(photograph.width * (1 + margin))
    values = np.pad(np.asarray(photograph, np.float64), (side - photograph.width) // 2, mode="edge")
    y, x = np.indices(values.shape) / len(values) - 0.5

    def beyond(angle: float, distance: float) -> np.ndarray:
        away = np.cos(angle) * x + np.sin(angle) * y - distance
        return 1 / (1 + np.exp(np.clip(-400 * away, -50, 50)))

    if seen == "shadow":
        values *= 1 - random.uniform(0.25, 0.5) * beyond(turn, random.uniform(-0.2, 0.2))
    elif seen == "finger":
        wide = random.uniform(0.06, 0.1)
        across = turn + np.pi / 2
        finger = beyond(turn, random.uniform(0, 0.2))
        finger *= beyond(across, -wide) * beyond(across + np.pi, -wide)
        values *= 1 - random.uniform(0.25, 0.5) * finger
    else:
        color = {"table": 80, "dark table": 40, "white table": 245}[seen]
        values *= 0.8 if seen == "white table" else 1
        for quarter in range(1 if seen == "table" else 4):
            outside = beyond(turn + quarter * np.pi / 2, random.uniform(0.4, 0.44))
            values = values * (1 - outside) + color * outside
    noise = random.normal(0, 3, values.shape)
    return Image.fromarray((values + noise).clip(0, 255).astype(np.uint8))


def _varied(drawn: Drawing, random: np.random.Generator) -> Drawing:
    slant, turn = random.uniform(-0.25, 0.3), random.uniform(-0.12, 0.12)
    stretch, size = random.uniform(0.8, 1.2), random.uniform(0.35, 0.85)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    change = turned @ np.array([[stretch, -slant], [0, 1]])
    place = 0.5 + random.uniform(-1, 1, 2) * (1 - size) * 0.4
    strokes = []
    for stroke in drawn:
        points = (np.array(stroke) - 0.5) @ change.T
        steps = random.normal(0, 0.01, points.shape)
        smooth = np.stack([np.convolve(axis, np.ones(5) / 2.2, "same") for axis in steps.T], 1)
        points = (points + smooth) * size + place
        strokes.append([(float(x), float(y)) for x, y in np.clip(points, 0.02, 0.98)])
    return strokes


def _stroke(text: str) -> Stroke:
    words = text.split()
    points = np.array([[float(n) for n in word.rstrip("!").split(",")] for word in words]) / 100
    corners = {place for place, word in enumerate(words) if word.endswith("!")}
    found: list[np.ndarray] = []
    ends = sorted({0, *corners, len(words) - 1})
    for first, last in pairwise(ends):
        found.extend(_smooth(points[first : last + 1]))
    return [(float(x), float(y)) for x, y in [*found, points[-1]]]


def _smooth(points: np.ndarray) -> list[np.ndarray]:
    """Points on a curve through others (Catmull and Rom), without its end."""
    around = np.concatenate([points[:1], points, points[-1:]])
    found = []
    for a, b, c, d in zip(around, around[1:], around[2:], around[3:], strict=False):
        steps = max(2, round(float(np.hypot(*(c - b))) / 0.04))
        for t in np.arange(steps) / steps:
            curve = 2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
            found.append((curve + (3 * b - a - 3 * c + d) * t**3) / 2)
    return found

"""Draw the street of the demo: a made picture, since photographs of streets are seldom free.

python tools/draw_street.py PICTURE
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 1440, 1080  # drawn three times as large as it is stored
HORIZON, VANISHING = 500, 690
Point = tuple[float, float]


class Street:
    """A canvas with a road in perspective: places are (metres aside, metres up, metres ahead)."""

    def __init__(self, seed: int) -> None:
        self.draw_random = np.random.default_rng(seed)
        self.canvas = Image.new("RGB", (WIDTH, HEIGHT), (186, 203, 222))
        self.pen = ImageDraw.Draw(self.canvas)

    def place(self, aside: float, up: float, ahead: float) -> Point:
        """Where a point stands in the picture; the eye is 1.4 m above the road."""
        scale = 1150 / ahead
        return VANISHING + aside * scale, HORIZON + (1.4 - up) * scale

    def face(self, corners: list[tuple[float, float, float]], color: tuple[int, int, int]) -> None:
        """A flat surface."""
        self.pen.polygon([self.place(*corner) for corner in corners], fill=color)

    def sky(self) -> None:
        """Brighter towards the horizon, with soft clouds."""
        rows = np.linspace(0, 1, HORIZON + 60)[:, None, None]
        top, low = np.array([120, 160, 208]), np.array([216, 224, 232])
        pixels = (top + (low - top) * rows**0.8).repeat(WIDTH, axis=1)
        clouds = self.noise((HORIZON + 60, WIDTH), 160)[..., None]
        pixels = pixels + np.clip(clouds - 0.3, 0, 1) * (245 - pixels) * 0.9
        self.canvas.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), (0, 0))

    def noise(self, shape: tuple[int, int], size: int) -> np.ndarray:
        """Smooth noise of a grain, about -1 to 1."""
        small = self.draw_random.normal(size=(shape[0] // size + 3, shape[1] // size + 3))
        grown = Image.fromarray(small.astype(np.float32)).resize(
            shape[::-1], Image.Resampling.BICUBIC
        )
        return np.asarray(grown)

    def ground(self) -> None:
        """Road, kerbs, pavements and the dashes of the middle."""
        far, near = 120.0, 1.6
        for left, right, color in [
            (-60, 60, (112, 110, 104)),
            (-8.2, 8.2, (150, 146, 140)),
            (-4.6, 4.6, (92, 92, 96)),
        ]:
            self.face([(left, 0, near), (left, 0, far), (right, 0, far), (right, 0, near)], color)
        for side in (-1, 1):
            edge = [(side * 4.5, 0, near), (side * 4.5, 0, far), (side * 4.75, 0, far)]
            self.face([*edge, (side * 4.75, 0, near)], (176, 172, 166))
            line = [(side * 4.1, 0, near), (side * 4.1, 0, far), (side * 4.2, 0, far)]
            self.face([*line, (side * 4.2, 0, near)], (202, 190, 110))
        for ahead in np.arange(2, 100, 6):
            dash = [(-0.07, 0, ahead), (-0.07, 0, ahead + 3), (0.07, 0, ahead + 3)]
            self.face([*dash, (0.07, 0, ahead)], (214, 214, 210))

    def house(self, side: int, start: float, length: float, height: float, color: tuple) -> None:
        """A wall along the street with rows of windows, and its front."""
        wall, end = side * 9.0, start + length
        shade = tuple(int(c * (0.78 if side > 0 else 0.95)) for c in color)
        self.face(
            [(wall, 0, start), (wall, height, start), (wall, height, end), (wall, 0, end)], shade
        )
        front = tuple(int(c * 0.62) for c in color)
        far = side * 30.0
        corners = [(wall, 0, start), (wall, height, start), (far, height, start), (far, 0, start)]
        self.face(corners, front)
        for floor in np.arange(0.9, height - 1.6, 3.1):
            for ahead in np.arange(start + 0.9, end - 1.5, 2.6):
                bottom, top = (0.3, 2.7) if floor < 1 else (floor, floor + 1.7)
                pane = [(wall, bottom, ahead), (wall, top, ahead), (wall, top, ahead + 1.3)]
                tone = int(self.draw_random.integers(50, 105))
                self.face([*pane, (wall, bottom, ahead + 1.3)], (tone, tone + 8, tone + 18))
        roof = [(wall, height, start), (wall, height + 0.35, start), (wall, height + 0.35, end)]
        self.face([*roof, (wall, height, end)], (96, 84, 78))

    def tree(self, aside: float, ahead: float, height: float) -> None:
        """A trunk and a crown of many leaves."""
        trunk = [(aside - 0.16, 0, ahead), (aside - 0.1, height * 0.55, ahead)]
        self.face(
            [*trunk, (aside + 0.1, height * 0.55, ahead), (aside + 0.16, 0, ahead)], (62, 50, 42)
        )
        for _ in range(900):
            dx, dy = self.draw_random.normal(0, 0.22, 2) * (height * 0.62, height * 0.55)
            x, y = self.place(aside + dx, height * 0.72 + dy, ahead)
            radius = self.draw_random.uniform(0.1, 0.34) * 1150 / ahead
            light = self.draw_random.uniform(0.55, 1.15) + 0.12 * dy / height
            green = tuple(int(c * light) for c in (68, 92, 46))
            self.pen.ellipse(
                [x - radius, y - radius * 0.7, x + radius, y + radius * 0.7], fill=green
            )

    def pole(self, aside: float, ahead: float, height: float) -> None:
        """A lamp post."""
        low, high = self.place(aside, 0, ahead), self.place(aside, height, ahead)
        width = max(3, int(0.15 * 1150 / ahead))
        self.pen.line([low, high], fill=(92, 94, 92), width=width)
        arm = self.place(aside - np.sign(aside) * 1.2, height + 0.1, ahead)
        self.pen.line([high, arm], fill=(92, 94, 92), width=max(2, width // 2))

    def sign(self, aside: float, ahead: float) -> None:
        """A round road sign."""
        self.pole_only(aside, ahead, 2.2)
        x, y = self.place(aside, 2.5, ahead)
        for radius, color in ((0.36, (190, 32, 36)), (0.26, (236, 236, 232))):
            r = radius * 1150 / ahead
            self.pen.ellipse([x - r, y - r, x + r, y + r], fill=color)

    def pole_only(self, aside: float, ahead: float, height: float) -> None:
        """A thin post."""
        ends = [self.place(aside, 0, ahead), self.place(aside, height, ahead)]
        self.pen.line(ends, fill=(120, 122, 122), width=max(2, int(0.08 * 1150 / ahead)))

    def car(self, aside: float, ahead: float, color: tuple, *, toward: bool = False) -> None:
        """A car from behind (or from ahead), with its shadow, wheels, panes and lights."""
        scale = 1150 / ahead
        x, y = self.place(aside, 0, ahead)

        def box(left: float, low: float, right: float, high: float, fill: tuple, r: float) -> None:
            corners = [x + left * scale, y - high * scale, x + right * scale, y - low * scale]
            self.pen.rounded_rectangle(corners, radius=r * scale, fill=fill)

        self.pen.ellipse(
            [x - scale, y - 0.14 * scale, x + scale, y + 0.16 * scale], fill=(44, 44, 46)
        )
        for left in (-0.82, 0.54):
            box(left, -0.02, left + 0.28, 0.5, (24, 24, 26), 0.06)
        dark = tuple(int(c * 0.72) for c in color)
        self.pen.polygon(
            [
                (x + dx * scale, y - dy * scale)
                for dx, dy in [(-0.8, 0.85), (-0.6, 1.45), (0.6, 1.45), (0.8, 0.85)]
            ],
            fill=dark,
        )
        self.pen.polygon(
            [
                (x + dx * scale, y - dy * scale)
                for dx, dy in [(-0.68, 0.9), (-0.53, 1.38), (0.53, 1.38), (0.68, 0.9)]
            ],
            fill=(58, 68, 78),
        )
        box(-0.9, 0.22, 0.9, 0.95, color, 0.12)
        box(-0.86, 0.22, 0.86, 0.42, dark, 0.08)
        lamp = (226, 226, 214) if toward else (168, 30, 28)
        for left in (-0.86, 0.62):
            box(left, 0.62, left + 0.24, 0.8, lamp, 0.04)
        box(-0.26, 0.44, 0.26, 0.56, (222, 206, 92) if not toward else (230, 230, 226), 0.01)

    def person(self, aside: float, ahead: float, coat: tuple, trousers: tuple) -> None:
        """Somebody who walks."""
        scale = 1150 / ahead
        x, y = self.place(aside, 0, ahead)
        for foot in (-0.17, 0.12):
            self.pen.polygon(
                [
                    (x - 0.12 * scale, y - 0.85 * scale),
                    (x + 0.12 * scale, y - 0.85 * scale),
                    (x + (foot + 0.12) * scale, y),
                    (x + foot * scale, y),
                ],
                fill=trousers,
            )
        body = [x - 0.23 * scale, y - 1.48 * scale, x + 0.23 * scale, y - 0.75 * scale]
        self.pen.rounded_rectangle(body, radius=0.12 * scale, fill=coat)
        head = [x - 0.11 * scale, y - 1.76 * scale, x + 0.11 * scale, y - 1.47 * scale]
        self.pen.ellipse(head, fill=(196, 158, 134))
        hair = [x - 0.12 * scale, y - 1.79 * scale, x + 0.12 * scale, y - 1.64 * scale]
        self.pen.ellipse(hair, fill=(58, 44, 36))

    def photograph(self) -> Image.Image:
        """Rough surfaces, a soft lens and the grain of a camera."""
        pixels = np.asarray(self.canvas).astype(np.float32)
        below = np.arange(HEIGHT)[:, None] > HORIZON
        rough = 0.035 * self.noise((HEIGHT, WIDTH), 5) + 0.05 * self.noise((HEIGHT, WIDTH), 60)
        pixels *= 1 + (rough * np.where(below, 1.0, 0.5))[..., None]
        soft = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).filter(
            ImageFilter.GaussianBlur(2)
        )
        small = soft.resize((WIDTH // 3, HEIGHT // 3), Image.Resampling.LANCZOS)
        grain = self.draw_random.normal(0, 3.0, (HEIGHT // 3, WIDTH // 3, 3))
        return Image.fromarray((np.asarray(small) + grain).clip(0, 255).astype(np.uint8))


def draw(seed: int = 7) -> Image.Image:
    """The whole scene, from far to near."""
    street = Street(seed)
    street.sky()
    street.ground()
    rows = [
        (-1, 62, 40, 13, (150, 120, 104)),
        (1, 58, 44, 11, (168, 158, 138)),
        (-1, 40, 22, 10, (186, 172, 146)),
        (1, 36, 22, 14, (150, 108, 88)),
        (-1, 24, 16, 12, (160, 104, 84)),
        (1, 18, 18, 10, (190, 178, 156)),
        (-1, 6, 18, 10, (178, 162, 140)),
    ]
    for side, start, length, height, color in rows:
        street.house(side, start, length, height, color)
    street.tree(7.2, 46, 8)
    street.tree(-7.0, 34, 7.5)
    street.pole(-5.4, 40, 7)
    street.car(-1.9, 38, (70, 84, 116), toward=True)
    street.person(-6.2, 27, (52, 60, 92), (40, 40, 48))
    street.car(3.4, 30, (196, 196, 194))
    street.tree(6.8, 24, 7)
    street.pole(5.3, 20, 7)
    street.car(3.5, 19, (148, 34, 36))
    street.sign(5.0, 14)
    street.car(-2.0, 17, (36, 48, 74), toward=True)
    street.person(6.3, 13, (120, 44, 42), (38, 44, 62))
    street.person(7.0, 12.6, (62, 70, 60), (52, 50, 50))
    street.car(3.4, 11.5, (62, 84, 112))
    street.tree(-6.6, 13, 7.5)
    street.pole(-5.2, 10, 7)
    return street.photograph()


if __name__ == "__main__":
    draw().save(Path(sys.argv[1]))

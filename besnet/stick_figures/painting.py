"""Joints in space → polygons → pixels.

The outlines of all limbs at all frames are computed at once; painting a frame is then a list of polygon calls on a
canvas of twice the size, whose reduction smooths the edges.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from besnet.stick_figures.actions import BOX_HALF
from besnet.stick_figures.body import Colour, Person
from besnet.stick_figures.camera import Camera
from besnet.stick_figures.shapes import Tone, capsule, cuboid, shade


class Figure:
    """One person moving over T frames, ready to be painted."""

    def __init__(self, person: Person, joints: dict[str, np.ndarray], camera: Camera, tone: "Tone", box: bool) -> None:
        self._camera, self._tone = camera, tone
        self._flat = {name: camera.project(joint) for name, joint in joints.items()}
        self._groups: list[tuple[np.ndarray, list[tuple[Colour, list]]]] = []
        self._edge = max(1.2, 0.009 * camera.scale)
        self._limbs(person)
        self._head(person, joints, camera)
        if box:
            self._box(joints["box"], camera)
        self._order = np.argsort(np.stack([depth for depth, _ in self._groups]), axis=0).T.tolist()
        self._shadow(person, joints, camera)

    def _group(self, depth: np.ndarray, limbs: list[tuple[str | np.ndarray, str | np.ndarray, float, float, Colour]],
               lit: bool = True) -> None:  # fmt: skip
        """Limbs that are painted together: outlines first, then the fillings, then the light sides."""
        size = self._camera.scale
        outlines, fillings, lights = [], [], []
        for start, end, radius_a, radius_b, colour in limbs:
            a, b = (self._flat[p][:, :2] if isinstance(p, str) else p for p in (start, end))
            ra, rb = radius_a * size, radius_b * size
            ink = self._tone(shade(colour, 0.5))
            outlines.append((ink, self._lists(capsule(a, b, ra + self._edge, rb + self._edge))))
            fillings.append((self._tone(colour), self._lists(capsule(a, b, ra, rb))))
            if not lit:
                continue
            toward = np.array([-np.sign(self._camera.light[0]) * 0.36, -0.3])
            shift = toward * min(ra, rb)
            lights.append(
                (self._tone(shade(colour, 1.22)), self._lists(capsule(a + shift, b + shift, ra * 0.42, rb * 0.42)))
            )
        self._groups.append((depth, outlines + fillings + lights))

    @staticmethod
    def _lists(polygons: np.ndarray) -> list[list[float]]:
        return polygons.reshape(len(polygons), -1).tolist()

    def _limbs(self, person: Person) -> None:
        flat, stout = self._flat, person.stout
        sleeve = person.shirt if person.long_sleeves else person.skin
        shin = person.trousers if person.long_trousers else person.skin
        for side in "01":
            depth = (flat["knee" + side] + flat["hip" + side] + flat["ankle" + side])[:, 2] / 3 - 0.06
            self._group(depth, [
                ("ankle" + side, "toe" + side, 0.026, 0.02, person.shoes),
                ("knee" + side, "ankle" + side, 0.036 * stout, 0.026 * stout, shin),
                ("hip" + side, "knee" + side, 0.052 * stout, 0.039 * stout, person.trousers),
            ])  # fmt: skip
            depth = (flat["elbow" + side][:, 2] + flat["hand" + side][:, 2] + 0.5 * flat["shoulder" + side][:, 2]) / 2.5
            hand = flat["hand" + side][:, :2]
            self._group(depth + 0.01, [
                (hand, hand + 0.1, 0.029, 0.029, person.skin),
                ("elbow" + side, "hand" + side, 0.028 * stout, 0.022 * stout, sleeve),
                ("shoulder" + side, "elbow" + side, 0.037 * stout, 0.029 * stout, person.shirt),
            ])  # fmt: skip
        depth = 0.5 * (flat["pelvis"] + flat["neck"])[:, 2]
        chest = 0.3 * flat["pelvis"][:, :2] + 0.7 * flat["neck"][:, :2]
        waist = 0.82 * flat["pelvis"][:, :2] + 0.18 * flat["neck"][:, :2]
        wide = 0.05 * stout
        hem0, hem1 = (waist + 0.75 * (flat["hip" + side] - flat["pelvis"])[:, :2] for side in "01")
        limbs: list[tuple[str | np.ndarray, str | np.ndarray, float, float, Colour]] = [
            ("hip0", "hip1", wide, wide, person.trousers),
            ("neck", "head", 0.03, 0.03, person.skin),
            ("shoulder0", hem0, 0.04 * stout, wide, person.shirt),
            ("shoulder1", hem1, 0.04 * stout, wide, person.shirt),
            ("shoulder0", "shoulder1", 0.04 * stout, 0.04 * stout, person.shirt),
            (hem0, hem1, wide, wide, person.shirt),
            (chest, waist, 0.07 * stout, 0.062 * stout, person.shirt),
        ]
        self._group(depth, limbs, lit=False)
        size = self._camera.scale
        aside = np.array([-np.sign(self._camera.light[0]) * 0.028 * stout * size, 0.0])
        light = self._lists(capsule(chest + aside, waist + aside, 0.026 * stout * size, 0.022 * stout * size))
        self._groups[-1][1].append((self._tone(shade(person.shirt, 1.2)), light))
        if person.stripe:
            across = 0.4 * (flat["shoulder1"] - flat["shoulder0"])[:, :2]
            band = self._lists(capsule(chest - across, chest + across, 0.022 * self._camera.scale,
                                       0.022 * self._camera.scale))  # fmt: skip
            self._groups[-1][1].append((self._tone(shade(person.shirt, 1.55)), band))

    def _head(self, person: Person, joints: dict[str, np.ndarray], camera: Camera) -> None:
        size, radius = camera.scale, person.head
        centre, facing, crown = joints["head"], joints["facing"], joints["crown"]

        def at(ahead: float, up: float, aside: float = 0.0) -> np.ndarray:
            right = np.array([1.0, 0.0, 0.0])
            return camera.project(centre + radius * (ahead * facing + up * crown + aside * right))

        def blob(place: np.ndarray, share: float, colour: Colour) -> tuple[Colour, list]:
            spot = place[:, :2]
            r = share * radius * size
            return self._tone(colour), self._lists(capsule(spot, spot + 0.05, r, r))

        edge = self._edge / (radius * size)
        back: list[tuple[Colour, list]] = []
        if person.hair_style == "long":
            a, b = at(-0.35, 0.2)[:, :2], at(-0.55, -1.15)[:, :2]
            back.append(
                (
                    self._tone(shade(person.hair, 0.55)),
                    self._lists(capsule(a, b, radius * size * 0.9 + self._edge, radius * size * 0.6 + self._edge)),
                )
            )
            back.append((self._tone(person.hair), self._lists(capsule(a, b, radius * size * 0.9, radius * size * 0.6))))
        elif person.hair_style == "bun":
            back += [
                blob(at(-0.75, 0.85), 0.45 + edge, shade(person.hair, 0.55)),
                blob(at(-0.75, 0.85), 0.45, person.hair),
            ]
        front = [
            blob(at(0, 0), 1 + edge, shade(person.hair, 0.55)),
            blob(at(0, 0), 1, person.hair),
            blob(at(0.28, -0.2), 0.8, person.skin),
            blob(at(0.3, -0.3), 0.62, shade(person.skin, 1.15)),
        ]
        if person.hair_style == "cap":
            a, b = at(0.3, 0.62)[:, :2], at(1.3, 0.5)[:, :2]
            front += [(self._tone(person.shirt), self._lists(capsule(at(-0.25, 0.45)[:, :2], at(0.2, 0.5)[:, :2],
                                                                     radius * size * 0.75, radius * size * 0.7))),
                      (self._tone(shade(person.shirt, 0.7)),
                       self._lists(capsule(a, b, radius * size * 0.16, radius * size * 0.12)))]  # fmt: skip
        for aside in (-0.36, 0.36):
            place = at(0.88, -0.05, aside)
            place[place[:, 2] < at(0, 0)[:, 2] + 0.25 * radius] = -1000  # behind the head
            front.append(blob(place, 0.12, (40, 32, 34)))
        depth = self._flat["head"][:, 2]
        self._groups.append((depth - 0.03, back))
        self._groups.append((depth + 0.03, front))

    def _box(self, centre: np.ndarray, camera: Camera) -> None:
        faces = cuboid(centre, (BOX_HALF, BOX_HALF * 0.9, BOX_HALF), camera, (206, 152, 92), self._tone)
        self._groups.append((camera.project(centre)[:, 2], faces))

    def _shadow(self, person: Person, joints: dict[str, np.ndarray], camera: Camera) -> None:
        spots = {name: camera.shadow(joint) for name, joint in joints.items()}
        pairs = [("hip", "knee", 0.05), ("knee", "ankle", 0.04), ("ankle", "toe", 0.04), ("shoulder", "elbow", 0.035),
                 ("elbow", "hand", 0.03)]  # fmt: skip
        shapes = [capsule(spots[a + side], spots[b + side], r * camera.scale, r * camera.scale)
                  for a, b, r in pairs for side in "01"]  # fmt: skip
        shapes.append(capsule(spots["pelvis"], spots["neck"], 0.08 * camera.scale, 0.09 * camera.scale))
        shapes.append(
            capsule(spots["head"], spots["head"] + 0.1, person.head * camera.scale, person.head * camera.scale)
        )
        stacked = np.stack(shapes, 1)
        self._low = np.floor(stacked.min((1, 2)) - 6).astype(int)
        self._high = np.ceil(stacked.max((1, 2)) + 6).astype(int)
        self._shadows = ((stacked - self._low[:, None, None]) / 2).reshape(*stacked.shape[:2], -1).tolist()

    def paint(self, canvas: Image.Image, frame: int) -> None:
        """Add the figure and its shadow to the canvas."""
        low, high = self._low[frame], self._high[frame]
        mask = Image.new("L", (int(high[0] - low[0]) // 2 + 1, int(high[1] - low[1]) // 2 + 1))
        draw = ImageDraw.Draw(mask)
        for polygon in self._shadows[frame]:
            draw.polygon(polygon, fill=88)
        mask = mask.filter(ImageFilter.BoxBlur(1.5)).resize(
            (mask.width * 2, mask.height * 2), Image.Resampling.BILINEAR
        )
        canvas.paste(self._tone((24, 22, 40)), (int(low[0]), int(low[1])), mask)
        draw = ImageDraw.Draw(canvas)
        for group in self._order[frame]:
            for colour, polygons in self._groups[group][1]:
                draw.polygon(polygons[frame], fill=colour)

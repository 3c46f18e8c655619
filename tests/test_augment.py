"""Augmentation: one change for all frames of a clip, drawn by position, as strong as it says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode, functional

from besnet.data.augment import SIGNED, UNSIGNED, Augmentation, Change
from besnet.data.changes import GREY, changed
from besnet.data.clips import ClipDraw, TrainingClips
from besnet.data.crop import RandomCrop
from besnet.data.manifest import Manifest
from besnet.video.sampling import ClipShape

AMOUNTS = {name: (full * share,) for name, full in SIGNED.items() for share in (0.7,)}
AMOUNTS |= {name: (full * 0.7,) for name, full in UNSIGNED.items()}
AMOUNTS |= {"hue": (0.1,), "erase": (0.25, 0.5, 0.5, 0.25)}
RECOLOURING = ["brightness", "contrast", "posterize", "solarize", "autocontrast", "equalize"]


def after(clip: torch.Tensor, *changes: Change) -> torch.Tensor:
    """One clip after changes."""
    return changed([clip], [changes])[0]


def by_torchvision(clip: torch.Tensor, name: str, amounts: tuple[float, ...]) -> torch.Tensor:
    """One clip after one change, as torchvision makes it."""
    frames, _, height, width = clip.shape
    amount, tall = amounts[0], clip.transpose(0, 1).flatten(1, 2)
    turned: dict[str, tuple[float, list[float], list[float]]] = {
        "rotate": (amount, [0, 0], [0, 0]),
        "shift_x": (0, [amount * width, 0], [0, 0]),
        "shift_y": (0, [0, amount * height], [0, 0]),
        "shear_x": (0, [0, 0], [amount, 0]),
        "shear_y": (0, [0, 0], [0, amount]),
    }
    if name in turned:
        angle, shift, shear = turned[name]
        bilinear = InterpolationMode.BILINEAR
        return functional.affine(clip, angle, shift, 1.0, shear, interpolation=bilinear, fill=list(GREY))
    match name:
        case "nothing":
            return clip
        case "sharpness":
            return functional.adjust_sharpness(clip, 1 + amount)
        case "erase":
            top, left, bottom, right = (
                np.multiply(
                    [amounts[0], amounts[1], amounts[0] + amounts[2], amounts[1] + amounts[3]], [height, width] * 2
                )
                .round()
                .astype(int)
            )
            out = clip.clone()
            out[..., top:bottom, left:right] = torch.tensor(GREY, dtype=torch.uint8).view(3, 1, 1)
            return out
        case "posterize":
            tall = functional.posterize(tall, 8 - round(amount))
        case "solarize":
            tall = functional.solarize(tall, 255 - amount)
        case "autocontrast" | "equalize":
            tall = getattr(functional, name)(tall)
        case "hue":
            tall = functional.adjust_hue(tall, amount)
        case _:
            tall = getattr(functional, f"adjust_{name}")(tall, 1 + amount)
    return tall.unflatten(1, (frames, height)).transpose(0, 1)


def some_clips(count: int) -> list[torch.Tensor]:
    """Soft pictures of two sizes, some of their pixels black or white."""
    generator = torch.Generator().manual_seed(1)
    clips = []
    for number in range(count):
        coarse = torch.rand(3, 3, 9, 9, generator=generator) * 320 - 30
        size = (31, 24) if number % 3 else (28, 28)
        fine = torch.nn.functional.interpolate(coarse, size, mode="bicubic")
        clips.append(fine.clamp(0, 255).round().to(torch.uint8))
    return clips


def test_clips_together_are_those_of_torchvision_one_by_one() -> None:
    """Every change with several amounts, in an order of each clip's own, and clips that have none."""
    rng = np.random.default_rng(0)
    augmentation = Augmentation(colour=0.5, hue=0.2, rand_augment=4, magnitude=9, erase=0.5)
    clips = some_clips(24)
    draws = [augmentation.draw(rng) if number % 8 else () for number in range(len(clips))]
    assert {name for drawn in draws for name, _ in drawn} == AMOUNTS.keys()
    kept = [clip.clone() for clip in clips]
    apart, pixels = 0, 0
    for clip, drawn, found in zip(clips, draws, changed(clips, draws), strict=True):
        assert torch.equal(found, after(clip, *drawn)), "who is in the batch does not matter"
        wanted = clip
        for name, amounts in drawn:
            wanted = by_torchvision(wanted, name, amounts)
        apart += int((found != wanted).sum())
        pixels += found.numel()
    assert apart < 1e-4 * pixels, "rounding to a neighbouring level"
    assert all(torch.equal(clip, before) for clip, before in zip(clips, kept, strict=True))
    with torch.autocast("cpu", torch.bfloat16):
        again = changed(clips, draws)
    assert all(torch.equal(one, other) for one, other in zip(again, changed(clips, draws), strict=True))
    thin = clips[0][..., :2]
    assert torch.equal(after(thin, ("sharpness", (0.5,))), thin), "it has no inside"


def picture(side: int = 24) -> torch.Tensor:
    return torch.randint(20, 200, (3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", AMOUNTS)
def test_all_frames_of_a_still_clip_change_alike(name: str) -> None:
    still = picture().expand(5, -1, -1, -1).clone()
    out = after(still, (name, AMOUNTS[name]))
    assert out.shape == still.shape
    assert out.dtype == torch.uint8
    assert (out == out[:1]).all()
    assert torch.equal(out, still) == (name == "nothing")
    assert torch.equal(still[0], picture()), "the frames that came in are left alone"


@pytest.mark.parametrize("name", RECOLOURING)
def test_a_colour_becomes_the_same_colour_on_every_frame(name: str) -> None:
    """Frames of very different brightness: what looks at the picture must look at the whole clip."""
    values = torch.arange(0, 240, 3, dtype=torch.uint8)
    frames = torch.stack([values.roll(8 * t)[:40].repeat(40, 1) for t in range(6)])[:, None].repeat(1, 3, 1, 1)
    out = after(frames, (name, AMOUNTS[name]))
    for value in frames.unique():
        assert len(out[frames == value].unique()) == 1


def test_no_strength_is_no_change() -> None:
    clip = torch.stack([picture(), picture().flip(-1)])
    for name in SIGNED:
        assert (after(clip, (name, (0.0,))).int() - clip.int()).abs().max() <= 1, name


def test_a_shift_goes_where_it_says_and_grey_comes_in() -> None:
    clip = picture().expand(3, -1, -1, -1).clone()
    out = after(clip, ("shift_x", (0.25,)))
    assert torch.equal(out[..., 6:], clip[..., :-6])
    assert out[0, :, 5, 2].tolist() == list(GREY)
    erased = after(clip, ("erase", (0.25, 0.5, 0.5, 0.25)))
    assert erased[1, :, 6, 12].tolist() == list(GREY)
    assert int((erased != clip).any(1)[0].sum()) <= 12 * 6
    assert torch.equal(erased[..., :12], clip[..., :12])


def test_draws_cover_what_is_asked_for() -> None:
    def names(augmentation: Augmentation) -> list[list[str]]:
        return [[name for name, _ in augmentation.draw(np.random.default_rng(seed))] for seed in range(400)]

    assert names(Augmentation()) == [[]] * 400
    assert {len(drawn) for drawn in names(Augmentation(rand_augment=3))} == {3}
    assert {name for drawn in names(Augmentation(rand_augment=2)) for name in drawn} == {*SIGNED, *UNSIGNED}
    jitters = names(Augmentation(colour=0.4))
    assert {tuple(sorted(drawn)) for drawn in jitters} == {("brightness", "contrast", "saturation")}
    assert len({tuple(drawn) for drawn in jitters}) == 6, "in every order"
    assert 60 < sum(bool(drawn) for drawn in names(Augmentation(erase=0.25))) < 140
    amounts = [dict(Augmentation(colour=0.4, hue=0.1).draw(np.random.default_rng(seed))) for seed in range(400)]
    assert all(abs(amount["contrast"][0]) <= 0.4 and abs(amount["hue"][0]) <= 0.1 for amount in amounts)
    with pytest.raises(ValueError, match="hue"):
        Augmentation(hue=0.7)


def test_classes_that_tell_left_from_right_are_never_mirrored(squares: Path) -> None:
    manifest = Manifest.load(squares)
    rows = manifest.select("train")
    sides = frozenset(manifest.classes.index(name) for name in ("left", "right"))
    clips = TrainingClips(manifest, rows, ClipDraw(ClipShape(2, 1), RandomCrop(flip=0.5), no_flip=sides), seed=0)
    drawn = [clips[0, int(row), 0] for row in rows]
    assert not any(clip.flip for clip in drawn if clip.label in sides)
    assert any(clip.flip for clip in drawn if clip.label not in sides)
    free = TrainingClips(manifest, rows, ClipDraw(ClipShape(2, 1), RandomCrop(flip=0.5)), seed=0)
    for clip, row in zip(drawn, rows, strict=True):
        other = free[0, int(row), 0]
        assert torch.equal(clip.frames, other.frames), "nothing else is drawn otherwise"
        assert clip.flip == (other.flip and clip.label not in sides)


def test_repeats_of_a_video_are_drawn_by_themselves(squares: Path) -> None:
    manifest = Manifest.load(squares)
    clips = TrainingClips(
        manifest, manifest.select("train"), ClipDraw(ClipShape(4, 1), RandomCrop(), Augmentation(rand_augment=2)), 0
    )
    drawn = [clips[epoch, 0, repeat] for epoch in range(2) for repeat in range(3)]
    assert len({(clip.frames.shape, clip.changes) for clip in drawn}) == 6
    assert clips[1, 0, 2].changes == drawn[-1].changes

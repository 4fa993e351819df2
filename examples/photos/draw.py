"""Draw the photos of this example: coloured shapes on noisy ground, of any size, one folder a class.

python examples/photos/draw.py [FOLDER]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("circle", "square", "triangle")
PER_CLASS = 80


def draw(shape: str, random: np.random.Generator) -> Image.Image:
    """Return an image of 40 to 72 pixels a side with one shape, in a colour and a place of its own."""
    width, height = random.integers(40, 73, 2)
    ground = random.integers(0, 120, 3) + random.normal(0, 25, (height, width, 3))
    image = Image.fromarray(ground.clip(0, 255).astype("uint8"))
    pen, colour = ImageDraw.Draw(image), tuple(int(value) for value in random.integers(140, 256, 3))
    side = int(random.integers(18, 30))
    left, top = (int(random.integers(0, length - side)) for length in (width, height))
    box = (left, top, left + side, top + side)
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    else:
        pen.polygon([(left, top + side), (left + side // 2, top), (left + side, top + side)], fill=colour)
    return image


def main(folder: Path) -> None:
    """Write the images, the same at each call, unless the folder is there: it gets its name when it is whole."""
    if folder.exists():
        return
    part = folder.with_name(f"{folder.name}.part")
    for number, shape in enumerate(CLASSES):
        (part / shape).mkdir(parents=True, exist_ok=True)
        for count in range(PER_CLASS):
            ending = ("png", "jpg")[count % 2]
            draw(shape, np.random.default_rng([number, count])).save(part / shape / f"{count:02}.{ending}")
    part.rename(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "photos")

"""Make the pictures and the clip of samples/ from one public-domain portrait.

python -m samples.make
"""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data

from faces.crop import square_inside
from faces.detector import make_detector
from faces.image import write_image
from fakes import make_pair
from flags import Face, Fakes, Warp

HERE = Path(__file__).parent
FAKES = {"fake.jpg": (1, Warp(scale_max=0.8)), "fake2.jpg": (2, Warp(scale_min=1.2))}
"""Name -> seed and settings: shrunk before the blur, and enlarged, which leaves fewer traces."""

CLIP_SIDE, CLIP_FRAMES, CLIP_RATE = 256, 48, 24


def main() -> None:
    portrait = skimage.data.astronaut()
    (face,) = make_detector(Face())(portrait)
    write_image(HERE / "real.jpg", portrait)
    for name, (seed, settings) in FAKES.items():
        recipe = Fakes(type="warp", warp=settings)
        random = np.random.default_rng(seed)
        _, fake = make_pair(portrait, face.box, face.landmarks, random, recipe)
        write_image(HERE / name, fake)
    write_clip(HERE / "clip.mp4", portrait, face.box)


def write_clip(path: Path, portrait: np.ndarray, box: np.ndarray) -> None:
    """Two seconds of H.264 that slowly close in on the face."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=CLIP_RATE)
        stream.width = stream.height = CLIP_SIDE
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "23"}
        for number in range(CLIP_FRAMES):
            grow = 4.0 - 1.5 * number / CLIP_FRAMES
            left, top, right, bottom = square_inside(box, grow, 0.0, portrait.shape)
            view = portrait[top:bottom, left:right]
            view = cv2.resize(view, (CLIP_SIDE, CLIP_SIDE), interpolation=cv2.INTER_AREA)
            frame = av.VideoFrame.from_ndarray(view.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, CLIP_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()

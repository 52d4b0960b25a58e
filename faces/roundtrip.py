"""A picture as an encoder leaves it: through JPEG or H.264 and back, in memory."""

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import cv2
import numpy as np
from PIL import Image

from faces.image import UnreadableImage, decode_image

FRAMES = 3
"""So many equal frames make a film: the last one has seen the encoder's prediction, too."""

LEAST_SIDE = 16
"""A block of H.264: films of fewer pixels are padded."""


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """uint8 RGB [height, width, 3] after JPEG of a quality 1..100, colour at half resolution
    (4:2:0), as nearly everybody's JPEG.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality), subsampling="4:2:0")
    return decode_image(buffer.getvalue())


def h264(image: np.ndarray, crf: float) -> np.ndarray:
    """uint8 RGB [height, width, 3] after H.264 (x264, yuv420p) of a constant rate factor 0..51.

    The picture stands still for FRAMES frames, of which the last is taken: what a film's motion
    would cost comes on top (`film`).
    """
    return film([image] * FRAMES, crf)[-1]


def film(images: Sequence[np.ndarray], crf: float) -> list[np.ndarray]:
    """Frames of a film, uint8 RGB [height, width, 3] of one size, as H.264 leaves them.

    Borders are repeated up to an even size and cut off again. One thread: the number of threads
    would change the result. Raises UnreadableImage where x264 refuses.
    """
    height, width = images[0].shape[:2]
    tall, wide = (max(LEAST_SIDE, side + side % 2) for side in (height, width))
    try:
        packets = _encoded([_padded(image, tall, wide) for image in images], crf)
        decoder = av.CodecContext.create("h264", "r")
        decoder.thread_count = 1
        frames = [found for packet in [*packets, None] for found in decoder.decode(packet)]
    except av.error.FFmpegError as error:
        raise UnreadableImage(f"{wide}x{tall} pixels as H.264: {error}") from None
    if len(frames) < len(images):
        raise UnreadableImage(f"{wide}x{tall} pixels as H.264: {len(frames)} frames came back")
    decoded = [frame.to_ndarray(format="rgb24") for frame in frames]
    return [np.ascontiguousarray(frame[:height, :width]) for frame in decoded]


def _padded(image: np.ndarray, tall: int, wide: int) -> av.VideoFrame:
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, 0, tall - height, 0, wide - width, cv2.BORDER_REPLICATE)
    pixels = np.ascontiguousarray(padded, np.uint8)
    return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")


def _encoded(frames: Sequence[av.VideoFrame], crf: float) -> list[av.Packet]:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height = frames[0].width, frames[0].height
    encoder.pix_fmt, encoder.framerate, encoder.thread_count = "yuv420p", Fraction(25), 1
    # Without the macroblock tree: it reads memory that nobody wrote, so that the same frames gave
    # now these bytes and now others; and for it x264 adds 5.4 to the factor, which a long film
    # gets back and these few frames would not.
    encoder.options = {"crf": f"{crf:g}", "preset": "medium", "x264-params": "mbtree=0"}
    packets = []
    for number, frame in enumerate(frames):
        frame.pts = number
        packets += encoder.encode(frame)
    return [*packets, *encoder.encode(None)]

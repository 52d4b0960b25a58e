"""What a verdict on somebody's own photos and films asks for, and when it does not know."""

from typing import Literal

from pydantic import model_validator

from flags.preparing import Frames
from flags.testing import CamMethod
from settings import NumberOrText, PathText, Section, described


class Evidence(Section):
    """What is too little to judge by, and what is warned of."""

    min_faces: int = described(12, "Faces of a person that a clip must show.", ge=1)
    min_face: int = described(40, "Shorter side of a photo's face at least.", "px", ge=1)
    small_face: int = described(80, "Faces smaller than this are warned of.", "px", ge=1)
    jpeg_quality: int = described(
        60, "A JPEG of a lower quality is warned of.", "0..100", ge=0, le=100
    )
    bits_per_pixel: float = described(
        0.03, "A film with fewer bits for each pixel of a frame is warned of.", ge=0
    )


class Cams(Section):
    count: int = described(6, "Faces drawn, the most suspicious first.", ge=1, le=64)
    method: CamMethod = described("GradCAM", "How a layer's maps become one.")


class Predict(Section):
    """What predict.py reads. A checkpoint brings its own crop, size, rule and thresholds."""

    paths: list[str] = described([], "Photos, films, folders, patterns.")
    checkpoint: PathText = described(
        "", "Weights to judge by; empty: the released ones, else the quick start's."
    )
    json_file: PathText = described("", "Write all that was found out, for programs.", alias="json")
    csv: PathText = described("", "Write one line a file, for spreadsheets.")
    out: PathText = described("", "Write a page for each file into this folder.")
    cam: bool = described(False, "Draw heatmaps of the most suspicious faces, into --out.")
    video: bool = described(
        False, "Draw boxes, scores and a timeline into a copy of each film, into --out."
    )
    device: NumberOrText = described("auto", "auto, cpu, cuda, mps, or the number of a GPU.")
    batch_size: int = described(32, "Faces that the network sees at once.", ge=1)
    persons: Literal["all", "largest"] = described(
        "all", "Judge everybody in a picture or film, or the largest face alone."
    )
    frames: Frames = described(Frames, "Which frames of a film.")
    evidence: Evidence = described(Evidence, "When it does not know, and what it warns of.")
    heatmaps: Cams = described(Cams, "Which heatmaps.")
    time_limit: float = described(600.0, "A film that takes longer is given up.", "seconds", gt=0)

    @model_validator(mode="after")
    def _has_a_folder(self) -> "Predict":
        if (self.cam or self.video) and not self.out:
            what = "cam" if self.cam else "video"
            raise ValueError(f"{what} writes into a folder: name one by --out DIR")
        return self

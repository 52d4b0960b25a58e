"""What the web page asks for, and how much it takes on."""

from flags.predicting import Cams, Evidence
from flags.preparing import Frames
from settings import NumberOrText, PathText, Section, described


class Demo(Section):
    """What demo.py reads. How a file is judged, predict.py's keys of the same names say."""

    checkpoint: PathText = described(
        "", "Weights to judge by; empty: the released ones, else the quick start's."
    )
    device: NumberOrText = described("auto", "auto, cpu, cuda, mps, or the number of a GPU.")
    port: int = described(7860, "Port on this computer.", ge=1024, le=65535)
    browser: bool = described(True, "Show the page in the browser at once.")
    upload: int = described(200, "Largest file.", "MB", ge=1, le=100_000)
    longest: float = described(600.0, "Longest film.", "seconds", gt=0)
    largest: float = described(
        50.0, "Largest photo, or frame of a film.", "millions of pixels", gt=0, le=128
    )
    queue: int = described(8, "Files that may wait at once; further ones are refused.", ge=1)
    time_limit: float = described(120.0, "A film that takes longer is given up.", "seconds", gt=0)
    cam: bool = described(True, "Draw heatmaps of the most suspicious faces.")
    frames: Frames = described(Frames, "Which frames of a film.")
    evidence: Evidence = described(Evidence, "When it does not know, and what it warns of.")
    heatmaps: Cams = described(Cams, "Which heatmaps.")

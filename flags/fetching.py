"""Downloads: how patiently, and what."""

from typing import Literal

from settings import PathText, Section, described

Method = Literal[
    "original", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter", "actors",
    "DeepFakeDetection",
]  # fmt: skip


class Connection(Section):
    """What all downloads share."""

    retries: int = described(5, "Tries after a first one that failed.", ge=0)
    pause: float = described(1.0, "Pause before the second try; it doubles.", "seconds", ge=0)
    timeout: float = described(30.0, "Longest silence of a server.", "seconds", gt=0)


class UnsplashApi(Connection):
    """What all requests to Unsplash share; the key comes from UNSPLASH_ACCESS_KEY alone."""

    on_limit: Literal["stop", "wait"] = described(
        "stop", "When the hour's requests are used up: stop, or wait for the next hour."
    )
    wait: float = described(3600.0, "Pause of on_limit wait.", "seconds", gt=0)
    api: str = described("https://api.unsplash.com", "Address of the API.", min_length=1)


class Search(UnsplashApi):
    """What `fetch.unsplash search` reads."""

    query: str = described("face", "Words to search for.", min_length=1)
    page: int = described(1, "First page of results, 30 photos each.", ge=1)
    pages: int = described(1, "Number of pages.", ge=1)
    out: str = described("photos/links.csv", "CSV of links to write or to go on with.")


class Download(UnsplashApi):
    """What `fetch.unsplash download` reads."""

    out: PathText = described("", "Folder for the photos; empty: that of the CSV.")
    workers: int = described(4, "Photos downloaded at a time.", ge=1, le=32)
    max_bytes: int = described(32 * 2**20, "Larger photos are left out.", "bytes", ge=1)


class Videos(Connection):
    """What `fetch.faceforensics` reads."""

    server: str = described(
        "", "Address that the authors send after the form, down to the release's folder (v3)."
    )
    out: str = described("FaceForensics++", "Root of the collection.", min_length=1)
    method: Method = described("original", "Clips to fetch; actors and DeepFakeDetection: DFD's.")
    quality: Literal["raw", "c23", "c40"] = described("c23", "Their compression.")
    videos: int = described(10, "The first so many of the authors' list.", ge=1)

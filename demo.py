"""The verdict of predict.py as a web page on this computer: drop a photo or a film.

    python demo.py
    python demo.py --checkpoint log/quickstart/checkpoints/best.pth --port 8000
    python demo.py --upload 50 --longest 60

Only this computer reaches the page, and the page asks no other. Uploads are deleted after they
were judged. One file is judged at a time, the others wait in a queue. Ctrl-C ends it.
"""

import html
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faces.apart import Apart, NotSeen, here
from flags import Demo, Predict
from serving import HOST, as_we_like_it, free, guards, has_a_screen, taken
from settings import parse
from utils import console, run_command

if TYPE_CHECKING:
    from gradio import Blocks

    from verdict import Model

SAMPLES = {
    "real.jpg": "A portrait",
    "fake.jpg": "The same, warped",
    "fake2.jpg": "The same, warped less",
    "clip.mp4": "A clip of it",
}
"""Files of samples/, and what stands below them."""

SEEN = "scrollIntoView({behavior: 'smooth', block: 'nearest'})"

SWEEP = (10, 30)
"""Seconds: how often Gradio looks for uploads to delete, and how old those are. By then they have
long been taken over (`taken`). Not at once: Gradio keeps two people's uploads of one file as one.
"""

STYLE = """
footer { display: none !important; }
#intro { overflow-wrap: anywhere; }
#intro h1 { font-size: 1.6rem; margin: 0 0 .4rem; } #intro p { margin: .3rem 0; }
.sample { flex-direction: column; height: auto !important; padding: .5rem !important; }
.sample img { width: 5.5rem; height: 5.5rem; object-fit: cover; border-radius: .4rem; margin: 0; }
#result { min-height: 7rem; }
#result iframe { width: 100%; height: 70vh; border: 0; display: block; color-scheme: light dark; }
#result .said { border-left: .3rem solid; padding: .6rem 1rem; overflow-wrap: anywhere; }
@media (max-width: 40rem) { #result iframe { width: calc(100% + 2rem); margin: 0 -1rem; } }
#result .keep { text-align: right; margin: .3rem 0; }
"""


def main(argv: list[str]) -> int:
    settings = parse(Demo, argv, __doc__)
    # Imported late: --help and a mistake in the command need no network.
    import verdict

    model = verdict.load_model(verdict.find_checkpoint(settings.checkpoint), settings.device)
    with tempfile.TemporaryDirectory(prefix="deepfake-demo-") as home, Apart() as apart:
        apart.start()  # what breaks a decoder ends that process, and not the page
        serve(model, settings, Path(home), apart)
    return 0


def serve(model: "Model", settings: Demo, home: Path, apart: Apart) -> None:
    """Show the page until Ctrl-C. home: where uploads lie, of nobody else's use."""
    free(settings.port)
    as_we_like_it(home)
    page = build(model, settings, home, apart)
    import gradio as gr

    page.queue(max_size=settings.queue, api_open=False)
    page.launch(
        server_name=HOST,
        server_port=settings.port,
        share=False,
        inbrowser=settings.browser and has_a_screen(),
        prevent_thread_lock=True,
        quiet=True,
        max_file_size=settings.upload * 2**20,
        app_kwargs={"middleware": guards()},
        ssr_mode=False,
        enable_monitoring=False,
        run_history=False,
        footer_links=[],
        # System fonts: the default theme brings its own, others fetch theirs from Google.
        theme=gr.themes.Default(
            primary_hue="blue",
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
        css=STYLE,
    )
    console().info(
        f"Weights    : {model.file}: {model.good_for}\n"
        f"Page       : http://{HOST}:{settings.port} (Ctrl-C ends it)"
    )
    try:
        while True:
            time.sleep(3600)
    finally:
        page.close(verbose=False)


# ----------------------------------------------------------------------------------- page


def build(model: "Model", settings: Demo, home: Path, apart: Apart | None = None) -> "Blocks":
    """The page: an intro, a place to drop a file, samples to click on, the result."""
    import gradio as gr

    from verdict import ROOT

    # Shown as they are: a copy of Gradio's would be swept away with the uploads.
    gr.set_static_paths([home / "samples"])
    samples = {ROOT / "samples" / name: words for name, words in SAMPLES.items()}
    at_once: dict[str, Any] = {"queue": False, "api_visibility": "private"}
    queued: dict[str, Any] = {
        "concurrency_limit": 1,
        "concurrency_id": "judge",
        "api_visibility": "private",
    }
    take = partial(taken, settings=settings, home=home)
    no_place = partial(full, settings=settings)
    ask = partial(answer, model=model, settings=settings, apart=apart)
    with gr.Blocks(title="Deepfake detection", analytics_enabled=False, delete_cache=SWEEP) as page:
        gr.HTML(intro(model, settings), elem_id="intro")
        file = gr.File(label="A photo or a film", height=150)
        own = gr.State("")  # on this side: a browser cannot name a file
        with gr.Row():
            buttons = [
                gr.Button(words, icon=thumbnail(path, home), min_width=120, elem_classes="sample")
                for path, words in samples.items()
            ]
        result = gr.HTML(elem_id="result")
        took = file.upload(take, file, [file, own, result], **at_once)
        judged = took.success(of_upload(ask), own, result, **queued)
        judged.failure(no_place, own, result, **at_once)
        for button, path in zip(buttons, samples, strict=True):
            # Emptied first: progress is shown where the result will be.
            emptied = button.click(lambda: "", None, result, **at_once)
            judged = emptied.then(of_sample(str(path), ask), None, result, **queued)
            judged.failure(no_place, None, result, **at_once)
        for event in (file.upload, *(button.click for button in buttons)):
            event(None, js=f"() => {{ document.querySelector('#result').{SEEN} }}")
    return page


def of_upload(ask: Callable[..., str]) -> Callable[..., str]:
    """What an upload starts, once it has its turn; the file is deleted at its end."""
    import gradio as gr

    def judge(path: str, progress: Any = gr.Progress()) -> str:  # noqa: B008
        try:
            return ask(path, tell=lambda share, what: progress(share, desc=what))
        finally:
            shutil.rmtree(Path(path).parent, ignore_errors=True)

    return judge


def of_sample(path: str, ask: Callable[..., str]) -> Callable[..., str]:
    """What the button of a sample starts."""
    import gradio as gr

    def judge(progress: Any = gr.Progress()) -> str:  # noqa: B008
        return ask(path, tell=lambda share, what: progress(share, desc=what))

    return judge


def intro(model: "Model", settings: Demo) -> str:
    """What this is, what it takes, and by what it judges."""
    minutes = settings.longest >= 60
    length = f"{settings.longest / 60:.3g} minutes" if minutes else f"{settings.longest:g} seconds"
    takes = (
        f"Up to {settings.upload} MB, films of up to {length}, pictures of up to "
        f"{settings.largest:g} million pixels."
    )
    weights = f"{model.file}: {model.good_for}."
    return (
        "<h1>Does this photo or film show signs of manipulation?</h1>"
        "<p>Drop a file, or choose one of the samples. It stays on this computer and is deleted "
        f"after it was looked at. {html.escape(takes)}</p>"
        f"<p>Weights: {html.escape(weights)}</p>"
    )


def thumbnail(path: Path, home: Path) -> str:
    """The first frame of a sample, small, as a file that the page can show."""
    from faces.image import read_image, write_image
    from faces.video import SUFFIXES, open_clip
    from flags import Frames

    if path.suffix not in SUFFIXES:
        image = read_image(path)
    else:
        image = next(iter(open_clip(path, Frames(count=1)))).image
    step = max(1, min(image.shape[:2]) // 176)
    small = home / "samples" / f"{path.stem}.jpg"
    small.parent.mkdir(exist_ok=True)
    write_image(small, image[::step, ::step].copy())
    return str(small)


# ---------------------------------------------------------------------------------- files


def full(path: str = "", *, settings: Demo) -> str:
    """Where judging did not begin, as it does not fail itself: there was no place in the queue."""
    if path:
        shutil.rmtree(Path(path).parent, ignore_errors=True)
    return sentence(
        f"As many files are waiting as this page takes ({settings.queue}): try again in a minute, "
        "or start demo.py with a higher --queue."
    )


def answer(
    path: str,
    model: "Model",
    settings: Demo,
    tell: Callable[[float, str], object],
    apart: Apart | None = None,
) -> str:
    """A file's verdict, or a sentence, as HTML; no exception. apart: where it is decoded."""
    import verdict
    from report import verdict_page

    try:
        if reason := refusal(path, settings, apart):
            return sentence(reason)
        given = {key: getattr(settings, key) for key in Predict.model_fields if key in KEYS}
        # The folder is only to be named: nothing is written.
        asked = Predict(**given, out=str(Path(path).parent))
        found = verdict.of_file(path, model, asked, tell, True, apart.look if apart else here)
        tell(1.0, "drawing")
        # The name alone: where an upload lay is no use to anybody.
        found = replace(found, path=Path(path).name)
        cams = verdict_page.cams(found, model, settings.heatmaps.method)
        return framed(verdict_page.page(found, model, cams))
    except Exception:  # the page goes on; what is wrong stands in the terminal
        traceback.print_exc()
        return sentence(
            "Something went wrong here, which says nothing about the file. The terminal in which "
            "demo.py runs says what."
        )


KEYS = ("device", "cam", "frames", "evidence", "heatmaps", "time_limit")
"""Settings that judging needs, of the same names in Predict."""


def refusal(path: str, settings: Demo, apart: Apart | None = None) -> str:
    """Why a file is too much for this page, before anything of it is decoded; empty: it is not."""
    from faces.image import UnreadableImage
    from faces.media import describe
    from faces.video import UnreadableVideo
    from report.verdict_text import clock

    try:
        media = apart.describe(path, settings.time_limit) if apart else describe(path)
    except (UnreadableImage, UnreadableVideo, NotSeen):
        return ""  # the verdict says so
    pixels = media.width * media.height / 1e6
    if pixels > settings.largest:
        return (
            f"{media.width} x {media.height} are {pixels:.1f} million pixels, and this page takes "
            f"{settings.largest:g} at the most: make it smaller, or start demo.py with a higher "
            "--largest."
        )
    if media.seconds > settings.longest:
        return (
            f"The film is {clock(media.seconds)} long, and this page takes "
            f"{clock(settings.longest)} at the most: cut out the part in question, or start "
            "demo.py with a higher --longest."
        )
    return ""


def sentence(text: str) -> str:
    return f'<p class="said" role="alert">{html.escape(text)}</p>'


def framed(page: str) -> str:
    """A whole page inside ours: its styles stay its own, and nothing in it can run.

    It goes into a blob first: links to places on a page do not work in a srcdoc.
    """
    load = (
        "if (this.srcdoc) { this.src = window.URL.createObjectURL(new Blob([this.srcdoc], {type: "
        "'text/html'})); this.previousElementSibling.firstChild.href = this.src; "
        "this.removeAttribute('srcdoc') } else { const inner = this.contentDocument.body; "
        "new ResizeObserver(() => this.style.height = inner.offsetHeight + 'px').observe(inner); "
        f"setTimeout(() => this.{SEEN}, 50) }}"
    )
    return (
        '<p class="keep"><a download="verdict.html">Keep this page</a></p>'
        f'<iframe title="Verdict" sandbox="allow-same-origin" onload="{load}" '
        f'srcdoc="{html.escape(page)}"></iframe>'
    )


if __name__ == "__main__":
    run_command(main)

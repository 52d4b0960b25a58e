"""notebooks/quickstart.ipynb: kept without outputs, and the journey in it runs to its end."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"
SMALL = (
    "--num_epochs=1 --data.repeat=1 --input_size.height=64 --input_size.width=64 --num_workers=0 "
    "--bootstrap=200 --heatmaps.count=6"
)


def test_it_is_kept_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) >= 7
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert set(notebook["metadata"]) == {"colab", "kernelspec", "language_info"}


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="see requirements-dev.txt")
    import nbformat

    monkeypatch.setenv("QUICKSTART_FOLDER", str(tmp_path))
    monkeypatch.setenv("QUICKSTART_SETTINGS", SMALL)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources=where
    ).execute()
    text, pictures, pages = said(notebook)
    for words in ("AUC", "95 %", "Run       :", "Verdict    :", "clip.mp4"):
        assert words in text, words
    assert "Traceback" not in text
    assert pictures >= 4, "heatmaps"
    assert len(pages) == 1 and "What was examined" in pages[0]
    assert (tmp_path / "log/quickstart/checkpoints/best.pth").is_file()
    assert list((tmp_path / "log/quickstart/wandb").glob("offline-run-*"))


def said(notebook) -> tuple[str, int, list[str]]:
    """What the cells printed, how many pictures they show, and their pages."""
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    shown = [one.data for one in outputs if "data" in one]
    text = "".join(one.text for one in outputs if one.output_type == "stream")
    pages = [data["text/html"] for data in shown if "<iframe" in data.get("text/html", "")]
    return text, sum("image/png" in data for data in shown), pages

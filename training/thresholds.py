"""The thresholds that validation fits and a checkpoint carries: of faces, and of videos."""

from typing import Any

import numpy as np

import rules
import thresholds
from flags import Limits
from training.rows import Rows

Fitted = dict[str, dict[str, Any]]
"""The checkpoint's keys `thresholds` and, where there are videos, `video_thresholds`."""

NOT_FITTED: Fitted = {"thresholds": vars(thresholds.NO_THRESHOLDS)}
"""What a checkpoint says before anything was validated."""


def fitted_thresholds(
    rows: Rows, labels: np.ndarray, scores: np.ndarray, rule: str, rates: Limits
) -> Fitted:
    """Thresholds from validation scores, [n], NaN where a row has none.

    rule: how the frames of a video become its score. A video that the rule gives none is not
    counted. rates: `config.limits`.
    """
    known, shares = np.isfinite(scores), rates.model_dump()
    name = f"{int(known.sum())} validation faces of {rows.valid_name}"
    sources = rows.valid["source"].to_numpy() if len(rows.valid) else np.full(len(labels), "")
    limits = thresholds.fit(labels[known], scores[known], name, sources=sources[known], **shares)
    fitted = {"thresholds": vars(limits)}
    if len(rows.valid):
        frame = rows.valid.assign(label=labels, score=scores)[known]
        videos, _ = rules.to_videos(frame, rule)
        if len(videos):
            name = f"{len(videos)} validation videos of {rows.valid_name}, by {rule}"
            of_videos = videos["label"].to_numpy(int), videos["score"].to_numpy(float)
            of_sources = videos["source"].to_numpy() if "source" in videos else None
            limits = thresholds.fit(*of_videos, name, "video", of_sources, **shares)
            fitted["video_thresholds"] = vars(limits)
    return fitted

"""Aberdeen: 687 colour photographs of about 90 people, all real.

Obtained as Aberdeen.zip on pics.stir.ac.uk (Psychological Image Collection at Stirling, 2D face
sets), free for research by that page's terms, which also say how to cite it.

    aberdeen/*.jpg    one folder of photographs, as it is unpacked

Traps: whom a photograph shows is read from the letters (or digits) that its name begins with; a
name without them is a person of its own.
"""

import pandas as pd

from flags import Prepare
from sources import _stills


def index(root: str, settings: Prepare) -> pd.DataFrame:
    """One row a photo, identity from its name."""
    return _stills.by_leading_name("aberdeen", root)

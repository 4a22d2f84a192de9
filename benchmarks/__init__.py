"""What the suite measures, as short scripts over the package. A notebook's backend is not theirs."""

import os

os.environ.pop("MPLBACKEND", None)

"""``python -m tf_serving_flask_app``: what ``run.sh`` calls."""

from __future__ import annotations

import os

# Both are read when NumPy or TensorFlow is imported, so they are set before anything else is.
# OpenBLAS would start its threads at import, and threads do not survive the fork of a worker.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# TensorFlow's notes on how it was compiled are no news to an operator; warnings and errors still come.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

from tf_serving_flask_app.cli import main

if __name__ == "__main__":
    main()

"""tritonclient: photographs are classified, sent as the files that they are and as pixels that the client prepared."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http as triton
from PIL import Image

url, *photographs = sys.argv[1:]


def classes(client: Any, image: Any, binary: bool) -> list[str]:
    """Ask for the three best classes; an answer is a string ``score:index:label``."""
    wanted = triton.InferRequestedOutput("scores", binary_data=binary, class_count=3)
    (best,) = client.infer("mobilenet", [image], outputs=[wanted]).as_numpy("scores")
    return [item.decode() if isinstance(item, bytes) else item for item in best]


answers = {}
with triton.InferenceServerClient(url) as client:
    for photograph in photographs:
        file = np.array([Path(photograph).read_bytes()], dtype=np.object_)
        as_file = triton.InferInput("image", [1], "BYTES").set_data_from_numpy(file)

        picture = Image.open(photograph).convert("RGB").resize((128, 128), Image.Resampling.BILINEAR)
        pixels = (np.asarray(picture, np.float32) / 127.5 - 1)[np.newaxis]
        as_pixels = triton.InferInput("image", list(pixels.shape), "FP32").set_data_from_numpy(pixels)

        answers[photograph] = {
            f"{form} {binary}": classes(client, image, binary)
            for form, image in (("file", as_file), ("pixels", as_pixels))
            for binary in (True, False)
        }

print(json.dumps(answers))

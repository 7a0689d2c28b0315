"""LitServe: `python -m tests.benchmarks.peers.litserve_server`."""

# Annotations are read by LitServe, which does not know them as strings.

import signal
from typing import Annotated, Any

import litserve
import numpy as np
from fastapi import Body, Request

from tests.benchmarks.peers.served import Served, best, decode, load

BATCH_TIMEOUT_S = 0.005

Picture = Annotated[bytes, Body(media_type="image/jpeg")]


class Classify(litserve.LitAPI):
    """Pictures, each the body of a request."""

    def setup(self, device: str) -> None:
        """Load the model, in a worker."""
        self.served = Served.from_environ()
        self.model = load(self.served)

    def decode_request(self, request: Picture) -> np.ndarray:
        """Decode one picture."""
        return decode(request, self.served.side)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Join pictures."""
        return np.concatenate(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Call the model."""
        return self.model(x)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """Take the answer of joined pictures apart."""
        return list(output[:, np.newaxis])

    def encode_response(self, output: np.ndarray) -> list[dict[str, Any]]:
        """Name the best classes of one picture."""
        return best(output[0])


class Predict(litserve.LitAPI):
    """Numbers, as JSON; four in each request."""

    def setup(self, device: str) -> None:
        """Load the model, in a worker."""
        self.model = load(Served.from_environ())

    def decode_request(self, request: Request) -> np.ndarray:
        """Take one request's numbers."""
        return np.array(request["input"], np.float32)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Join requests."""
        self.joined = len(inputs)
        return np.concatenate(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Call the model."""
        return self.model(x)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """Take the answer of joined requests apart."""
        return np.split(output, self.joined)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        """Answer one request."""
        return {"output": output.tolist()}


def main() -> None:
    """Serve until SIGTERM, on which LitServe would end without its workers: it tidies up on Ctrl-C only."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    served = Served.from_environ()
    batching = {"max_batch_size": served.max_batch, "batch_timeout": BATCH_TIMEOUT_S} if served.max_batch > 1 else {}
    api = (Classify if served.side else Predict)(**batching)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=served.workers)
    server.run(host="127.0.0.1", port=served.port, generate_client_file=False)


if __name__ == "__main__":
    main()

"""What is written by hand most often: FastAPI on uvicorn, the model called in the event loop or in its thread pool."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel

from tests.benchmarks.peers.served import Served, best, decode, load


class Numbers(BaseModel):
    """A request for the smallest model."""

    instances: list[float]


class Results(BaseModel):
    """Its answer."""

    predictions: list[float]


class Class(BaseModel):
    """One of a picture's best classes."""

    index: int
    confidence: float


async def read_body(request: Request) -> bytes:
    """Read a body; a route in the thread pool cannot."""
    body: bytes = await request.body()
    return body


def create_app() -> FastAPI:
    """Make the application; once in each of uvicorn's workers."""
    served = Served.from_environ()
    model = load(served)
    app = FastAPI()

    @app.get("/ready")
    async def ready() -> str:
        return "ready"

    def classes(picture: bytes) -> list[Class]:
        scores = model(decode(picture, served.side))[0]
        return [Class(index=found["class"], confidence=found["confidence"]) for found in best(scores)]

    def results(numbers: Numbers) -> Results:
        return Results(predictions=model(np.array(numbers.instances, np.float32)).tolist())

    if served.style == "async":

        @app.post("/classify")
        async def classify_in_loop(request: Request) -> list[Class]:
            return classes(await request.body())

        @app.post("/predict")
        async def predict_in_loop(numbers: Numbers) -> Results:
            return results(numbers)

    else:

        @app.post("/classify")
        def classify_in_thread(picture: Annotated[bytes, Depends(read_body)]) -> list[Class]:
            return classes(picture)

        @app.post("/predict")
        def predict_in_thread(numbers: Numbers) -> Results:
            return results(numbers)

    return app

"""The statistics extension: what the models have done so far.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from tf_serving_flask_app.apis.documentation import Operation, documented
from tf_serving_flask_app.apis.open_inference_requests import TAG, statuses_of
from tf_serving_flask_app.apis.wire import json_response
from tf_serving_flask_app.metrics import Metrics, ModelStatistics, Spent
from tf_serving_flask_app.repository import Repository


class DurationStatistic(BaseModel):
    """How often something was done, and how long that took in all."""

    count: int = 0
    ns: int = Field(0, description="Nanoseconds.")


class InferenceStatistics(BaseModel):
    """Where the time of a version's requests went."""

    success: DurationStatistic = Field(description="Requests that were answered, from their arrival to the answer.")
    fail: DurationStatistic = Field(description="Requests that failed after they had reached the model.")
    queue: DurationStatistic = Field(description="Waiting for a thread, and for the model.")
    compute_input: DurationStatistic = Field(description="Decoding and preprocessing of what was sent.")
    compute_infer: DurationStatistic = Field(description="Running the model.")
    compute_output: DurationStatistic = Field(description="Making the answer of the model's outputs.")
    cache_hit: DurationStatistic = Field(DurationStatistic(), description="There is no cache.")
    cache_miss: DurationStatistic = Field(DurationStatistic(), description="There is no cache.")


class BatchStatistics(BaseModel):
    """The executions that answered so many requests together."""

    batch_size: int = Field(description="Requests; one that holds a batch counts once.")
    compute_input: DurationStatistic = Field(description="Nothing: it is done for each request by itself.")
    compute_infer: DurationStatistic
    compute_output: DurationStatistic = Field(description="Nothing: it is done for each request by itself.")


class ModelStatisticsEntry(BaseModel):
    """What one version of a model has done since the server started, in all worker processes."""

    name: str
    version: str
    last_inference: int = Field(description="When its last request ended, milliseconds since the epoch; 0: never.")
    inference_count: int = Field(description="Requests answered; one that holds a batch counts once.")
    execution_count: int = Field(description="Executions of the model for these.")
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]


class ModelStatisticsAnswer(BaseModel):
    """All versions that were asked for."""

    model_stats: list[ModelStatisticsEntry]


def create_blueprint(repository: Repository, metrics: Metrics) -> Blueprint:
    """Make the routes."""
    blueprint = Blueprint("statistics", __name__)

    @blueprint.get("/models/stats")
    @blueprint.get("/models/<name>/stats")
    @blueprint.get("/models/<name>/versions/<version>/stats")
    @documented(
        Operation(
            "What the models have done so far, in all worker processes", TAG, answers={200: ModelStatisticsAnswer}
        )
    )
    def stats(name: str | None = None, version: str | None = None) -> Response:
        wanted = [
            (model, status.version)
            for model in (repository.names() if name is None else [name])
            for status in statuses_of(repository, model, version)
            if status.state != "END"
        ]
        known = metrics.model_statistics()
        entries = [entry(*each, known.get(each, ModelStatistics())) for each in wanted]
        return json_response(ModelStatisticsAnswer(model_stats=entries).model_dump())

    return blueprint


def entry(name: str, version: str, statistics: ModelStatistics) -> ModelStatisticsEntry:
    """One version's statistics in Triton's words."""
    results, stages = statistics.results, statistics.stages
    success = results.get("success", Spent())
    return ModelStatisticsEntry(
        name=name,
        version=version,
        last_inference=statistics.last_request_ms,
        inference_count=success.count,
        execution_count=sum(calls.count for calls in statistics.calls.values()),
        inference_stats=InferenceStatistics(
            success=duration(success),
            fail=duration(results.get("failure")),
            queue=duration(stages.get("queue")),
            compute_input=duration(stages.get("decode"), stages.get("preprocess")),
            compute_infer=duration(stages.get("predict")),
            compute_output=duration(stages.get("postprocess")),
        ),
        batch_stats=[
            BatchStatistics(
                batch_size=requests,
                compute_input=DurationStatistic(),
                compute_infer=duration(calls),
                compute_output=DurationStatistic(),
            )
            for requests, calls in statistics.calls.items()
        ],
    )


def duration(*spent: Spent | None) -> DurationStatistic:
    """Join parts that a request goes through one after the other; None is one that no request went through."""
    parts = [part for part in spent if part is not None]
    return DurationStatistic(count=max((part.count for part in parts), default=0), ns=sum(part.ns for part in parts))

"""Shards: one run as many pods side by side, each with a part of the input."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from millrace.api.base import Label, Model, Name, rule, validated

SHARDS = 1000  # at most: the status of an Indexed Job and the names of its pods stay small


class Parallel(Model):
    """In how many parts a run is done, how many of them at a time, and how many may fail."""

    model_config = validated(
        rule(
            "!has(self.maxFailedShards) || self.maxFailedShards < self.shards",
            "maxFailedShards must be less than shards: a run of which nothing has succeeded has failed",
            field=".maxFailedShards",
        ),
        rule(
            "has(self.of) == (has(self.only) && size(self.only) > 0)",
            "of and only go together: some shards of a run that is over",
            field=".only",
        ),
        rule(
            "!has(self.only) || self.only.all(shard, shard < self.shards)",
            "a shard is a number from 0 to shards - 1",
            field=".only",
        ),
    )

    shards: Annotated[int, Field(ge=1, le=SHARDS, description="Each has a part of the input's files, no two the same file.")]
    parallelism: Annotated[int, Field(ge=1, le=SHARDS)] | None = Field(
        None, description="How many shards are worked on at a time. All if absent."
    )
    max_failed_shards: Annotated[int, Field(ge=0, le=SHARDS - 1)] = Field(
        0, description="The run succeeds where no more than these fail. 0 if absent."
    )
    input: Label | None = Field(None, description="The staged folder that is sliced. The only one if absent.")
    of: Name | None = Field(None, description="A JobRun that is over: its slices are taken, and its other shards' parts.")
    only: Annotated[
        list[Annotated[int, Field(ge=0, le=SHARDS - 1)]],
        Field(
            max_length=SHARDS,
            description="The shards that are done again.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = []

"""The order of the training scenario: train, refuse strangers, prove where the bytes went, cut a rank."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from ringfence.broker.demo.told import Told, play
from ringfence.broker.demo.training import acts
from ringfence.broker.demo.training.rootless import MARK
from ringfence.broker.demo.training.stage import NODES, STEPS, TrainingStage, rank_id


class TrainingStory(Told):
    """The job's story, act by act."""

    async def tell(self, stage: TrainingStage) -> None:
        """The whole story on a stage that is set."""
        from ringfence.broker.cli.admin_client import admin_client

        await self._train(stage)
        async with admin_client(stage.places.admin) as admin:
            await self._wrong_job(stage, admin)
            await self._stranger(stage)
            await self._leaks(stage)
            await self._revoke(stage, admin)

    async def _train(self, stage: TrainingStage) -> None:
        self.say(f"torchrun on two nodes, {STEPS} steps of DistributedDataParallel over gloo; a leak test watches each")
        result = self.facts["training"] = await acts.train(stage)
        loss = f"{result['before']} -> {result['after']}, by frequency alone {result['unigram']}"
        self.say(f"  {result['weights']} weights; loss on bytes held back {loss}; {result['seconds']} s")
        self.expect(result["ok"], f"the training: {json.dumps(result)}")

    async def _wrong_job(self, stage: TrainingStage, admin: Any) -> None:
        self.say(
            "a rank of another tenant's job dials rank 0's proxy with its own certificate, and asks to be a member"
        )
        result = self.facts["wrong_job"] = await acts.wrong_job(stage, admin)
        self.say(f"  at the rendezvous: {result['answer']}, by {result['rule']}")
        self.say(f"  at the fabric: {_why(result['join_said'])}")
        self.expect(result["ok"], f"the wrong job: {json.dumps(result)}")

    async def _stranger(self, stage: TrainingStage) -> None:
        self.say("a host on the fabric that has no agent dials every port that rank 0's node listens on")
        result = self.facts["stranger"] = await acts.stranger(stage)
        self.say(
            f"  {result['ports']} ports, PyTorch's store on every address among them: {', '.join(result['answers'])}"
        )
        self.expect(result["ok"], f"the stranger: {json.dumps(result)}")

    async def _leaks(self, stage: TrainingStage) -> None:
        self.say("ringfence fabric leak-test, from before the rendezvous until now")
        result = self.facts["leaks"] = await acts.leaks(stage)
        for name, told in result["nodes"].items():
            for part in told["items"]:
                self.say(f"  {name}: {part['verdict']}: {part['claim']}: {part['because']}")
        self.expect(result["ok"], f"a leak test: {json.dumps(result)}")

    async def _revoke(self, stage: TrainingStage, admin: Any) -> None:
        self.say(f"{rank_id(1)} is revoked while it trains")
        result = self.facts["revoke"] = await acts.revoke(stage, admin)
        for name, took in result["ms"].items():
            self.say(f"  {NODES[1].fabric} is no member any more on {name}: {took} ms")
        self.say(f"  its launcher ends with {result['rank_ended_with']}: {_why(result['rank_said'])}")
        self.say(
            f"  steps that the job made since: {result['steps_after']}; started again: {_why(result['again_said'])}"
        )
        self.expect(result["ok"], f"revocation: {json.dumps(result)}")


def _why(said: str) -> str:
    """What a command said without where it was said and what to do about it."""
    return said.removeprefix("Error: ").partition(": ")[2].partition(". ")[0]


async def play_training(json_file: Path | None, console: Console) -> int:
    """The whole scenario, as root; 0 only if everything was as it must be."""
    story = TrainingStory(console)
    if os.environ.get(MARK):
        story.say("not root: all of it runs in a user namespace, where a launch gets no cgroup")
    return await play(story, TrainingStage, story.tell, json_file)

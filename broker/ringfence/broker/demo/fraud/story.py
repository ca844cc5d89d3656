"""The order of the fraud scenario: score, lose a zone, lose the control plane, meet an intruder; told as it happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from ringfence.broker.demo.fraud import acts, intrusion
from ringfence.broker.demo.fraud.stage import TTL, FraudStage
from ringfence.broker.demo.told import Told, play
from ringfence.proto.client import Client

GOOD_AUC = 0.85


class FraudStory(Told):
    """The bank's story, act by act."""

    async def tell(self, stage: FraudStage) -> None:
        """The whole story on a stage that is set."""
        from ringfence.broker.cli.admin_client import admin_client

        await self._model(stage)
        await self._zone(stage)
        async with admin_client(stage.places.admin) as admin:
            await self._away(stage, admin)
        async with admin_client(stage.places.admin) as admin:
            decision = await self._intruder(stage, admin)
            await self._explain(stage, decision)
            await self._revoke(stage, admin)

    async def _model(self, stage: FraudStage) -> None:
        from ringfence.broker.demo.fraud.workloads.asking import Asking

        status, card = Asking(stage.gateway).ask("GET", "/model")
        self.facts["model"] = card
        self.say(f"model: {card.get('kind')}, {card.get('stumps')} of them, AUC {card.get('auc')} on rows held back")
        self.expect(status == 200 and card["auc"] > GOOD_AUC, f"the model: {status} {card}")  # noqa: PLR2004  # OK

    async def _zone(self, stage: FraudStage) -> None:
        self.say("kill -9 of everything in eu-west-1: agent, scorer, its Envoy; it scores every payment")
        result = self.facts["zone_loss"] = await acts.zone_loss(stage)
        before, after = result["before"], result["after"]
        self.say(f"  before: {before['sent']} payments, {_zones(before)}, p50 {before['p50_ms']} ms")
        self.say(
            f"  after: {after['sent']} payments, {_zones(after)}; {after['failed_after']} failed that began later, "
            f"{result['in_flight_failed']} in flight; the slowest took {after['slowest_ms']} ms"
        )
        self.say(f"  the zone is started again and scores after {result['back_s']} s")
        self.expect(result["ok"], f"zone loss: {json.dumps(result)}")

    async def _away(self, stage: FraudStage, admin: Client) -> None:
        self.say(f"kill -9 of the control plane for {acts.AWAY:.0f} s; SVIDs live for {TTL} s")
        result = self.facts["away"] = await acts.control_plane_away(stage, admin)
        self.say(f"  away for {result['away_s']} s: {result['sent']} payments, {result['failed']} failed")
        self.expect(result["ok"], f"control plane away: {json.dumps(result)}")

    async def _intruder(self, stage: FraudStage, admin: Client) -> str:
        self.say("an intruder has a scorer's key and certificate, and uses them from a process of his own")
        result = self.facts["scan"] = await intrusion.scan(stage, admin)
        self.say(f"  {result['tries']} tries at {result['ports']} ports opened: {', '.join(result['opened'])}")
        self.say(f"  without any key answer: {', '.join(result['public']) or 'none'}")
        self.say(
            f"  left out: {result['left_out']} loopback ports by which workloads call through their own proxies, open "
            "to whoever shares their network namespace; those of isolated workloads are not there"
        )
        self.expect(result["ok"], f"the intruder: {json.dumps(result)}")
        plane = self.facts["control_plane"] = await intrusion.control_plane(stage)
        granted = ", ".join(plane["granted"]) or "none"
        self.say(f"  of {plane['methods']} methods of the control plane it may call {granted}")
        self.say(
            f"  discovery gives it {plane['own']}, as the gateway {plane['as_gateway']}; agents say {plane['agents']}"
        )
        self.expect(plane["ok"], f"the intruder at the control plane: {json.dumps(plane)}")
        return str(result["decision"])

    async def _explain(self, stage: FraudStage, decision: str) -> None:
        self.say(f"ringfence authz explain {decision}")
        result = self.facts["explain"] = await intrusion.explain(stage, decision)
        self.console.print(result["text"].rstrip(), markup=False, highlight=False)
        self.expect(result["ok"], f"explain does not lead to {result['rule']} in banking.yaml")

    async def _revoke(self, stage: FraudStage, admin: Client) -> None:
        self.say("the scorers' identity is revoked while the intruder uses it")
        result = self.facts["revoke"] = await intrusion.revoke(stage, admin)
        meanwhile = result["meanwhile"]
        self.say(f"  until then, intruder and all: {meanwhile['sent']} payments, {meanwhile['failed']} failed")
        for what, took in sorted(result["ms"].items(), key=lambda each: each[1]):
            self.say(f"  first refusal at {what}: {took} ms")
        self.say(f"  lifted: scored again after {result['again_s']} s")
        self.expect(result["ok"], f"revocation: {json.dumps(result)}")


def _zones(report: dict[str, Any]) -> str:
    zones = report["zones"]
    return ", ".join(f"{count} scored in {zone}" for zone, count in sorted(zones.items())) if zones else "none scored"


async def play_fraud(json_file: Path | None, console: Console) -> int:
    """The whole scenario; 0 only if everything was as it must be."""
    story = FraudStory(console)
    return await play(story, FraudStage, story.tell, json_file)

"""The order of the demo: set the stage, train, judge, explain, revoke, rotate, restart; told as it happens."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ringfence.broker.demo import acts
from ringfence.broker.demo.calls import CALLS
from ringfence.broker.demo.judge import Judge, Outcome, where
from ringfence.broker.demo.stage import Stage
from ringfence.broker.demo.told import Told, play
from ringfence.proto.client import Client


class Story(Told):
    """The laptop's story, act by act."""

    async def tell(self, stage: Stage) -> None:
        """The whole story on a stage that is set."""
        from ringfence.broker.cli.admin_client import admin_client

        await self._train(stage)
        async with admin_client(stage.places.admin) as admin:
            outcomes = await self._judge(stage, admin)
            await self._explain(stage, outcomes)
            await self._revoke(stage, admin)
            await self._rotate(stage, admin)
        self.facts["rss_mib"] = {name: stage.children.rss_mib(name) for name in ("server", "agent")}
        await self._restart(stage)

    async def _train(self, stage: Stage) -> None:
        self.say("training job: rows from PostgreSQL, base model from the registry, checkpoint back to it")
        code, printed = await stage.train()
        lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
        summary = lines[-1] if lines else {}
        self.facts["training"] = summary
        self.expect(code == 0, f"the training job ended with exit code {code}: {printed[-500:]}")
        self.say(
            f"  trained with {summary.get('framework', '?')}: loss {summary.get('loss_before', '?')} -> "
            f"{summary.get('loss_after', '?')}"
        )

    async def _judge(self, stage: Stage, admin: Client) -> list[Outcome]:
        self.say("calls, each with the rule that decided it")
        outcomes = await Judge(stage, admin).all(CALLS)
        self.console.print(_table(outcomes))
        self.facts["calls"] = [outcome.facts() for outcome in outcomes]
        for outcome in outcomes:
            self.expect(not outcome.problem, f"{outcome.call.who}: {outcome.call.title}: {outcome.problem}")
        return outcomes

    async def _explain(self, stage: Stage, outcomes: list[Outcome]) -> None:
        decision = next((o.decision for o in outcomes if not o.call.allowed and o.decision is not None), None)
        self.expect(decision, "no denied call has a decision to explain")
        if decision is None:
            return
        self.say(f"ringfence authz explain {decision.id}")
        text = await stage.command("authz", "explain", decision.id)
        self.console.print(text.rstrip(), markup=False, highlight=False)
        self.facts["explain"] = text
        self.expect(decision.rule in text, "explain does not name the rule")

    async def _revoke(self, stage: Stage, admin: Client) -> None:
        self.say("revoke: one Allow is taken out of the intent while its connection stays open")
        result = self.facts["revoke"] = await acts.revoke(stage, admin)
        self.say(f"  apply to first refusal on the same connection: {result['ms']} ms")
        self.expect(result["ok"], f"revocation: {result}")

    async def _rotate(self, stage: Stage, admin: Client) -> None:
        self.say("rotate: a new authority and new SVIDs for everybody, under load")
        result = self.facts["rotate"] = await acts.rotate(stage, admin)
        self.say(f"  {result['sent']} requests, {result['failed']} failed, authority now {result['authority'][:16]}")
        self.expect(result["ok"], f"rotation: {result}")

    async def _restart(self, stage: Stage) -> None:
        self.say("kill -9 of the server, with traffic going on")
        result = self.facts["restart"] = await acts.restart_server(stage)
        self.say(f"  {result['sent']} requests, {result['failed']} failed, ready again in {result['ready_s']} s")
        self.expect(result["ok"], f"restart: {result}")


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "who", "call", "answer", "rule", "where", "revision", "decision"):
        table.add_column(
            heading,
            overflow="fold" if heading in {"call", "rule"} else "ellipsis",
            no_wrap=heading not in {"call", "rule"},
        )
    for o in outcomes:
        d = o.decision
        mark = "[red]?[/red]" if o.problem else "[green]allowed[/green]" if o.succeeded else "[yellow]denied[/yellow]"
        rule, revision, decision = (d.rule, d.revision[:8], d.id[:16]) if d else ("", "", "")
        table.add_row(mark, o.call.who, o.call.title, o.answer[:12], rule, where(d), revision, decision)
    return table


async def play_laptop(json_file: Path | None, console: Console) -> int:
    """The whole demo; 0 only if everything was as it must be."""
    story = Story(console)
    return await play(story, Stage, story.tell, json_file)

"""What is off unless `--feature NAME` asks for it: parts that follow a standard which may still change."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BROKER_API", "FEATURES", "WIT_SVID", "Feature", "features_of"]

SPIFFE = "SPIFFE 665a28f"  # the revision of github.com/spiffe/spiffe that is implemented (its STABILITY.md asks for it)


@dataclass(frozen=True, slots=True)
class Feature:
    """One such part: who has it (`server`, `agent`), and which revision of which standard it follows."""

    daemons: tuple[str, ...]
    follows: str


WIT_SVID = "wit-svid"
BROKER_API = "broker-api"
FEATURES = {
    BROKER_API: Feature(("agent",), f"{SPIFFE}, SPIFFE_Broker_API.md"),
    WIT_SVID: Feature(("server", "agent"), f"{SPIFFE}, WIT-SVID.md"),
}


def features_of(daemon: str) -> list[str]:
    """The names that *daemon* takes after `--feature`, in order."""
    return sorted(name for name, feature in FEATURES.items() if daemon in feature.daemons)

"""The private folder of a run, as others find a proxy by it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ringfence.broker.run.folder import RunFolder, admin_of


def test_a_proxy_is_found_by_its_node_while_its_run_lasts(short_path: Path) -> None:
    """And by no other; a folder without a whole bootstrap is passed over."""
    with RunFolder(short_path) as other, RunFolder(short_path) as folder:
        other.write("envoy.json", "{")
        folder.write("envoy.json", json.dumps({"node": {"id": "team-a/trainer@host#1"}}))
        assert admin_of("team-a/trainer@host#1", short_path) == folder.admin
        assert admin_of("team-a/trainer@host#2", short_path) is None
    assert admin_of("team-a/trainer@host#1", short_path) is None


def test_a_folder_of_another_user_is_not_believed(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write beside ours could name any socket."""
    with RunFolder(short_path) as folder:
        folder.write("envoy.json", json.dumps({"node": {"id": "n"}}))
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert admin_of("n", short_path) is None
        monkeypatch.undo()

"""Ports by the files of sysfs."""

from __future__ import annotations

from ringfence.fabric.doctor.sysfs import ports
from tests.fabric.doctor import samples


def test_ports_of_sysfs():
    """Empty GIDs and keys are left out, counters that are no numbers too."""
    (port,) = ports(samples.SYSFS)
    assert (port.name, port.active, port.rate, port.link_layer) == ("mlx5_0:1", True, 200.0, "Ethernet")
    assert (port.gids, port.keys) == (("0000:0000:0000:0000:0000:ffff:0a5b:0001",), ("0xffff",))
    assert port.interfaces == ("fab0",)
    assert dict(port.counters) == {"port_xmit_data": 5000, "out_of_sequence": 9}
    assert port.paths["out_of_sequence"].endswith("/hw_counters/out_of_sequence")


def test_a_folder_that_was_copied_is_read_alike():
    """`--sysfs DIR` names files below any folder."""
    assert ports({f"copy{path}": text for path, text in samples.SYSFS.items()})[0].name == "mlx5_0:1"

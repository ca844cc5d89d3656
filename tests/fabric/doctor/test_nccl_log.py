"""Logs of NCCL: the same facts from both dialects, with the line and the host that said them."""

from __future__ import annotations

from ringfence.fabric.doctor.nccl_log import Device, Failure, Interface, Said, nccl_log
from tests.fabric.doctor.samples import NEW_LOG, OLD_LOG


def test_the_newer_dialect():
    """Rails and planes, a completion by name, the out-of-band interface behind the devices."""
    log = nccl_log(NEW_LOG, "new.log")
    assert log.bootstrap == (Interface(1, "gpu-a", "ctl0", "10.90.0.1"),)
    assert log.settings == (Said(2, "gpu-a", "NCCL_SOCKET_IFNAME==ctl0"),)
    assert log.plugins == (Said(3, "gpu-a", "IB"),)
    assert log.devices == (Device(4, "gpu-a", "mlx5_0", 1, "RoCE"), Device(4, "gpu-a", "mlx5_1", 1, "IB"))
    assert log.out_of_band == (Interface(4, "gpu-a", "ctl0", "10.90.0.1"),)
    assert log.direct == (Said(5, "gpu-a", "Enabled"),)
    assert log.networks == (Said(6, "gpu-a", "IB"),)
    assert [way.text for way in log.channels] == ["NET/IB/0(3)/GDRDMA(PCI)/Shared", "P2P/CUMEM"]
    assert log.network_ways == log.channels[:1]
    assert log.failures == (Failure(10, "gpu-a", "10.91.0.2", "12", "::ffff:10.91.0.1", "::ffff:10.92.0.2"),)
    assert log.strangers == (Said(11, "gpu-a", "10.91.0.77<51234>"),)


def test_the_older_dialect():
    """Behind mpirun's prefix, with indices before names, a status as a bare number, and gloo's own line."""
    log = nccl_log(OLD_LOG, "old.log")
    assert log.bootstrap == (Interface(1, "node7", "ib0", "10.91.0.7"),)
    assert log.without_device == (Said(3, "node7", "No device found"),)
    assert [(one.name, one.address) for one in log.sockets] == [("eth0", "10.90.0.7"), ("ib0", "10.91.0.7")]
    assert log.networks == (Said(6, "node7", "Socket"),)
    assert [way.text for way in log.network_ways] == ["NET/Socket/0"]
    assert log.failures == (Failure(8, "node7", "10.91.0.8", "12", "", ""),)
    assert log.gloo_refused == (Said(9, "", "127.0.0.1"),)
    assert log.plugins == ()


def test_bootstrap_over_the_network_plugin():
    """NCCL_OOB_NET_ENABLE names a device and its port."""
    log = nccl_log("h:1:2 [0] NCCL INFO Bootstrap: Using mlx5_1:1\n", "x")
    assert log.bootstrap == (Interface(1, "h", "mlx5_1", "1"),)


def test_a_plugin_whose_name_has_a_space():
    """EFA's; and the communicator that older releases put behind the way."""
    head = "h:1:2 [0] NCCL INFO "
    log = nccl_log(
        f"{head}Using network AWS Libfabric\n{head}Channel 00/0 : 0[0] -> 8[0] [send] via NET/AWS Libfabric/0/GDRDMA\n"
        f"{head}Channel 00 : 0[1b000] -> 1[1c000] via P2P/IPC comm 0x7f00 nRanks 02\n",
        "x",
    )
    assert [said.text for said in log.networks] == ["AWS Libfabric"]
    assert [way.text for way in log.channels] == ["NET/AWS Libfabric/0/GDRDMA", "P2P/IPC"]


def test_what_a_host_repeats_is_kept_once():
    """A thousand channels of one way are one fact; another host's are another."""
    one = "a:1:2 [0] NCCL INFO Channel 00/0 : 0[0] -> 8[0] [send] via NET/IB/0\n"
    assert len(nccl_log(one * 1000 + one.replace("a:1", "b:1"), "x").channels) == 2


def test_lines_of_other_programs_say_nothing():
    """A training script prints what it likes."""
    assert nccl_log("epoch 1 Using network Socket via NET/Socket/0\n", "x").networks == ()

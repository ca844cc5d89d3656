"""Texts as the tools print them, of our own making: two nodes, a control network 10.90/24 and a fabric 10.91/24."""

from __future__ import annotations

import json

NEW_LOG = """\
gpu-a:4100:4200 [0] NCCL INFO Bootstrap: Using ctl0:10.90.0.1<0>
gpu-a:4100:4200 [0] NCCL INFO NCCL_SOCKET_IFNAME set by environment to =ctl0
gpu-a:4100:4200 [0] NCCL INFO Initialized NET plugin IB
gpu-a:4100:4200 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1:0:0/RoCE [1]mlx5_1:1/IB [RO]; OOB ctl0:10.90.0.1<0>
gpu-a:4100:4200 [0] NCCL INFO NET/IB : GPU Direct RDMA Enabled for HCA 0 'mlx5_0'
gpu-a:4100:4200 [0] NCCL INFO Using network IB
gpu-a:4100:4210 [0] NCCL INFO Channel 00/0 : 0[0] -> 8[0] [send] via NET/IB/0(3)/GDRDMA(PCI)/Shared
gpu-a:4100:4210 [0] NCCL INFO Channel 01/0 : 0[0] -> 1[1] via P2P/CUMEM
gpu-a:4100:4210 [0] NCCL INFO Connected all rings, use ring PXN 1 GDR 1
[2026-11-30 10:00:00] gpu-a:4100:4220 [0] transport/net_ib.cc:1999 NCCL WARN NET/IB: Got completion from peer \
10.91.0.2<41000> with status=IBV_WC_RETRY_EXC_ERR(12) opcode=IBV_WC_SEND(0) len=0 vendor_err=129 \
localGid ::ffff:10.91.0.1 remoteGids ::ffff:10.92.0.2 hca mlx5_0
gpu-a:4100:4220 [0] NCCL WARN socketFinalizeAccept from 10.91.0.77<51234>: socket magic mismatch \
(peer 0x1 != expected 0x2), discarding
"""
OLD_LOG = """\
[1,0]<stdout>:node7:77:99 [0] NCCL INFO Bootstrap : Using [0]ib0:10.91.0.7<0>
[1,0]<stdout>:node7:77:99 [0] NCCL INFO NET/Plugin : No plugin found (libnccl-net.so), using internal implementation
[1,0]<stdout>:node7:77:99 [0] NCCL INFO NET/IB : No device found.
[1,0]<stdout>:node7:77:99 [0] NCCL INFO NET/Socket : Using [0]eth0:10.90.0.7<0> [1]ib0:10.91.0.7<0>
[1,0]<stdout>:node7:77:99 [0] NCCL INFO NET/Socket: Using 2 threads and 8 sockets per thread
[1,0]<stdout>:node7:77:99 [0] NCCL INFO Using network Socket
[1,0]<stdout>:node7:77:101 [0] NCCL INFO Channel 00 : 0 -> 1 via NET/Socket/0
[1,0]<stdout>:node7:77:101 [0] NCCL WARN NET/IB : Got completion from peer 10.91.0.8<1> with status=12 opcode=0 len=0
RuntimeError: Gloo connectFullMesh failed with timed out connecting: SO_ERROR: refused, remote=[127.0.0.1]:40001
"""
RAS_TEXT = """\
NCCL version 2.27.3 compiled with CUDA 12.9

Communicators... (2.05s)
=============

Group     Comms     Nodes     Ranks     Ranks     Ranks    Status  Errors
    0         1         2         8        16        15   RUNNING  INCOMPLETE

Errors
======

DEAD
  1 job process is considered dead (unreachable via the RAS network)

#0-0 (1f2e3d4c5b6a7988) INCOMPLETE
  Missing communicator data from 1 rank

Warnings
========

TIMEOUT
  Encountered 2 communication timeouts while gathering communicator data
"""
RAS_JSON = json.dumps(
    {
        "nccl_version": "2.29.1",
        "communicators": [
            {
                "hash": "0xabc",
                "size": 4,
                "missing_ranks_count": 1,
                "ranks": [{"rank": 2, "status": {"async_error": 6, "abort_flag": False}}],
            }
        ],
    }
)
TESTS = """\
# nThread 1 nGpus 1 minBytes 8 maxBytes 134217728 step: 2(factor)
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
        1024           256     float     sum      -1    20.10    0.05    0.09      0    19.90    0.05    0.10      0
   134217728      33554432     float     sum      -1  30001.0    4.47    8.10      0  29999.0    4.47    8.20      2
# Out of bounds values : 2 FAILED
# Avg bus bandwidth    : 4.1234
"""
ETHTOOL = """\
NIC statistics:
     rx_vport_unicast_bytes: 1000
     tx_vport_unicast_bytes: 2000
     rx_vport_rdma_unicast_bytes: 30
     tx_vport_rdma_unicast_bytes: 40
     rx_prio3_pause: 0
     tx_prio3_pause_duration: 9
     ch0_events: 12
"""
SS = """\
LISTEN 0      128          0.0.0.0:29500       0.0.0.0:*     users:(("python3",pid=42,fd=9)) ino:1 sk:2
\t bbr cwnd:10
ESTAB  0      0          10.91.0.1:41000    10.91.0.2:52000 users:(("envoy",pid=7,fd=30)) uid:1337
\t cubic wscale:7,7 rto:204 rtt:2.5/1.2 mss:1388 pmtu:1450 bytes_sent:99 bytes_acked:98 retrans:0/17 rcv_space:1
ESTAB  0      0      [fe80::1%fab0]:41001    [fe80::2]:52001
ESTAB  0      0        [::ffff:10.91.0.1]:41002    [::ffff:10.91.0.3]:52001 rtt:0.05/0.01 mss:8948 pmtu:9000
"""
CONNTRACK = """\
tcp      6 431999 ESTABLISHED src=10.91.0.1 dst=10.91.0.2 sport=41000 dport=52000 \
src=127.0.0.1 dst=10.91.0.1 sport=15001 dport=41000 [ASSURED] mark=0 use=1
ipv4     2 udp      17 29 src=10.90.0.1 dst=10.90.0.2 sport=5353 dport=53 \
src=10.90.0.2 dst=10.90.0.1 sport=53 dport=5353 mark=0 use=1
icmp     1 29 src=10.91.0.1 dst=10.91.0.2 type=8 code=0 id=3 src=10.91.0.2 dst=10.91.0.1 type=0 code=0 id=3 use=1
"""
NSTAT = """\
#kernel
TcpOutSegs                      5000000            0.0
TcpRetransSegs                  25000              0.0
"""
RDMA_LINK = json.dumps(
    [{"ifindex": 0, "ifname": "mlx5_0", "port": 1, "state": "ACTIVE", "physical_state": "LINK_UP", "netdev": "fab0"}]
)
RDMA_STATISTIC = json.dumps(
    [{"ifindex": 0, "ifname": "mlx5_0", "port": 1, "out_of_sequence": 4, "rx_write_requests": 5}]
)
PORT = "/sys/class/infiniband/mlx5_0/ports/1"
SYSFS = {
    f"{PORT}/state": "4: ACTIVE\n",
    f"{PORT}/rate": "200 Gb/sec (4X HDR)\n",
    f"{PORT}/link_layer": "Ethernet\n",
    f"{PORT}/gids/0": "0000:0000:0000:0000:0000:0000:0000:0000\n",
    f"{PORT}/gids/3": "0000:0000:0000:0000:0000:ffff:0a5b:0001\n",
    f"{PORT}/gid_attrs/ndevs/3": "fab0\n",
    f"{PORT}/pkeys/0": "0xffff\n",
    f"{PORT}/pkeys/1": "0x0000\n",
    f"{PORT}/counters/port_xmit_data": "5000\n",
    f"{PORT}/hw_counters/out_of_sequence": "9\n",
    f"{PORT}/hw_counters/lifespan": "never a number\n",
    "/sys/class/net/fab0/mtu": "9000\n",
}
GROUPS = json.dumps(
    {
        "SecurityGroups": [
            {
                "GroupId": "sg-1",
                "IpPermissions": [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1"}]}],
                "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
            }
        ]
    }
)

"""The codes of what is right and yet worth a look, 13xx, and of what is permitted and a risk, 14xx."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ringfence.policy.code import INFO, WARNING, Code

LINT_CODES: Mapping[str, Code] = MappingProxyType(
    {
        # 13xx: right, but worth a look
        "RF1301": Code(WARNING, "a rule has expired and does nothing", "Remove the rule or set a later time"),
        "RF1302": Code(WARNING, "no rule names a workload, so it can neither call nor be called", "Add an Allow"),
        "RF1303": Code(
            WARNING,
            "two workloads match the same processes, so each such process gets both identities",
            "Add a selector that tells them apart",
        ),
        "RF1304": Code(
            WARNING, "a workload has neither match nor launch, so nothing gets its identity", "Add match or launch"
        ),
        "RF1305": Code(
            WARNING,
            "a rule names callers of a trust domain whose bundle the server has not, so none of them gets in",
            "Run `ringfence federation create` or `ringfence bundle set` for it",
        ),
        "RF1307": Code(
            WARNING,
            "a route leads callers of a port to one where no Allow lets them in: they are refused there",
            "Add an Allow from them to that port, or send them elsewhere",
        ),
        "RF1308": Code(
            WARNING,
            "the rules of a port refuse the health checks of its callers: to them no replica is healthy",
            "Add the check's method and path to the Allow of its callers",
        ),
        "RF1309": Code(
            WARNING,
            "a port takes callers without mutual TLS, who prove no identity and whose bytes anybody on the way reads",
            "Bring the callers into the mesh and remove plaintext; narrow it by from until then",
        ),
        "RF1310": Code(
            WARNING,
            "a port took callers without mutual TLS, and that has ended",
            "Remove plaintext, and the rules that name such callers",
        ),
        "RF1311": Code(
            WARNING,
            "a rule names callers without an identity at a port that takes none, so they are not let in",
            "Remove {plaintext: true} from the rule, or give the port plaintext with an end, an owner and a reason",
        ),
        "RF1312": Code(
            WARNING,
            "a fabric of a kind that has partitions names none, so whoever is on the wire is in it",
            "Give it the partition that its tenants have",
            threat="FAB-02",
        ),
        "RF1313": Code(
            WARNING,
            "a fabric is the default partition 0x7fff, of which every port is a member until somebody says otherwise",
            "Give it a pkey of its own, and the default partition limited membership",
            threat="FAB-03",
        ),
        "RF1314": Code(
            WARNING, "a grant of a fabric has expired and does nothing", "Remove the grant or set a later time"
        ),
        "RF1315": Code(
            WARNING,
            "the ports of a fabric hold one that gives a job, or the node, to whoever reaches it",
            "Leave the port out: rendezvous goes through the proxies, and what is left is for another plane",
            threat="FAB-01",
        ),
        "RF1316": Code(
            WARNING,
            "a tenant of a fabric is a namespace without workloads, so nobody can be granted it there",
            "Correct the name, or declare a workload there",
        ),
        "RF1317": Code(
            WARNING,
            "two fabrics name an interface in common, and no partition tells them apart",
            "Name interfaces that only one of them has, or give each a partition",
            threat="FAB-02",
        ),
        # 14xx: permitted, and a risk
        "RF1401": Code(
            INFO,
            "an Allow lets in callers without an identity",
            "Bring them into the mesh and name them; until then narrow the rule by cidrs, http and expires",
        ),
        "RF1402": Code(
            INFO,
            "a rule depends on the address that a call comes from, which networks give away anew and others may forge",
            "Let identities alone decide where they can",
        ),
        "RF1403": Code(
            INFO,
            "a rule in shadow mode decides nothing",
            "Enforce it once its records say what was expected, or remove it",
        ),
        "RF1404": Code(
            INFO, "an Allow lets in every workload of the mesh, those to come included", "Name those who call"
        ),
        "RF1405": Code(
            INFO,
            "an Allow lets in everybody of another trust domain, whoever its authority vouches for",
            "Name those who call by their ids",
        ),
        "RF1406": Code(
            INFO,
            "TLS passes through the proxy, which judges by the name that is asked for and sees no request",
            "Write tls: true, so that the proxy originates TLS and requests are judged",
        ),
        "RF1407": Code(INFO, "a host outside is called without TLS, and proves nothing", "Write tls: true"),
        "RF1408": Code(
            INFO,
            "a host with a star is as many hosts as whoever answers for the name likes",
            "Declare each host by its exact name",
        ),
        "RF1409": Code(
            INFO,
            "nothing keeps strangers off a fabric: whoever is on the wire reads and writes what the job computes",
            "Partition it, and name what enforces that",
            threat="FAB-02",
        ),
        "RF1410": Code(
            INFO,
            "tenants share a partition of a fabric, and nothing tells them apart in it",
            "Give each tenant a partition of its own, or write one Fabric for each",
            threat="FAB-02",
        ),
        "RF1411": Code(
            INFO,
            "a port at which a job is joined, or its code is run, lets in more than the workloads of that job",
            "Name the job's own workloads one by one, and put them into one FabricGrant",
            threat="FAB-01",
        ),
    }
)

"""What each finding in intent documents stands for, by its code: here the errors, 10xx to 12xx; see lint_codes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ringfence.policy.code import ERROR, Code
from ringfence.policy.lint_codes import LINT_CODES

# Codes are never reused for another cause: people search for them and scripts match on them.
CODES: Mapping[str, Code] = MappingProxyType(
    {
        # 10xx: the text
        "RF1001": Code(ERROR, "the text is not YAML", "Correct the syntax at the place named"),
        "RF1002": Code(ERROR, "the file is not UTF-8 text", "Save the file as UTF-8"),
        "RF1003": Code(ERROR, "the file is too large, too deep or has too many values", "Split it into several files"),
        "RF1004": Code(ERROR, "an anchor, alias, tag or merge key is used", "Write the value out where it is needed"),
        "RF1005": Code(ERROR, "a key appears twice in one mapping", "Remove one of the two"),
        "RF1006": Code(ERROR, "a document or key has the wrong form", "Write a mapping with kind, metadata and spec"),
        # 11xx: one document
        "RF1101": Code(
            ERROR, "the kind or apiVersion is unknown", "Use apiVersion ringfence.dev/v1alpha1 and a known kind"
        ),
        "RF1102": Code(ERROR, "a field is unknown", "Remove it or correct its spelling"),
        "RF1103": Code(ERROR, "a required field is missing", "Add the field"),
        "RF1104": Code(ERROR, "a value has the wrong type or is out of range", "Correct the value"),
        "RF1105": Code(ERROR, "a name is not well formed", "Use 1 to 63 lower-case letters, digits and dashes"),
        "RF1106": Code(ERROR, "a selector is unknown, or not allowed here", "Use a selector that an attestor makes"),
        "RF1107": Code(
            ERROR,
            "a path is no pattern",
            "Write /segment/segment, * for one segment, and ** only as the last one",
        ),
        "RF1108": Code(ERROR, "a duration or time is not well formed", "Write 90s, 15m, 1h or 2026-12-31T00:00:00Z"),
        "RF1109": Code(
            ERROR,
            "a CA cannot be read or holds no certificate",
            "Name a PEM file beside the document, or write the PEM inline",
        ),
        "RF1110": Code(
            ERROR,
            "a key set cannot be read, is secret or holds no key to verify by",
            "Write the public keys as the issuer's jwks_uri serves them",
        ),
        "RF1111": Code(
            ERROR,
            "a host outside is a cloud's metadata service, which hands out the machine's credentials",
            "Remove it: no workload may reach it",
        ),
        "RF1112": Code(
            ERROR,
            "a fabric has a partition of another kind than its own, or one out of range",
            "InfiniBand has a pkey, RoCE and TCP have a vlan, EFA a securityGroup, Slingshot a vni, NVLink has none",
        ),
        "RF1113": Code(
            ERROR,
            "what is said to enforce a fabric cannot see, or cannot hold, what crosses it",
            "Name what does, see docs/fabric.md; or write enforcedBy: nothing, which is honest too",
        ),
        # 12xx: all documents together
        "RF1201": Code(ERROR, "a name is declared twice", "Rename or remove one of the two"),
        "RF1202": Code(ERROR, "a rule names what no document declares", "Declare it, or correct the name or namespace"),
        "RF1203": Code(ERROR, "a rule names a port that is not served", "Use a port that the destination declares"),
        "RF1204": Code(ERROR, "a rule leaves the port open although there is not exactly one", "Add port: NAME"),
        "RF1205": Code(
            ERROR,
            "a rule looks at requests on a port that does not speak HTTP",
            "Remove http from the rule, or point the rule at an http or grpc port",
        ),
        "RF1206": Code(ERROR, "two ports of one workload clash", "Give each port its own name and number or socket"),
        "RF1207": Code(ERROR, "there is more than one Mesh", "Keep one Mesh document"),
        "RF1208": Code(ERROR, "no trust domain is known", "Add a Mesh document with spec.trustDomain"),
        "RF1209": Code(ERROR, "a port has more than one Traffic", "Keep one Traffic for each port"),
        "RF1210": Code(
            ERROR,
            "a Traffic asks for what its port cannot do",
            "Leave the field out, or point the Traffic at a port whose protocol has it",
        ),
        "RF1211": Code(
            ERROR,
            "a rule names gRPC calls on a port that does not speak gRPC",
            "Point the rule at a grpc port, or write the requests as http",
        ),
        "RF1212": Code(
            ERROR,
            "a caller of the mesh's own trust domain is named by trustDomain or id",
            "Write {workload: NAME}, {namespace: NS} or {all: true}",
        ),
        "RF1213": Code(
            ERROR,
            "a rule asks for a token towards a host outside",
            "Ask for tokens at the ports of workloads only",
        ),
        "RF1214": Code(
            ERROR,
            "a rule asks where calls to a host outside come from",
            "Leave cidrs out: the proxy that judges them is the caller's own",
        ),
        "RF1215": Code(
            ERROR,
            "two fabrics have addresses in common, so that one address is on either",
            "Give each CIDRs of its own, or make them one fabric",
        ),
        "RF1216": Code(
            ERROR,
            "a grant is for callers of a namespace that is no tenant of the fabric",
            "Have the fabric's admin add the namespace to its tenants, or leave it out of the grant",
        ),
        "RF1217": Code(
            ERROR,
            "a grant is for a network that carries no collectives",
            "Let Allow rules decide who reaches services, storage and management; grant fabrics of plane fabric",
        ),
        "RF1218": Code(
            ERROR,
            "a rule asks which name a caller asks for, at a port that has only one",
            "Leave serverNames out: it narrows an External with a star; a workload and an exact host are what they are",
        ),
        "RF1219": Code(
            ERROR,
            "a rule asks for a name that is none of the hosts that it leads to",
            "Write a name below the star, or lead the rule to the External that owns the name",
        ),
        "RF1220": Code(
            ERROR,
            "two workloads of a namespace are the ranks of one job",
            "Give each a job of its own, or make them one workload: a rank's identity does not tell them apart",
        ),
        **LINT_CODES,
    }
)

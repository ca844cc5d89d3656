"""Commands of a TPM: what is asked, what a refusal says, and that nothing of ours is left in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.broker.agent.tpm.commands import NULL, Key, Tpm
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.tpm.reader import number, sized
from tests.broker.agent.tpm.answers import answering, done, refused

PARENT = Key(0x81000001, b"")
CREATE, LOAD, FLUSH, CERTIFY = 0x131, 0x157, 0x165, 0x148
RETRY = 0x922


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (0x1DF, "damaged, or of another TPM"),  # TPM_RC_INTEGRITY of the first parameter
        (0x98E, "locked by a password"),  # TPM_RC_AUTH_FAIL of the first session
        (0x902, "no room for another key"),
        (0x4A0, "signs only what the TPM itself hashed"),
        (0x101, "(0x101)"),  # TPM_RC_FAILURE, which says nothing more
    ],
)
def test_a_refusal_says_what_and_why(tmp_path: Path, code: int, says: str) -> None:
    """INVALID, with the command and the code; and where the TPM is."""
    with (
        answering(tmp_path, [refused(code)]) as tpm,
        pytest.raises(RingfenceError) as caught,
        Tpm.open(tpm.tcti) as opened,
    ):
        opened.load(PARENT, b"", b"")
    assert caught.value.kind is Kind.INVALID
    assert f"TPM2_LOAD (0x{code:x})" in caught.value.detail
    assert says in caught.value.detail
    assert caught.value.where == tpm.tcti


def test_a_tpm_that_says_again_is_asked_again(tmp_path: Path) -> None:
    """The same command, until it answers."""
    answers = [refused(RETRY), refused(RETRY), done(sized(b"said") + b"signed")]
    with answering(tmp_path, answers) as tpm, Tpm.open(tpm.tcti) as opened:
        assert opened.certify(PARENT, PARENT, b"q") == (b"said", b"signed")
    assert tpm.codes == [CERTIFY] * 3
    assert len(set(tpm.asked)) == 1


def test_one_that_says_nothing_else_is_given_up(tmp_path: Path) -> None:
    """After ten times."""
    with (
        answering(tmp_path, [refused(RETRY)] * 11) as tpm,
        pytest.raises(RingfenceError, match="0x922"),
        Tpm.open(tpm.tcti) as opened,
    ):
        opened.certify(PARENT, PARENT, b"q")
    assert len(tpm.asked) == 10


def test_what_was_loaded_is_unloaded_the_last_first(tmp_path: Path) -> None:
    """Without a resource manager it would fill the TPM."""
    loaded = [done(sized(b"public"), handle) for handle in (0x80000000, 0x80000001, 0x80000002)]
    with answering(tmp_path, [*loaded, *[done(sessions=False)] * 3]) as tpm, Tpm.open(tpm.tcti) as opened:
        first, *_ = [opened.create_primary(NULL, b"template") for _ in range(3)]
        opened.unload(first)
        opened.unload(PARENT)  # kept there by its owner
    assert [command[10:] for command in tpm.asked[3:]] == [number(0x80000000 + which, 4) for which in (0, 2, 1)]


def test_what_was_loaded_is_unloaded_when_a_command_fails(tmp_path: Path) -> None:
    """And the failure is what is told."""
    answers = [done(sized(b"public"), 0x80000000), refused(0x101), refused(0x101)]
    with (
        answering(tmp_path, answers) as tpm,
        pytest.raises(RingfenceError, match="TPM2_LOAD"),
        Tpm.open(tpm.tcti) as opened,
    ):
        opened.load(opened.create_primary(NULL, b"template"), b"", b"")
    assert tpm.codes == [CREATE, LOAD, FLUSH]


def test_memory_is_read_in_pieces(tmp_path: Path) -> None:
    """A certificate is longer than what a TPM gives at once."""
    public = sized(number(0x01C00002, 4) + number(0x0B, 2) + number(0, 4) + sized(b"") + number(1200, 2)) + sized(b"")
    pieces = [bytes([which]) * size for which, size in enumerate((512, 512, 176))]
    answers = [done(public, sessions=False), *(done(sized(piece)) for piece in pieces)]
    with answering(tmp_path, answers) as tpm, Tpm.open(tpm.tcti) as opened:
        assert opened.read_memory(0x01C00002) == b"".join(pieces)
    assert [command[-4:] for command in tpm.asked[1:]] == [
        number(512, 2) + number(0, 2),
        number(512, 2) + number(512, 2),
        number(176, 2) + number(1024, 2),
    ]


@pytest.mark.parametrize("answer", [done(b"\0\xff"), done(b"", sessions=False)])
def test_an_answer_that_makes_no_sense_is_told(tmp_path: Path, answer: bytes) -> None:
    """INVALID: it is this node's TPM that is broken."""
    answer = answer[:2] + number(len(answer), 4) + answer[6:]
    with (
        answering(tmp_path, [answer]) as tpm,
        pytest.raises(RingfenceError, match="answer to TPM2_CERTIFY") as caught,
        Tpm.open(tpm.tcti) as opened,
    ):
        opened.certify(PARENT, PARENT, b"q")
    assert caught.value.kind is Kind.INVALID

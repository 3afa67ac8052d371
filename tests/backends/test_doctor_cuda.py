"""What the doctor says of NVIDIA's cards, from what their tool would say: no card was at hand."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpu_npu_backends.descriptions import BACKENDS
from tpu_npu_backends.doctor import cuda, driver, nvidia_smi, packages
from tpu_npu_backends.doctor.driver import Driver
from tpu_npu_backends.doctor.findings import Finding
from tpu_npu_backends.doctor.nvidia_smi import SeenCard

CUDA = BACKENDS["cuda"]
H100 = SeenCard("NVIDIA H100 80GB HBM3", (9, 0), (580, 95, 5), 81559, 0)
SMI = "NVIDIA H100 80GB HBM3, 9.0, 580.95.05, 81559, 0"
# As the tool prints it: names underlined, tabs, and a legend.
P2P = """
 \t\x1b[4mGPU0\tGPU1\tGPU2\x1b[0m
 GPU0\tX\tOK\tNS\t
 GPU1\tOK\tX\tOK\t
 GPU2\tCNS\tOK\tX\t

Legend:

  X    = Self
  OK   = Status Ok
  CNS  = Chipset not supported
  NS   = Not supported
"""


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`smi("lines of cards", "table of peers")`: an nvidia-smi that says so."""

    def make(cards: str, peers: str = "") -> None:
        (tmp_path / "cards").write_text(cards)
        (tmp_path / "peers").write_text(peers)
        script = f'#!/bin/sh\ncase "$1" in topo) cat {tmp_path}/peers;; *) cat {tmp_path}/cards;; esac\n'
        path = tmp_path / "bin" / "nvidia-smi"
        path.parent.mkdir()
        path.write_text(script)
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")

    return make


def test_a_machine_of_two_cards(smi, monkeypatch):
    smi(f"{SMI}\n{SMI}\n", " \tGPU0\tGPU1\n GPU0\tX\tOK\n GPU1\tOK\tX\n")
    have = {"nvidia-cudnn-cu13": "9.14.0", "nvidia-nccl-cu13": "2.28.3"}
    monkeypatch.setattr(packages, "versions", lambda names: {n: have[n] for n in names if n in have})
    monkeypatch.setattr(packages, "plugin", lambda backend: Path("plugin.so"))
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    rows = cuda.findings(CUDA, lambda *checks, library: [Finding(checks[0], library.name)])
    assert [row.check for row in rows] == [
        *("driver", "compute capability", "preallocation", "cuDNN", "NCCL", "peer access", "shared memory"),
        "plugin",
    ]
    found = {row.check: row for row in rows}
    assert {row.status for row in rows} == {"ok"}
    assert found["compute capability"].found == "9.0"
    assert found["preallocation"].found == "75% of each card: 59.7 of 79.6 GiB"
    assert found["preallocation"].remedy == "XLA_PYTHON_CLIENT_MEM_FRACTION=.9 takes more"
    assert found["cuDNN"].found == "nvidia-cudnn-cu13 9.14.0"
    assert found["peer access"].found == "all 2 cards reach each other"


def test_no_card(monkeypatch):
    monkeypatch.setattr(driver, "look", lambda backend: Driver("no /dev/nvidia, no nvidia-smi", (), (), ""))
    monkeypatch.setattr(packages, "plugin", lambda backend: None)
    monkeypatch.setattr(packages, "versions", lambda names: {})
    rows = {row.check: row for row in cuda.findings(CUDA, lambda *checks, library: [])}
    assert rows.keys() == {"driver", "cuDNN", "NCCL", "plugin"}
    assert rows["driver"] == Finding("driver", "no /dev/nvidia, no nvidia-smi", "wrong", CUDA.bring_device)
    assert rows["NCCL"].status == "absent"


def test_the_driver_in_wsl(tmp_path):
    (tmp_path / "dxg").touch()
    there = Driver("no /dev/nvidia0, nvidia-smi: RTX", (), ("RTX",), "")
    row = cuda.driver_row(CUDA, there, "cu13", root=tmp_path)
    assert (row.status, row.found) == ("ok", f"{there.described}; WSL ({tmp_path}/dxg)")
    row = cuda.driver_row(CUDA, Driver("no /dev/nvidia0", (), (), ""), "cu13", root=tmp_path)
    assert row.status == "wrong" and row.remedy.startswith("install NVIDIA's driver in Windows, none in WSL")


@pytest.mark.parametrize(
    ("version", "flavour", "status", "remedy"),
    [
        ((580, 95), "cu13", "ok", ""),
        ((570, 1), "cu13", "wrong", "update the driver to 580 or later, or pip install 'jax[cuda12]'"),
        ((470,), "cu13", "wrong", "update the driver to 580 or later"),
        ((570, 1), "cu12", "ok", ""),
    ],
)
def test_drivers_by_age(version, flavour, status, remedy):
    seen = Driver("a card", (), ("a card",), "")
    row = cuda.driver_row(CUDA, seen, flavour, [SeenCard("T4", driver=version)], root=Path("/nowhere"))
    assert (row.status, row.remedy) == (status, remedy)


@pytest.mark.parametrize(
    ("found", "flavour", "status", "remedy"),
    [
        ((9, 0), "cu13", "ok", ""),
        ((7, 5), "cu13", "ok", "no bfloat16 there: runs compute in float32"),
        ((7, 0), "cu13", "wrong", "pip install 'jax[cuda12]'"),
        ((3, 5), "cu12", "wrong", "take a newer card"),
        (None, "cu13", "absent", "a driver of 510 or later says it"),
    ],
)
def test_compute_capability(found, flavour, status, remedy):
    row = cuda.capability([H100, SeenCard("T4", found)] if found else [SeenCard("T4")], flavour)
    assert (row.status, row.remedy) == (status, remedy)


@pytest.mark.parametrize(
    ("environment", "used", "found", "remedy"),
    [
        ({}, 30000, "75% of each card: 59.7 of 79.6 GiB; others have 29.3 GiB", "end what takes it"),
        ({"XLA_PYTHON_CLIENT_MEM_FRACTION": ".9"}, 0, "90% of each card: 71.7 of 79.6 GiB", ""),
        ({"XLA_PYTHON_CLIENT_MEM_FRACTION": "90%"}, 0, "XLA_PYTHON_CLIENT_MEM_FRACTION 90%", "it is a frac"),
        ({"XLA_PYTHON_CLIENT_MEM_FRACTION": "nan"}, 0, "XLA_PYTHON_CLIENT_MEM_FRACTION nan", "it is a frac"),
        ({"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}, 0, "none, at most 75% of each card", "memory falls"),
        ({"XLA_PYTHON_CLIENT_ALLOCATOR": "platform"}, 0, "none: XLA_PYTHON_CLIENT_ALLOCATOR=", "slow: "),
    ],
)
def test_preallocation(environment, used, found, remedy):
    card = SeenCard("H100", (9, 0), None, 81559, used)
    row = cuda.preallocation([H100, card], environment)
    assert row.found.startswith(found) and row.remedy.startswith(remedy)
    assert row.status == ("wrong" if remedy == "it is a frac" else "ok")


def test_libraries(monkeypatch):
    monkeypatch.setattr(packages, "versions", lambda names: {})
    monkeypatch.setattr(cuda.ctypes.util, "find_library", lambda stem: None)
    row = cuda.library_row("cuDNN", "cudnn", "cu13", needed=True, install="pip install it")
    assert (row.found, row.status, row.remedy) == ("no nvidia-cudnn-cu13", "wrong", "pip install it")
    row = cuda.library_row("NCCL", "nccl", "cu12", needed=False, install="pip install it")
    assert (row.found, row.status) == ("no nvidia-nccl-cu12; one card needs none", "absent")
    monkeypatch.setattr(cuda.ctypes.util, "find_library", lambda stem: f"lib{stem}.so.9")
    row = cuda.library_row("cuDNN", "cudnn", "cu13", needed=True, install="")
    assert (row.found, row.status) == ("libcudnn.so.9, of the system", "ok")


def test_peer_access():
    row = cuda.peer_access(P2P.splitlines(), "")
    assert row.found == "not between GPU0 and GPU2 (NS)"
    assert row.remedy.startswith("collectives go through the host")
    row = cuda.peer_access((), "nvidia-smi ended with 1")
    assert (row.found, row.status) == ("nvidia-smi ended with 1", "absent")


def test_shared_memory(tmp_path, monkeypatch):
    row = cuda.shared_memory(tmp_path / "none")
    assert row.remedy.startswith("docker run --shm-size=16g")
    monkeypatch.setattr(cuda, "LEAST_SHARED_BYTES", 0)
    assert cuda.shared_memory(tmp_path).remedy == ""


def test_cards_of_drivers_that_say_less():
    said = f"{SMI}\nTesla K80, [N/A], 470.1, [Not Supported], 0\nNo devices were found\n, , , ,\n"
    assert nvidia_smi.cards(said) == [H100, SeenCard("Tesla K80", None, (470, 1), None, 0)]


@given(st.text(st.sampled_from("GPU01 X\tOKNS\n,.9[]\x1b4m٣"), max_size=80))
def test_no_answer_of_the_tool_breaks_the_readers(said):
    for card in nvidia_smi.cards(said):
        assert card.name
    assert "" not in nvidia_smi.apart(nvidia_smi.peers(said)).values()


@given(
    st.integers(2, 9).flatmap(
        lambda n: st.lists(
            st.lists(st.sampled_from(["OK", "NS", "CNS", "U"]), min_size=n, max_size=n),
            min_size=n,
            max_size=n,
        )
    )
)
def test_every_table_of_peers_is_read_back(ways):
    names = [f"GPU{i}" for i in range(len(ways))]
    lines = ["\t" + "\t".join(names)]
    lines += [
        "\t".join([name, *("X" if i == j else ways[i][j] for j in range(len(names)))])
        for i, name in enumerate(names)
    ]
    found = nvidia_smi.peers("\n".join(["", *lines, "", "Legend:", "  X    = Self", "  OK   = Status Ok"]))
    assert found == {(a, b): ways[i][j] for i, a in enumerate(names) for j, b in enumerate(names) if i != j}
    assert len(nvidia_smi.apart(found)) == sum(
        ways[i][j] != "OK" or ways[j][i] != "OK" for i in range(len(names)) for j in range(i)
    )

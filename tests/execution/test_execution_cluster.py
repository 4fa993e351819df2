"""The run's side of a cluster, with a pretended bridge: mistakes are one sentence, a cluster that is lost is waited for."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fourfold import data, execution
from fourfold.cli import main
from fourfold.execution.ray import cluster
from fourfold.parts import measure
from fourfold.record import Cluster, NoAnswerError, UserError
from fourfold.timing.planning import PROCESS_BYTES, trial_memory
from lottery_samples import tiny_spec

SPECS = [tiny_spec(), replace(tiny_spec(), preset="other")]

JOIN = """
import json, os, sys
request = json.loads(sys.stdin.readline())
def tell(kind, **content):
    print(json.dumps({"event": kind, **content}), flush=True)
for kind in ("ready", "joined", "probed"):
    tell(kind)
def tasks():
    while line := sys.stdin.readline().strip():
        task = json.loads(line)
        yield f"{task['spec']['preset']}-{task['trial']}", {"run": run_id(task), "trial": task["trial"]}
def run_id(task):
    from fourfold.record import Spec
    return Spec.from_json(task["spec"]).id
"""


def find_ray(monkeypatch, found) -> None:
    """Let Ray be installed, or not, whatever is true here."""
    find = cluster.importlib.util.find_spec
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name, *rest: found if name == "ray" else find(name, *rest))


@pytest.fixture
def pretend(monkeypatch):
    """Makes a program the bridge, and Ray installed."""

    def put(program):
        find_ray(monkeypatch, object())
        monkeypatch.setattr(cluster, "BRIDGE", [sys.executable, "-c", JOIN + program])

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return put


def run(out, told=None, **more):
    on_event = (lambda event: None) if told is None else told.append
    return execution.run(SPECS, trials=2, out=out, device="cpu", cluster=Cluster(), on_event=on_event, **more)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"gpus_per_trial": 1.5}, "`gpus_per_trial` (=1.5) must be above 0 and at most 1: a trial has one GPU"),
        ({"gpus_per_trial": 0}, "`gpus_per_trial` (=0) must be above 0 and at most 1: a trial has one GPU"),
        ({"memory_per_trial": -1}, "`memory_per_trial` (=-1) must be GiB above 0"),
        ({"memory_per_trial": float("nan")}, "`memory_per_trial` (=nan) must be GiB above 0"),
        ({"address": "head"}, "`address` (='head') must be HOST:PORT of a Ray head, such as 10.0.0.1:6379"),
        ({"address": "ray://head:10001"}, "`address` (='ray://head:10001') must be HOST:PORT of a Ray head"),
        ({"address": "head:70000"}, "`address` (='head:70000') must be HOST:PORT of a Ray head"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}"):
        Cluster(**settings)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--executor", "dask"], "`--executor` (='dask') must be local or ray"),
        (["--address", "head:1"], "`--address` (=head:1) must be left out, or --executor ray given with it"),
        (["--gpus-per-trial", "0.5"], "`--gpus-per-trial` (=0.5) must be left out, or --executor ray given with it"),
        (["--executor", "ray", "--device", "cuda:1"], "`device` (='cuda:1') must be auto, cpu or cuda on a cluster"),
        (
            ["--executor", "ray", "--device", "cpu", "--gpus-per-trial", "0.5"],
            "`gpus_per_trial` (=0.5) must be left out with `device` (='cpu')",
        ),
    ],
)
def test_flags_that_do_not_go_together_are_one_sentence(words, sentence, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "digits", *words, "--out", str(tmp_path / "runs")])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"fourfold: {sentence}\n"
    assert list(tmp_path.iterdir()) == []


def test_without_ray_there_is_one_sentence_and_nothing_is_written(monkeypatch, tmp_path):
    find_ray(monkeypatch, None)
    with pytest.raises(UserError, match=r"^Ray is not installed; `pip install 'fourfold\[ray\]'` adds it$"):
        run(tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", [None, b"", b"HTTP/1.1 400 Bad Request\r\n"], ids=["silent", "closed", "another server"])
def test_an_address_where_no_ray_is_is_one_sentence_in_time(answer, monkeypatch, pretend, tmp_path):
    pretend("")
    monkeypatch.setattr("fourfold.record.cluster.ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                if answer is None:
                    connection.recv(1000)
                    done.wait()
                else:
                    connection.sendall(answer)

        done = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        sentence = rf"^no Ray cluster answers at {address} \(.+\); `ray start --head` starts one$"
        with pytest.raises(UserError, match=sentence):
            execution.run(SPECS, trials=1, out=tmp_path / "runs", device="cpu", cluster=Cluster(address=address))
        done.set()
        thread.join()
    with pytest.raises(UserError, match=sentence):  # nobody listens any more
        execution.run(SPECS, trials=1, out=tmp_path / "runs", device="cpu", cluster=Cluster(address=address))
    assert list(tmp_path.iterdir()) == []


def test_what_the_bridge_has_against_the_cluster_is_the_sentence(pretend, tmp_path):
    pretend("")
    broken = JOIN.replace("tell(kind)\n", 'tell("error", message="node a has torch 1.0 and this machine 2.0")\n', 1)
    cluster.BRIDGE[:] = [sys.executable, "-c", broken]
    with pytest.raises(UserError, match=r"^node a has torch 1\.0 and this machine 2\.0$"):
        run(tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_a_lost_cluster_is_joined_again_and_only_what_is_left_is_run(pretend, tmp_path):
    note = tmp_path / "note"
    pretend(
        f"""
note = {str(note)!r}
tell("cluster", message="2 nodes")
for number, (name, key) in enumerate(tasks()):
    with open(note, "a") as stream:
        stream.write(name + " ")
    if number == 0:
        tell("finished", **key)
    with open(note) as stream:
        again = "|" in stream.read()
    if number and again:
        tell("finished", **key)
with open(note, "a") as stream:
    stream.write("| ")
if again:
    sys.stdin.read()
"""
    )
    told = []
    run(tmp_path / "runs", told)
    first, second, _ = note.read_text().split("| ") if note.read_text().count("|") == 2 else (*note.read_text().split("| "), "")
    assert first.split() == ["tiny-0", "other-0", "tiny-1", "other-1"]
    assert second.split() == ["other-0", "tiny-1", "other-1"]
    assert [event.kind for event in told].count("finished") == 4
    assert [event.message for event in told if event.kind == "cluster"] == ["2 nodes", "2 nodes"]
    assert [event.message for event in told if event.kind == "notice"] == [
        "the Ray cluster on this machine is gone; waiting for it"
    ]


@pytest.mark.slow
def test_a_cluster_that_is_lost_again_and_again_ends_the_run(pretend, tmp_path):
    pretend("list(tasks())")
    told = []
    with pytest.raises(
        UserError, match=r"^the Ray cluster on this machine is gone; all rows so far are safe, the same command"
    ):
        run(tmp_path / "runs", told)
    assert sum(event.kind == "notice" for event in told) == cluster.STALLS


STARTS = """
with open({note!r}, "a+") as stream:
    stream.write("start ")
    stream.seek(0)
    starts = len(stream.read().split())
"""


@pytest.mark.slow
def test_a_level_that_was_finished_gives_a_cluster_its_chances_back(pretend, alone, tmp_path):
    line = alone(SPECS[0]).rows(0)[0].to_line()
    pretend(
        STARTS.format(note=str(tmp_path / "note"))
        + f"""
for name, key in tasks():
    if name == "tiny-0":
        tell("row", **key, line={line!r})
    if starts > {cluster.STALLS + 1}:
        tell("finished", **key)
"""
    )
    told = []
    run(tmp_path / "runs", told)
    assert sum(event.kind == "notice" for event in told) == cluster.STALLS + 1
    assert sum(event.kind == "finished" for event in told) == 4


def test_a_cluster_that_is_not_there_yet_is_waited_for_and_a_torn_line_is_no_answer(pretend, tmp_path):
    pretend("")
    begin = STARTS.format(note=str(tmp_path / "note"))
    silent = "import sys\nif starts == 2:\n    sys.exit()\n"
    finish = """
made = list(tasks())
if starts == 1:
    sys.stdout.write('{"event": "fin')
    sys.exit()
for _, key in made:
    tell("finished", **key)
"""
    cluster.BRIDGE[:] = [sys.executable, "-c", begin + silent + JOIN + finish]
    told = []
    run(tmp_path / "runs", told)
    assert (tmp_path / "note").read_text().split() == ["start"] * 3
    assert [event.kind for event in told] == ["notice"] + ["finished"] * 4


def test_a_trial_that_is_given_up_does_not_stop_the_others(pretend, tmp_path):
    pretend(
        """
for number, (name, key) in enumerate(tasks()):
    tell("lost-worker", **key, message=f"{name} moves")
    tell("lost" if number in (0, 2) else "finished", **key, message=f"{name} was given up")
sys.stdin.read()
"""
    )
    told = []
    with pytest.raises(
        UserError, match=r"^tiny-0 was given up \(and 1 more\); all rows so far are safe: ask for more --memory"
    ):
        run(tmp_path / "runs", told)
    assert [event.trial for event in told if event.kind == "finished"] == [0, 1]
    assert [event.message for event in told if event.kind == "notice"][:2] == ["tiny-0 moves", "other-0 moves"]


def test_after_the_deadline_a_lost_cluster_is_not_waited_for(pretend, tmp_path):
    pretend("list(tasks()); import time; time.sleep(1)")
    told = []
    run(tmp_path / "runs", told, budget_seconds=1)
    assert [event.kind for event in told if event.kind != "notice"] == ["out-of-time"] * 4


def test_the_bridge_ends_when_the_run_does(pretend, tmp_path):
    pretend('tell("cluster", message=str(os.getpid())); list(tasks()); tell("alive"); sys.stdin.read()')

    class MineError(Exception):
        pass

    pids = []

    def give_up(event):
        pids.append(int(event.message))
        raise MineError

    with pytest.raises(MineError):
        execution.run(SPECS, trials=1, out=tmp_path, device="cpu", cluster=Cluster(), on_event=give_up)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


INTERRUPTED = """
import sys
from fourfold.cli import main
from fourfold.execution.ray import cluster
find = cluster.importlib.util.find_spec
cluster.importlib.util.find_spec = lambda name, *rest: object() if name == "ray" else find(name, *rest)
cluster.BRIDGE[:] = [sys.executable, "-c", sys.argv[1]]
main(["run", "digits", "--algebra", "real", "--trials", "1", "--executor", "ray", "--out", sys.argv[2]])
"""


@pytest.mark.slow
def test_ctrl_c_ends_the_bridge_in_order(tmp_path):
    note = tmp_path / "note"
    bridge = (
        f"{JOIN}list(tasks()); tell('cluster', message='here'); sys.stdin.read(); open({str(note)!r}, 'w').write('in order')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, bridge, str(tmp_path / "runs")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "RAY_ADDRESS": ""},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        while "here" not in process.stdout.readline():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all processes of the foreground get it
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert errors == "\nfourfold: stopped; all finished levels are on disk, the same command resumes\n"
    assert note.read_text() == "in order"


TELL_ALL = """
tell("cluster", message=json.dumps(request | {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}))
for _, key in tasks():
    tell("finished", **key)
sys.stdin.read()
"""


def test_the_bridge_is_told_what_it_needs(pretend, tmp_path):
    pretend(TELL_ALL)
    told = []
    run(tmp_path, told, workers=3, data_dir=tmp_path)
    request = json.loads(told[0].message)
    expected = {"address": None, "cpus": 3, "workers": 3, "trials": 4, "device": "cpu", "datasets": ["digits"]}
    expected |= {"data_dir": str(tmp_path), "RAY_AUTH_MODE": "token"}
    assert {name: request[name] for name in expected} == expected
    assert len(request["RAY_AUTH_TOKEN"]) == 64
    assert not Path(request["temporary"]).exists()  # any longer
    images = data.load("digits")
    memory = PROCESS_BYTES + 1797 * 64 + 80 * measure(SPECS[0]).parameters
    assert request["memory"] == trial_memory(SPECS[0], images) == memory


def test_a_cluster_of_others_gets_no_token_and_memory_is_in_gib(pretend, monkeypatch, tmp_path):
    pretend(TELL_ALL)
    monkeypatch.setattr(Cluster, "greet", lambda self: None)
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ours")
    told = []
    place = Cluster(memory_per_trial=1.5)
    execution.run(SPECS, trials=1, out=tmp_path, device="cpu", cluster=place, on_event=told.append)
    request = json.loads(told[0].message)
    assert (request["address"], request["memory"], request["RAY_AUTH_TOKEN"]) == ("head:6379", 1.5 * 2**30, "ours")


def test_a_grpc_server_is_enough_of_an_answer():
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            Cluster(address=f"127.0.0.1:{port}").greet()
        finally:
            server.stop(None)


def test_behind_tls_nobody_is_expected_to_answer_a_plain_greeting(monkeypatch):
    monkeypatch.setattr("fourfold.record.cluster.ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = Cluster(address=f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(NoAnswerError, match="timed out"):
            place.greet()
        monkeypatch.setenv("RAY_USE_TLS", "1")
        place.greet()

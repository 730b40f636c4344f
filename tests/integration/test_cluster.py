"""The same profiles on a real Dask cluster, whatever happens to its workers; an error of ours for what can't be."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

import ct_daemon
from ct_daemon.errors import ClusterError, SourceError
from ct_daemon.scan import cluster as module
from ct_daemon.scan.cluster import Cluster
from ct_daemon.scan.parts import ParquetPart, TablePart, TextPart
from ct_daemon.scan.profiles import profile_parts, profile_parts_like
from ct_daemon.scan.shipping import versions
from ct_daemon.workers import two_files
from ct_daemon.workers.client import WorkerProcess
from ct_daemon.workers.comparing import Comparer
from tests.integration.dask_rig import Counted, Holding, LocalCluster, changing, nth, process_of, raising
from tests.integration.rig import comparison, rows

NOWHERE = "tcp://127.0.0.1:1"


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    """A scheduler and two workers."""
    running = LocalCluster(tmp_path_factory.mktemp("dask"))
    running.worker()
    running.worker()
    yield running
    running.close()


@pytest.fixture
def cluster(dask):
    with Cluster(dask.address, connect_s=60) as connected:
        yield connected


def table(n: int, seed: int) -> pa.Table:
    generator = np.random.default_rng(seed)
    x = generator.normal(seed / 10, 1, n)
    x[:5] = [np.nan, np.inf, -np.inf, 0.0, -0.0]
    return pa.table(
        {
            "x": pa.array(x, mask=generator.random(n) < 0.01),
            "tail": generator.lognormal(0, 3, n),
            "whole": generator.integers(0, 50, n),
            "name": pa.array(np.array(["red", "green", "blue", None])[generator.integers(0, 4, n)]),
            "flag": generator.random(n) < 0.3,
            "at": pa.array(generator.integers(0, 10**9, n)).cast(pa.timestamp("s")),
        }
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> SimpleNamespace:
    """Six Parquet files, one without a column, and what they are in one process: many rows, and few."""
    folder = tmp_path_factory.mktemp("files")
    found = SimpleNamespace(folder=folder, many=[], few=[])
    for paths, n in ((found.many, 8000), (found.few, 90)):
        for number in range(6):
            paths.append(folder / f"{n}-{number}.parquet")
            one = table(n, number)
            pq.write_table(one if number != 3 else one.drop_columns("flag"), paths[-1], row_group_size=3000)
    found.baseline = ct_daemon.profile(found.many)
    found.window = ct_daemon.profile(found.few, like=found.baseline)
    return found


def test_baselines_and_windows_are_the_same_to_the_last_bit(files, cluster):
    assert ct_daemon.profile(files.many, spread=cluster) == files.baseline
    assert ct_daemon.profile(files.few, spread=cluster) == ct_daemon.profile(files.few)
    assert ct_daemon.profile(files.few, like=files.baseline, spread=cluster) == files.window
    here = ct_daemon.compare(files.many, files.few).to_dict()
    assert ct_daemon.compare(files.many, files.few, spread=cluster).to_dict() == here


def test_paths_may_be_relative(files, cluster, monkeypatch):
    monkeypatch.chdir(files.folder)
    paths = [path.name for path in files.few]
    assert ct_daemon.profile(paths, like=files.baseline, spread=cluster) == files.window


def test_files_are_read_by_workers_and_tables_here(files, cluster):
    text = files.folder / "text.csv"
    pyarrow.csv.write_csv(table(400, 9), text)
    parts = [ParquetPart(files.few[0]), TablePart(table(300, 7)), TextPart(text), ParquetPart(files.few[1])]
    pids = list(cluster.map(process_of, [(part,) for part in parts]))
    assert [pid == os.getpid() for pid in pids] == [False, True, False, False]
    assert profile_parts(parts, spread=cluster) == profile_parts(parts)
    whole = profile_parts_like(parts, files.baseline, ["x", "new"], cluster)
    assert whole == profile_parts_like(parts, files.baseline, ["x", "new"])


def test_what_tasks_share_travels_once_and_results_come_in_order_a_few_ahead(files, cluster, tmp_path):
    common, part = Counted(), ParquetPart(files.few[0])
    tasks = [(part, common, number, str(tmp_path)) for number in range(40)]
    coming = iter(cluster.map(nth, tasks))
    assert next(coming) == 0
    assert len(list(tmp_path.iterdir())) <= module.AHEAD * 3
    assert list(coming) == list(range(1, 40))
    assert common.pickled == 1


# --- workers that are lost -----------------------------------------------------------------------------------


def killed_midway(dask, holding, work):
    """What `work` gives though the workers that get stuck are killed in the middle of it."""
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(work, holding)
        for pid in holding.caught():
            os.kill(pid, signal.SIGKILL)
            dask.worker()
        return result.result(60)


def test_a_baseline_is_the_same_when_a_worker_is_killed_midway(dask, cluster, files, tmp_path):
    holding = Holding(cluster, tmp_path, (files.many[2].name,), nth=2)
    found = killed_midway(dask, holding, lambda spread: ct_daemon.profile(files.many, spread=spread))
    assert found == files.baseline


def test_a_window_is_the_same_when_all_workers_are_killed_midway(dask, cluster, files, tmp_path):
    holding = Holding(cluster, tmp_path, (files.few[1].name, files.few[2].name))
    found = killed_midway(
        dask, holding, lambda spread: ct_daemon.profile(files.few, like=files.baseline, spread=spread)
    )
    assert found == files.window


def test_what_a_cluster_does_not_deliver_is_told(files, tmp_path, monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    own = LocalCluster(tmp_path)

    def reason(work) -> str:
        with pytest.raises(ClusterError) as error:
            work()
        return error.value.reason

    def count(spread) -> object:
        return ct_daemon.profile(files.few, like=files.baseline, spread=spread)

    def stuck(name: str, **options) -> Holding:
        (tmp_path / name).mkdir()
        cluster = ends.enter_context(Cluster(own.address, **{"connect_s": 60} | options))
        return Holding(cluster, tmp_path / name, (files.few[1].name,))

    with ExitStack() as ends:
        ends.callback(own.close)
        assert reason(lambda: count(Cluster(own.address, connect_s=0.2))) == "cluster_empty"
        own.worker()
        holding = stuck("killer")
        assert reason(lambda: killed_midway(own, holding, count)) == "cluster_failed"
        assert reason(lambda: count(stuck("silent", patience_s=0.1))) == "cluster_silent"
        own.worker()
        holding = stuck("lost", connect_s=5)
        with ThreadPoolExecutor(1) as thread:
            result = thread.submit(reason, lambda: count(holding))
            holding.caught()
            own.scheduler.kill()
            assert result.result(30) == "cluster_lost"


# --- what can't be -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (NOWHERE, "see that it runs there"),
        ("127.0.0.1:8786", "protocol"),
        ("inproc://127.0.0.1/1", "tcp://HOST:PORT"),
        ("tcp://127.0.0.1:port", "port"),
        ("tls://127.0.0.1:8786", "certificates"),
    ],
)
def test_a_scheduler_that_can_not_be_reached(files, address, said):
    threads = threading.active_count()
    with pytest.raises(ClusterError, match=said) as error:
        ct_daemon.profile(files.few, spread=Cluster(address, connect_s=0.2))
    assert error.value.reason == "cluster_unreachable"
    assert threading.active_count() == threads


def test_something_that_listens_and_never_answers_is_not_waited_for(files):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ClusterError) as error:
            ct_daemon.profile(files.few, spread=Cluster(address, connect_s=0.3))
    assert error.value.reason == "cluster_unreachable"


def test_without_the_extra_it_is_said_what_to_install(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"ct-daemon\[dask\]") as error:
        ct_daemon.profile(files.few, spread=Cluster(NOWHERE))
    assert error.value.reason == "dask_missing"


def test_workers_with_other_versions_are_refused(files, cluster, monkeypatch):
    other = versions() | {"numpy": "1.0"}
    monkeypatch.setattr(module, "versions", lambda: other)
    with pytest.raises(ClusterError, match=r"numpy [\d.]+ instead of 1\.0") as error:
        ct_daemon.profile(files.few, spread=cluster)
    assert error.value.reason == "cluster_versions"


def test_a_file_that_can_not_be_read_is_refused_as_it_is_here(cluster, tmp_path, files):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no PAR1")
    for spread in ({}, {"spread": cluster}):
        with pytest.raises(SourceError, match=r"bad\.parquet") as error:
            ct_daemon.profile([*files.few, tmp_path / "bad.parquet"], like=files.baseline, **spread)
        assert error.value.reason == "unreadable"


@pytest.mark.linux
def test_a_file_that_workers_do_not_see_as_it_is_here(cluster, files):
    with files.few[0].open("rb") as open_here:
        number = os.dup2(open_here.fileno(), 200)
        try:
            part = ParquetPart(Path(f"/proc/self/fd/{number}"))  # another file in each process
            with pytest.raises(ClusterError, match="under the same path") as error:
                profile_parts_like([part], files.baseline, spread=cluster)
        finally:
            os.close(number)
    assert error.value.reason == "cluster_file"


def test_a_file_that_is_another_one_there(cluster, tmp_path):
    path = tmp_path / "one.parquet"
    path.write_bytes(b"before")
    with pytest.raises(ClusterError, match="5 bytes instead of 6") as error:
        list(cluster.map(changing, [(ParquetPart(path),)]))
    assert error.value.reason == "cluster_file"


def test_a_fault_of_our_own_is_told_with_its_place(cluster, files):
    with pytest.raises(ClusterError, match=r"90-0\.parquet: ZeroDivisionError: in a pass") as error:
        list(cluster.map(raising, [(ParquetPart(files.few[0]),)]))
    assert error.value.reason == "cluster_failed"


# --- who uses it ---------------------------------------------------------------------------------------------


def test_the_command_says_the_same(dask, files, capsys):
    arguments = [str(files.many[0]), str(files.many[5]), "--json"]
    there = subprocess.run(
        [sys.executable, "-m", "ct_daemon", "drift", *arguments, "--dask", dask.address],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert two_files.main(arguments) == 0
    assert (there.returncode, there.stdout) == (0, capsys.readouterr().out)
    assert two_files.main([*arguments, "--dask", "tls://127.0.0.1:1"]) == 15
    assert json.loads(capsys.readouterr().out)["error"]["reason"] == "cluster_unreachable"


def test_the_worker_compares_a_window_there_and_here_when_it_is_away(dask, shop, trained):
    objects = [shop.stored(rows(100, start=1000 * n, seed=n, shift=n)) for n in range(3)]
    asked = comparison(trained, *objects)
    here = Comparer().compare(asked)
    worker = WorkerProcess(memory_mb=2048, time_s=60, idle_s=60)
    try:
        with capture_logs() as logs:
            assert worker.compare(replace(asked, cluster=dask.address)) == here
        assert logs == []
        with capture_logs() as logs:
            assert worker.compare(replace(asked, cluster="tls://127.0.0.1:1")) == here
        assert [line["event"] for line in logs] == ["worker.warned"]
        assert "without the cluster" in logs[0]["detail"]
    finally:
        worker.close()

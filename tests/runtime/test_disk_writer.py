"""The log-writer process over real files: order, locks, deaths, failures (REPLICATION.md §5)."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gramme.kernel.errors import Incompatible, Invariant
from gramme.kernel.ports import SegmentWrite
from gramme.runtime.disk import writer
from gramme.runtime.disk.directory import DataDirectory, DirectoryInUse, read_segments
from gramme.runtime.disk.log_writer import LogWriterDisk
from gramme.runtime.disk.memory import MemoryLogDisk

SEGMENT = 1 << 20


FAILURES: list[str] = []


def unexpected(reason: str) -> None:
    """A loop swallows what its callbacks raise, so `until` raises it."""
    FAILURES.append(reason)


def run(main: Coroutine[Any, Any, None], loop: str = "asyncio") -> None:
    """Run `main` on one of the two loops."""
    if loop == "uvloop":
        uvloop.run(main)
    else:
        asyncio.run(main)


def submit(disk: LogWriterDisk, *writes: SegmentWrite) -> Awaitable[None]:
    """Submit and get something to wait for."""
    done: list[bool] = []
    disk.submit(writes, lambda: done.append(True))
    return until(lambda: bool(done))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for another process; the test's own limit ends it."""
    while not condition():
        assert not FAILURES
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_jobs_are_written_in_order_and_answered_in_order(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        disk = LogWriterDisk(tmp_path, unexpected, SEGMENT)
        assert disk.segments() == []
        early: list[int] = []
        disk.submit([SegmentWrite(1, 0, b"before the loop")], lambda: early.append(0))
        disk.attach(asyncio.get_running_loop())
        order: list[int] = []
        for number in range(200):
            data = b"%04d" % number
            disk.submit(
                [SegmentWrite(1, 100 + 4 * number, data), SegmentWrite(1, 8000, data), SegmentWrite(2, 0, data)],
                lambda number=number: order.append(number),  # type: ignore[misc]
            )
        assert order == []
        await until(lambda: len(order) == 200)
        assert order == list(range(200))
        assert early == [0]
        assert disk.free_bytes() > SEGMENT
        disk.close()

    run(main(), loop)
    one, two = (data for _, data in read_segments(tmp_path))
    assert len(one) == len(two) == SEGMENT
    assert one[:15] == b"before the loop"
    assert one[100:900] == b"".join(b"%04d" % number for number in range(200))
    assert one[8000:8004] == two[:4] == b"0199"
    assert not any(one[900:8000])


def test_a_reopened_directory_gives_back_what_was_written(tmp_path: Path) -> None:
    async def main() -> None:
        disk = LogWriterDisk(tmp_path, unexpected, SEGMENT)
        disk.attach(asyncio.get_running_loop())
        await submit(disk, SegmentWrite(1, 5, b"one"), SegmentWrite(12, 0, b"twelve"))
        with pytest.raises(AssertionError, match="before the log is written"):
            disk.segments()
        disk.close()
        again = LogWriterDisk(tmp_path, unexpected, SEGMENT)
        assert again.segments() == [1, 12]
        assert again.read(1)[:9] == b"\0\0\0\0\0one\0"
        assert again.read(12)[:6] == b"twelve"
        with pytest.raises(FileNotFoundError):
            again.read(2)
        again.close()

    run(main())


def test_a_job_of_many_megabytes_does_not_block_the_loop(tmp_path: Path) -> None:
    """While the writer is stopped nothing can drain, so a call that waited for it would never return."""

    async def main() -> None:
        disk = LogWriterDisk(tmp_path, unexpected, SEGMENT)
        disk.attach(asyncio.get_running_loop())
        await submit(disk, SegmentWrite(1, 0, b"x"))
        os.kill(disk.writer_pid, signal.SIGSTOP)
        large = os.urandom(1 << 20) * 40
        done = submit(disk, SegmentWrite(1, 0, large))
        behind = submit(disk, SegmentWrite(1, len(large), b"behind"))
        await asyncio.sleep(0)
        assert disk.queued_bytes > 30 << 20
        os.kill(disk.writer_pid, signal.SIGCONT)
        await done
        await behind
        assert disk.queued_bytes == 0
        disk.close()
        ((_, data),) = read_segments(tmp_path)
        assert data == large + b"behind"

    run(main(), "uvloop")


def test_jobs_in_flight_are_bounded(tmp_path: Path) -> None:
    disk = LogWriterDisk(tmp_path, unexpected, SEGMENT)
    for _ in range(1024):
        disk.submit([SegmentWrite(1, 0, b"x")], lambda: None)
    with pytest.raises(Invariant, match="the limit is 1024"):
        disk.submit([SegmentWrite(1, 0, b"x")], lambda: None)
    disk.close()


def test_close_writes_what_was_submitted(tmp_path: Path) -> None:
    disk = LogWriterDisk(tmp_path, unexpected, SEGMENT)
    large = bytes(range(256)) * (8 << 12)
    disk.submit([SegmentWrite(1, 0, large)], lambda: None)
    disk.submit([SegmentWrite(1, len(large), b"last")], lambda: None)
    disk.close()
    ((_, data),) = read_segments(tmp_path)
    assert data[: len(large) + 4] == large + b"last"


def test_segments_are_deleted_behind_the_jobs_before_them(tmp_path: Path) -> None:
    async def main() -> None:
        disk = LogWriterDisk(tmp_path, unexpected, SEGMENT)
        disk.attach(asyncio.get_running_loop())
        for number in (1, 2, 3):
            disk.submit([SegmentWrite(number, 0, b"x")], lambda: None)
        disk.delete(1)
        disk.delete(2)
        await submit(disk, SegmentWrite(3, 1, b"y"))
        # By name: a file that is listed may be gone before it is read.
        await until(lambda: sorted(file.name for file in (tmp_path / "log").glob("*.seg")) == ["00000003.seg"])
        disk.close()

    run(main())


def test_a_spare_segment_of_zeros_is_made_and_used(tmp_path: Path) -> None:
    async def main() -> None:
        disk = LogWriterDisk(tmp_path, unexpected, SEGMENT)
        disk.attach(asyncio.get_running_loop())
        spare = tmp_path / "log" / "spare"
        await until(spare.exists)
        assert spare.stat().st_blocks * 512 >= SEGMENT
        inode = spare.stat().st_ino
        await submit(disk, SegmentWrite(1, 0, b"x"))
        assert (tmp_path / "log" / "00000001.seg").stat().st_ino == inode
        await until(spare.exists)
        assert disk.directory.log.joinpath("spare").stat().st_ino != inode
        disk.close()

    run(main())


def test_one_directory_serves_one_node(tmp_path: Path) -> None:
    disk = LogWriterDisk(tmp_path, unexpected, SEGMENT)
    with pytest.raises(DirectoryInUse, match=f"in use by process {os.getpid()}; one directory serves one node"):
        LogWriterDisk(tmp_path, unexpected, SEGMENT)
    disk.close()
    LogWriterDisk(tmp_path, unexpected, SEGMENT).close()


def test_a_newer_format_is_refused_and_the_locks_are_given_up(tmp_path: Path) -> None:
    LogWriterDisk(tmp_path, unexpected, SEGMENT).close()
    assert (tmp_path / "format").read_text() == "1\n"
    for _ in range(2):
        (tmp_path / "format").write_text("2\n")
        with pytest.raises(Incompatible, match="data format 2; this release reads and writes format 1"):
            LogWriterDisk(tmp_path, unexpected, SEGMENT)
    (tmp_path / "format").unlink()
    (tmp_path / "log" / "00000001.seg").write_bytes(b"something")
    with pytest.raises(Incompatible, match="format cannot be told"):
        DataDirectory(tmp_path)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_death_of_the_writer_is_told_once(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        reasons: list[str] = []
        acknowledged: list[int] = []
        disk = LogWriterDisk(tmp_path, reasons.append, SEGMENT)
        disk.attach(asyncio.get_running_loop())
        await submit(disk, SegmentWrite(1, 0, b"x"))
        os.kill(disk.writer_pid, signal.SIGSTOP)
        disk.submit([SegmentWrite(1, 0, b"y" * (4 << 20))], lambda: acknowledged.append(1))
        os.kill(disk.writer_pid, signal.SIGKILL)
        await until(lambda: bool(reasons))
        disk.submit([SegmentWrite(1, 0, b"z")], lambda: acknowledged.append(2))
        await asyncio.sleep(0.05)
        assert len(reasons) == 1
        assert "log writer" in reasons[0]
        assert acknowledged == []
        disk.close()

    run(main(), loop)


def test_a_write_that_fails_is_told_with_its_cause_and_ends_the_writer(tmp_path: Path) -> None:
    async def main() -> None:
        reasons: list[str] = []
        acknowledged: list[int] = []
        disk = LogWriterDisk(tmp_path, reasons.append, SEGMENT)
        disk.attach(asyncio.get_running_loop())
        (tmp_path / "log" / "00000002.seg").mkdir()
        disk.submit([SegmentWrite(1, 0, b"x")], lambda: acknowledged.append(1))
        await until(lambda: acknowledged == [1])
        disk.submit([SegmentWrite(2, 0, b"x")], lambda: acknowledged.append(2))
        disk.submit([SegmentWrite(1, 0, b"x")], lambda: acknowledged.append(3))
        await until(lambda: bool(reasons))
        assert reasons == [f"writing the log failed: {os.strerror(errno.EISDIR)}"]
        assert acknowledged == [1]
        disk.close()

    run(main())


def test_a_failed_fsync_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer's own loop, in this process, over a socket that already holds two jobs."""
    ours, theirs = socket.socketpair()
    answers, told = os.pipe()
    commands, janitor = os.pipe()
    directory = os.open(tmp_path, os.O_RDONLY)
    job = writer.FRAME.pack(writer.JOB, 1, writer.WRITE.size + 3) + writer.WRITE.pack(1, 0, 3) + b"abc"
    ours.sendall(job)
    calls: list[int] = []

    def failing(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, "fsync failed")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing)
        with pytest.raises(OSError, match="fsync failed"):
            writer.serve(writer.Writer(directory, 0, janitor), theirs.fileno(), told)
    assert len(calls) == 1
    assert writer.ANSWER.unpack(os.read(answers, 100)) == (errno.EIO, 0, 0)
    for descriptor in (answers, told, commands, janitor, directory):
        os.close(descriptor)
    ours.close()
    theirs.close()


def test_waiting_jobs_share_one_fdatasync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    answers, told = os.pipe()
    commands, janitor = os.pipe()
    directory = os.open(tmp_path, os.O_RDONLY)
    for number in range(50):
        data = b"%03d" % number
        ours.sendall(
            writer.FRAME.pack(writer.JOB, 1, writer.WRITE.size + 3) + writer.WRITE.pack(1, 3 * number, 3) + data
        )
    ours.shutdown(socket.SHUT_WR)
    calls: list[int] = []
    real = os.fdatasync

    def counting(descriptor: int) -> None:
        calls.append(descriptor)
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", counting)
        writer.serve(writer.Writer(directory, 0, janitor), theirs.fileno(), told)
    assert len(calls) == 1
    assert writer.ANSWER.unpack(os.read(answers, 100)) == (0, 0, 50)
    assert (tmp_path / "00000001.seg").read_bytes() == b"".join(b"%03d" % number for number in range(50))
    for descriptor in (answers, told, commands, janitor, directory):
        os.close(descriptor)
    ours.close()
    theirs.close()


CHILD = """
import asyncio, sys
from gramme.kernel.ports import SegmentWrite
from gramme.runtime.disk.log_writer import LogWriterDisk
async def main():
    disk = LogWriterDisk(sys.argv[1], print, 1 << 20)
    disk.attach(asyncio.get_running_loop())
    def write(number):
        disk.submit([SegmentWrite(1, 8 * number, number.to_bytes(8, "little"))], lambda: done(number))
    def done(number):
        sys.stdout.write("%d %d\\n" % (number, disk.writer_pid))
        sys.stdout.flush()
        write(number + 1)
    write(1)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def child(directory: Path) -> subprocess.Popen[str]:
    """A process that writes numbers one after the other and prints each when it is durable."""
    command = [sys.executable, "-c", CHILD, str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_what_a_killed_node_had_acknowledged_is_there_at_the_next_start(tmp_path: Path) -> None:
    for _ in range(3):
        process = child(tmp_path)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(100)]
        process.kill()
        lines += process.stdout.readlines()
        acknowledged = max(int(line.split()[0]) for line in lines if line.endswith("\n"))
        process.wait()
        process.stdout.close()
        disk = LogWriterDisk(tmp_path, unexpected, SEGMENT)  # waits for the old writer
        data = disk.read(1)
        disk.close()
        assert acknowledged >= 100
        for number in range(1, acknowledged + 1):
            assert int.from_bytes(data[8 * number : 8 * number + 8], "little") == number


def test_the_directory_stays_locked_until_the_writer_too_is_gone(tmp_path: Path) -> None:
    process = child(tmp_path)
    assert process.stdout is not None
    writer_pid = int(process.stdout.readline().split()[1])
    os.kill(writer_pid, signal.SIGSTOP)
    process.kill()
    process.wait()
    process.stdout.close()
    opener = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pathlib import Path; from gramme.runtime.disk.directory import "
         "DataDirectory; DataDirectory(Path(sys.argv[1])); print('open')", str(tmp_path)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert opener.stdout is not None
    with pytest.raises(subprocess.TimeoutExpired):
        opener.wait(1.0)
    os.kill(writer_pid, signal.SIGCONT)
    assert opener.stdout.readline() == "open\n"
    assert opener.wait() == 0
    opener.stdout.close()


def test_the_writer_ignores_the_signals_that_stop_a_node(tmp_path: Path) -> None:
    async def main() -> None:
        disk = LogWriterDisk(tmp_path, unexpected, SEGMENT)
        disk.attach(asyncio.get_running_loop())
        await submit(disk, SegmentWrite(1, 0, b"x"))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(disk.writer_pid, number)
        await submit(disk, SegmentWrite(1, 1, b"y"))
        disk.close()

    run(main())
    ((_, data),) = read_segments(tmp_path)
    assert data[:2] == b"xy"


def test_no_process_is_left_after_close(tmp_path: Path) -> None:
    disk = LogWriterDisk(tmp_path, unexpected, SEGMENT)
    pid = disk.writer_pid
    disk.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    while True:  # the janitor holds the lock for as long as it lives
        try:
            DataDirectory(tmp_path).close()
            break
        except DirectoryInUse:
            time.sleep(0.01)


def test_the_disk_of_a_node_in_memory_answers_in_a_later_turn() -> None:
    later: list[Callable[[], None]] = []
    disk = MemoryLogDisk(later.append)
    done: list[int] = []
    assert disk.segments() == []
    disk.submit([SegmentWrite(1, 0, b"x")], lambda: done.append(1))
    disk.submit([SegmentWrite(1, 1, b"y")], lambda: done.append(2))
    assert done == []
    for callback in later:
        callback()
    assert done == [1, 2]
    with pytest.raises(FileNotFoundError):
        disk.read(1)
    disk.delete(1)
    assert disk.free_bytes() > 1 << 40

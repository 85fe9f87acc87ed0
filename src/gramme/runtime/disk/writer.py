"""The log-writer process. Run by path with `python -I -S`; imports nothing of the package, so that it starts fast.

Owns the descriptors of the segments. It reads jobs from a socket, carries out every write that has arrived, makes
each file touched durable with one fdatasync, and answers through a pipe with the number of the last job that is
durable: jobs that wait together share the fsync. A failed write or fsync is told and ends the process; it is never
tried again, because the kernel may have dropped the bytes (REPLICATION.md §1). At the end of its input it finishes
what it read and exits.

A second process, forked at the start, does what must not delay a job: it removes segments and keeps one spare
segment full of zeros, since an fdatasync of blocks that were written before commits no metadata (measured: 5,700/s
against 3,300/s of a growing file, 2,900/s of a preallocated one).

Frames to the writer: kind u8 | count u32 | payload u64, then
  kind JOB:    count x (segment u64 | offset u64 | bytes u64), then the data of all; payload = all bytes that follow
  kind DELETE: count x (segment u64)
Frames from the writer: status u32 (0, or an errno) | reserved u32 | jobs durable u64.
"""

import os
import select
import signal
import struct
import sys
import time

JOB, DELETE = 1, 2
FRAME = struct.Struct("<BIQ")
WRITE = struct.Struct("<QQQ")
NUMBER = struct.Struct("<Q")
ANSWER = struct.Struct("<IIQ")
READ_BYTES = 256 << 10
ZERO_BYTES = 128 << 10
"""Written in one call: the kernel takes a millisecond and more for each megabyte and lets nobody else have the core."""
ZERO_SYNC_BYTES = 1 << 20
"""Made durable in one piece: a larger one would hold up the log's own fdatasync in the disk's queue."""
FIRST_SPARE_S = 1.0
LONGEST_SPARE_S = 4.0
SPARE = "spare"
HALF_SPARE = "spare.tmp"


def segment_name(number: int) -> str:
    """File name of a segment."""
    return f"{number:08d}.seg"


def write_all(fd: int, data: memoryview, offset: int) -> None:
    """pwrite until everything is written; raises OSError."""
    done = os.pwrite(fd, data, offset)
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)


class Janitor:
    """The second process: deletes, and makes spares."""

    def __init__(self, directory: int, segment_bytes: int) -> None:
        self.directory = directory
        self.segment_bytes = segment_bytes
        self.taken_s = time.monotonic()
        self.spare_s = FIRST_SPARE_S

    def run(self, commands: int) -> None:
        """Serve until the writer is gone. Commands: a segment to delete, or 0: the spare was taken."""
        os.nice(10)
        self.make_spare(commands)
        pending = b""
        while chunk := os.read(commands, 4096):
            pending += chunk
            whole = len(pending) // NUMBER.size * NUMBER.size
            for (number,) in NUMBER.iter_unpack(pending[:whole]):
                if number:
                    self.delete(number)
                else:
                    self.taken()
            pending = pending[whole:]
            self.make_spare(commands)

    def taken(self) -> None:
        """Segments are used up as fast as they were lately: a third of that time is for the next spare."""
        now = time.monotonic()
        self.spare_s = min(LONGEST_SPARE_S, (now - self.taken_s) / 3)
        self.taken_s = now

    def delete(self, number: int) -> None:
        """Remove a segment for good before the next one goes: the log must stay one unbroken stretch."""
        try:
            os.unlink(segment_name(number), dir_fd=self.directory)
        except FileNotFoundError:
            return
        os.fsync(self.directory)

    def make_spare(self, commands: int) -> None:
        """Have a spare, if there is room for one. It only buys speed, so failing to make it is no failure."""
        space = os.fstatvfs(self.directory)
        room = space.f_bavail * space.f_frsize >= 4 * self.segment_bytes
        if room and self.segment_bytes and not exists(self.directory, SPARE):
            try:
                self.write_spare(commands)
            except OSError as error:
                sys.stderr.write(f"log janitor: no spare segment: {error}\n")

    def write_spare(self, commands: int) -> None:
        """Write a segment of zeros, durably, under the spare's name; leave off when the writer is gone.

        In small pieces with pauses between them: at once it takes some 60 ms, in which jobs took 12 ms and more.
        """
        fd = os.open(HALF_SPARE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=self.directory)
        try:
            zeros, poll = memoryview(bytes(ZERO_BYTES)), select.poll()
            poll.register(commands, 0)  # tells of nothing but the writer's end
            pause_ms = 1e3 * self.spare_s * ZERO_BYTES / self.segment_bytes
            for at in range(0, self.segment_bytes, ZERO_BYTES):
                write_all(fd, zeros[: self.segment_bytes - at], at)
                if (at + ZERO_BYTES) % ZERO_SYNC_BYTES == 0:
                    os.fdatasync(fd)
                if poll.poll(pause_ms):
                    return
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(HALF_SPARE, SPARE, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        os.fsync(self.directory)


def exists(directory: int, name: str) -> bool:
    """Whether `name` is in the directory."""
    try:
        os.stat(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


class Writer:
    """The segments' descriptors, and what was written and is not durable yet."""

    def __init__(self, directory: int, segment_bytes: int, janitor: int) -> None:
        self.directory = directory
        self.segment_bytes = segment_bytes
        self.janitor = janitor
        self.files: dict[int, int] = {}
        self.dirty: list[int] = []
        self.created = False
        self.jobs = 0

    def job(self, count: int, payload: memoryview) -> None:
        """Carry out the writes of one job."""
        data = payload[count * WRITE.size :]
        for segment, offset, size in WRITE.iter_unpack(payload[: count * WRITE.size]):
            write_all(self.file(segment), data[:size], offset)
            data = data[size:]
            if segment not in self.dirty:
                self.dirty.append(segment)
        self.jobs += 1

    def sync(self) -> None:
        """Make everything written durable: the files first, then the names of new ones."""
        for segment in self.dirty:
            os.fdatasync(self.files[segment])
        if self.created:
            os.fsync(self.directory)
            self.created = False
        newest = max(self.files, default=0)
        for segment in [old for old in self.files if old < newest and old not in self.dirty]:
            os.close(self.files.pop(segment))  # closed segments get no writes; should one, it is opened again
        self.dirty.clear()

    def file(self, segment: int) -> int:
        """The descriptor of a segment, which is created at its first write."""
        fd = self.files.get(segment)
        if fd is None:
            name = segment_name(segment)
            if not exists(self.directory, name):
                self.take_spare(name)
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=self.directory)
            if os.fstat(fd).st_size < self.segment_bytes:
                os.ftruncate(fd, self.segment_bytes)
            self.files[segment] = fd
        return fd

    def take_spare(self, name: str) -> None:
        """Name the spare `name`, if there is one; either way the segment is new and the directory changes."""
        self.created = True
        try:
            os.rename(SPARE, name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        except FileNotFoundError:
            return
        os.write(self.janitor, NUMBER.pack(0))

    def delete(self, payload: memoryview) -> None:
        """Hand segments to the janitor, once what was written before is durable."""
        self.sync()
        for (segment,) in NUMBER.iter_unpack(payload):
            fd = self.files.pop(segment, None)
            if fd is not None:
                os.close(fd)
        os.write(self.janitor, payload)


def serve(writer: Writer, jobs: int, answers: int) -> None:
    """Read frames until the end of input; answer after every round of writes. Raises OSError when a write failed."""
    buffer, chunk = bytearray(), memoryview(bytearray(READ_BYTES))
    while size := os.readv(jobs, [chunk]):
        buffer += chunk[:size]
        answered = writer.jobs
        try:
            used = carry_out(writer, buffer)
            writer.sync()
        except OSError as error:
            answer(answers, error.errno or 5, answered)
            raise
        del buffer[:used]
        if writer.jobs != answered:
            answer(answers, 0, writer.jobs)


def carry_out(writer: Writer, buffer: bytearray) -> int:
    """Carry out every whole frame; returns how many bytes they took."""
    used = 0
    with memoryview(buffer) as view:
        while len(buffer) - used >= FRAME.size:
            kind, count, payload = FRAME.unpack_from(buffer, used)
            begin = used + FRAME.size
            if len(buffer) - begin < payload:
                break
            with view[begin : begin + payload] as body:
                if kind == JOB:
                    writer.job(count, body)
                else:
                    writer.delete(body)
            used = begin + payload
    return used


def answer(answers: int, error: int, jobs: int) -> None:
    """Tell the node, unless it is gone, which is no reason to stop before the end of input."""
    try:
        os.write(answers, ANSWER.pack(error, 0, jobs))
    except BrokenPipeError:
        return


def main(arguments: list[str]) -> int:
    """Arguments: descriptors of the socket with jobs, of the pipe for answers, of the log's directory; bytes of a
    segment. Any other descriptor that was passed on (the directory's lock) is held open until exit."""
    jobs, answers, directory, segment_bytes = map(int, arguments[:4])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the node decides when to stop; the end of input says so
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    commands, janitor = os.pipe()
    if os.fork() == 0:
        os.close(janitor)
        os.close(jobs)
        os.close(answers)
        try:
            Janitor(directory, segment_bytes).run(commands)
        except OSError as error:
            sys.stderr.write(f"log janitor: {error}\n")
            os._exit(1)
        os._exit(0)
    os.close(commands)
    try:
        serve(Writer(directory, segment_bytes, janitor), jobs, answers)
    except OSError as error:
        sys.stderr.write(f"log writer: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

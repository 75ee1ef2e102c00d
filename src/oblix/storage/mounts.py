"""Whether a folder lies on another machine: there SQLite's write-ahead log, which is shared memory, would break the file."""

from __future__ import annotations

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")  # Linux; elsewhere a folder counts as this machine's
_BY_KERNEL = "9p afs ceph cifs coda glusterfs gpfs lustre ncpfs nfs nfs4 orangefs smb3 smbfs vboxsf vmhgfs"
_BY_PROGRAM = "cephfs gcsfuse glusterfs rclone s3fs sshfs vmhgfs-fuse"  # of the many of FUSE, those known to lead to another machine
REMOTE = frozenset((*_BY_KERNEL.split(), *(f"fuse.{name}" for name in _BY_PROGRAM.split())))


def is_remote(path: Path) -> bool:
    """Whether a file (or its place) lies on another machine, as far as the system tells."""
    if str(path).startswith(("\\\\", "//")):
        return True  # a share, by its name
    try:
        mounts = MOUNTS.read_text("utf-8", "surrogateescape")
    except OSError:
        return False
    return kind_of(str(path.absolute().resolve()), mounts) in REMOTE


def kind_of(path: str, mounts: str) -> str:
    """The kind of file system that holds an absolute path, by `/proc/self/mountinfo`; empty if none does. Pure."""
    kind, longest = "", -1
    for line in mounts.splitlines():
        head, found, tail = line.partition(" - ")
        fields = head.split(" ")
        if not found or len(fields) < 5:
            continue
        place = _plain(fields[4])
        # Of two on one place the later one lies on top.
        if len(place) >= longest and (path == place or path.startswith(place.rstrip("/") + "/")):
            kind, longest = tail.split(" ")[0], len(place)
    return kind


def _plain(text: str) -> str:
    """A place without the escapes that the kernel writes for blanks and the like."""
    for sign in (" ", "\t", "\n", "\\"):
        text = text.replace(f"\\{ord(sign):03o}", sign)
    return text

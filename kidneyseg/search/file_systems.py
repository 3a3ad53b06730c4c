"""On which file system a file lies: SQLite's locks do not hold on one of the network."""

from pathlib import Path

MOUNTS = Path("/proc/mounts")
NETWORK = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "afs", "9p"),
    *("glusterfs", "orangefs", "panfs", "wekafs", "virtiofs", "davfs"),
)
LOCAL_FUSE = ("fuse.fuse-overlayfs", "fuse.overlayfs", "fuse.ntfs-3g", "fuse.lxcfs")


def network_file_system(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The kind of network file system on which a path lies or would lie; None for a local disk.

    Also None where the system does not tell: `mounts` is Linux's table of mounted file systems.
    """
    kind = _kind(path.absolute(), mounts)
    is_foreign_fuse = kind.startswith("fuse.") and kind not in LOCAL_FUSE
    return kind if kind in NETWORK or is_foreign_fuse else None


def _kind(path: Path, mounts: Path) -> str:
    """The file system's kind, of the innermost mount that holds the path; empty where unknown."""
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    resolved = path.resolve()
    found = [line.split(" ")[1:3] for line in lines if line.count(" ") >= 2]
    # Of two mounts at one place the later one lies on top.
    holding = [(len(place), n) for n, (place, _) in enumerate(found) if _holds(place, resolved)]
    return found[max(holding)[1]][1] if holding else ""


def _holds(place: str, path: Path) -> bool:
    mounted = Path(place.replace("\\040", " "))
    return path == mounted or mounted in path.parents

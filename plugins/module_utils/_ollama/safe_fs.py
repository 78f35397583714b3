# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""Symlink-safe access to directories through their descriptors.

The importer often runs as root in a directory that belongs to the user of a service. A process of that user could
plant a symbolic link and make root write elsewhere. So this module walks a path component by component, follows a link
only if nobody but root (or the current user) could have placed it, and opens everything below relative to the
descriptor, never by path again.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
from dataclasses import dataclass
from typing import Callable, NamedTuple, Optional, Union

from .errors import CollectionError
from .exhaustion import ExhaustedError, exhausted

#: Links to follow in one path before the path counts as a loop, as in Linux (path_resolution(7)).
_MAX_LINKS = 40

#: Attempts to write a file that other processes remove meanwhile.
_ATTEMPTS = 5

#: Passing through a directory needs search permission only; without O_PATH it also needs read permission.
_PASS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_EFFECTIVE = os.access in os.supports_effective_ids
_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class DirectoryError(CollectionError):
    """A file system operation failed; the base of the errors below."""

    code = "file_system"


class NotPermittedError(DirectoryError):
    """A permission is missing, or the file system is mounted read-only."""

    code = "not_permitted"


class UnsafePathError(DirectoryError):
    """The path is a file or link that root must not follow or overwrite."""

    code = "unsafe_path"


class DiskFullError(DirectoryError):
    """The disk is full, or this user's quota is used up."""

    code = "disk_full"


class OwnershipError(DirectoryError):
    """The requested owner, group or mode cannot be set."""

    code = "ownership"


class explained:  # noqa: N801 - used like a function
    """Turn the operating system's errors into typed ones.

    It is a class, because a generator takes three times as long, which counts for a thousand files.

    :param doing: completes "Could not ...", as in "write a blob".
    """

    __slots__ = ("_doing", "_path")

    def __init__(self, doing: str, path: str) -> None:
        self._doing = doing
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: Optional[BaseException], trace: object) -> None:
        if isinstance(error, OSError):
            raise explain(error, self._doing, self._path) from error


def explain(error: OSError, doing: str, path: str) -> Union[DirectoryError, ExhaustedError]:
    """Return the typed error for an error of the operating system."""
    happened = f"Could not {doing} at {path}"
    limit = exhausted(error)
    if limit is not None:
        limit.message = f"{happened}: {limit.message[0].lower()}{limit.message[1:]}"
        limit.details["path"] = path
        return limit
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotPermittedError(f"{happened}: {_me()} has no permission", remedy=_permission_remedy(), path=path)
    known = _KNOWN.get(error.errno or 0)
    if known is None:
        what = error.strerror or str(error)
        return DirectoryError(f"{happened}: {what}", remedy="Look into the system's log (dmesg)", path=path)
    return known.error(f"{happened}: {known.what}", remedy=known.remedy, path=path)


class _KnownErrno(NamedTuple):
    """The typed error, the description and the remedy for an errno."""

    error: type[DirectoryError]
    what: str
    remedy: str


_KNOWN = {
    errno.ENOSPC: _KnownErrno(
        DiskFullError,
        "the file system is full",
        "Free some space, or some inodes (df -h, df -i), and run again",
    ),
    errno.EDQUOT: _KnownErrno(
        DiskFullError,
        "the quota is used up",
        "Free some space or raise the quota, and run again",
    ),
    errno.EROFS: _KnownErrno(
        NotPermittedError, "the file system is read-only", "Mount it writable, or choose another path"
    ),
    errno.ENAMETOOLONG: _KnownErrno(
        DirectoryError, "the name is longer than the file system allows", "Choose a shorter name or another file system"
    ),
    errno.EFBIG: _KnownErrno(
        DirectoryError,
        "the file is larger than the file system or a limit allows",
        "Use a file system for large files (FAT ends at 4 GiB), or raise the limit (ulimit -f)",
    ),
    errno.EIO: _KnownErrno(
        DirectoryError,
        "the disk reports an error",
        "Look into the system's log (dmesg): the disk, or the way to it, may be failing",
    ),
    errno.ESTALE: _KnownErrno(
        DirectoryError,
        "the server of this network file system no longer knows the file",
        "Mount the file system again, and run again",
    ),
    errno.EXDEV: _KnownErrno(
        DirectoryError,
        "the file would have to move to another file system",
        "Keep manifests and blobs each on one file system, without mounts or links to other file systems below",
    ),
    errno.ELOOP: _KnownErrno(DirectoryError, "the symbolic links of the path form a loop", "Correct the links"),
    errno.ENOTDIR: _KnownErrno(
        DirectoryError, "a part of the path is not a directory", "Remove the file, or choose another path"
    ),
    errno.EISDIR: _KnownErrno(
        DirectoryError, "the path names a directory instead of a file", "Remove the directory, or choose another path"
    ),
    errno.EINVAL: _KnownErrno(
        DirectoryError,
        "the file system does not accept the name or the operation",
        "Use a file system with Unix names and permissions; FAT and some CIFS shares refuse characters such as :",
    ),
    errno.EBUSY: _KnownErrno(
        DirectoryError,
        "another process uses the file, or it is a mount point",
        "Find the process (fuser -vm); a mount point cannot be replaced",
    ),
}


#: Errors of any write, which are not refusals of what is written.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def _me() -> str:
    return f"user {user_name(os.geteuid())}"


def _ownership_remedy(uid: int) -> str:
    if os.geteuid() == 0:
        return (
            "The file system does not let root change the owner (NFS with root_squash, CIFS, FAT): run the task as"
            f" {user_name(uid)} (become_user), or set owner and group to those of the existing files"
        )
    return "Run as root (become), or leave owner and group unset"


def _permission_remedy() -> str:
    if os.geteuid() == 0:
        return (
            "The file system refuses even root: NFS with root_squash, CIFS or FUSE (run as the owner, with"
            " become_user), an immutable file (lsattr), or SELinux or AppArmor (ausearch -m avc)"
        )
    return "Run as root or as the owner (become, become_user), or change the permissions"


@dataclass(frozen=True)
class Ownership:
    """Owner, group and permissions of files and directories. ``None`` keeps the current or default value."""

    uid: Optional[int]
    gid: Optional[int]
    file_mode: Optional[int]
    directory_mode: Optional[int]

    @classmethod
    def asked(cls, owner: Optional[str], group: Optional[str], mode: Union[str, int, None]) -> Optional[Ownership]:
        """Read the options of a task; return ``None`` if none is set.

        :param mode: permissions of files, as a number or in octal digits.
        :raises OwnershipError: for an unknown user or group, or an invalid mode.
        """
        if owner is None and group is None and mode is None:
            return None
        file_mode = None if mode is None else _mode(mode)
        # Permission to read a directory includes permission to search it.
        directory_mode = None if file_mode is None else 0o700 | file_mode | (file_mode & 0o444) >> 2
        return cls(
            None if owner is None else _user_id(owner),
            None if group is None else _group_id(group),
            file_mode,
            directory_mode,
        )

    @classmethod
    def like(cls, model: os.stat_result, asked: Optional[Ownership] = None) -> Ownership:
        """Return the options of a task, with the values of a directory in place of missing ones."""
        root = os.geteuid() == 0
        # Never writable for everybody, even below /tmp; a set-group-ID bit passes the group on.
        mode = 0o700 | stat.S_IMODE(model.st_mode) & (0o775 | stat.S_ISGID)
        default = cls(model.st_uid if root else None, model.st_gid if root else None, 0o600 | mode & 0o664, mode)
        if asked is None:
            return default
        return cls(
            default.uid if asked.uid is None else asked.uid,
            default.gid if asked.gid is None else asked.gid,
            default.file_mode if asked.file_mode is None else asked.file_mode,
            default.directory_mode if asked.directory_mode is None else asked.directory_mode,
        )

    def differs(self, state: os.stat_result) -> bool:
        """Return whether a file's owner, group or mode must change."""
        return self._wanted(state, self.file_mode) != _access(state)

    def described(self, state: os.stat_result) -> tuple[str, str]:
        """Return the current and the wanted access of a file, as texts."""
        return _described(*_access(state)), _described(*self._wanted(state, self.file_mode))

    def apply(self, descriptor: int, path: str, *, directory: bool = False) -> None:
        """Set owner, group and mode of an open file or directory."""
        now = os.fstat(descriptor)
        uid, gid, mode = self._wanted(now, self.directory_mode if directory else self.file_mode)
        if (now.st_uid, now.st_gid) != (uid, gid):
            try:
                os.fchown(descriptor, uid, gid)
            except OSError as error:
                if error.errno in _OF_THE_DISK:  # the new owner may have used up a quota
                    raise explain(error, "set the owner", path) from error
                raise OwnershipError(
                    f"Could not give {path} to {user_name(uid)}:{group_name(gid)}: {error.strerror}",
                    remedy=_ownership_remedy(uid),
                    path=path,
                ) from error
            now = os.fstat(descriptor)  # fchown may clear bits of the mode
        if stat.S_IMODE(now.st_mode) != mode:
            with explained("set the permissions", path):
                os.fchmod(descriptor, mode)

    def _wanted(self, state: os.stat_result, mode: Optional[int]) -> tuple[int, int, int]:
        uid, gid, now = _access(state)
        return (
            uid if self.uid is None else self.uid,
            gid if self.gid is None else self.gid,
            now if mode is None else mode,
        )


class Directory:
    """An open directory.

    This class is long because it has each operation on a directory that must not follow another user's link.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        """:param path: for messages only."""
        self.descriptor = descriptor
        self.path = path

    @classmethod
    def open(cls, path: str) -> Optional[Directory]:
        """Open a directory, or return ``None`` if it does not exist.

        :raises NotPermittedError: with the first directory of the path that the user may not enter.
        :raises UnsafePathError: if root would have to follow a link that another user could have placed.
        """
        found, missing = _walk(path)
        if missing:
            found.close()
            return None
        return found

    @classmethod
    def nearest(cls, path: str) -> tuple[os.stat_result, str]:
        """Return the state and the path of the deepest existing directory of a path."""
        with cls.deepest(path) as found:
            return os.fstat(found.descriptor), found.path

    @classmethod
    def deepest(cls, path: str) -> Directory:
        """Open the deepest existing directory of a path."""
        return _walk(path)[0]

    @classmethod
    def make(cls, path: str, ownership: Ownership) -> Directory:
        """Open a directory, and create it with its missing parents."""
        found, missing = _walk(path)
        for name in missing:
            with found:
                found = found.child(name, ownership)
        return found

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor. A second call does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def join(self, name: str) -> str:
        """Return the path of an entry, for messages."""
        return os.path.join(self.path, name)

    def find(self, name: str) -> Optional[Directory]:
        """Open a subdirectory, or return ``None`` if it does not exist."""
        try:
            return self._enter(name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise explain(error, "enter the directory", self.join(name)) from error

    def child(self, name: str, ownership: Ownership) -> Directory:
        """Open a subdirectory, and create it if it is missing.

        A process that was killed may have left it without its owner and mode: then it gets them now.
        """
        path = self.join(name)
        fresh = created = False
        with explained("create the directory", path):
            try:
                made = self._enter(name)
            except FileNotFoundError:
                fresh = True
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=self.descriptor)
                    created = True
                made = Directory(os.open(name, _ENTER, dir_fd=self.descriptor), path)
        try:
            state = os.fstat(made.descriptor)
            private = fresh or stat.S_IMODE(state.st_mode) & 0o777 == 0o700
            # Another process may have replaced the directory: change the owner only of an empty one of this user.
            if private and state.st_uid == os.geteuid() and not os.listdir(made.descriptor):
                ownership.apply(made.descriptor, path, directory=True)
            if fresh:
                self.sync()
        except BaseException:
            made.close()
            if created:
                self.remove_directory(name)
            raise
        return made

    def _enter(self, name: str) -> Directory:
        path = self.join(name)
        if _is_link(self.descriptor, name):
            self._must_trust_link(name)
            return Directory(os.open(name, _ENTER & ~os.O_NOFOLLOW, dir_fd=self.descriptor), path)
        return Directory(os.open(name, _ENTER, dir_fd=self.descriptor), path)

    def names(self) -> list[str]:
        """Return the names of all entries, sorted."""
        with explained("list the directory", self.path):
            return sorted(os.listdir(self.descriptor))

    def stat(self, name: str) -> Optional[os.stat_result]:
        """Return the state of an entry, or of a trusted link's target; ``None`` if there is no such entry."""
        try:
            state = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
            if stat.S_ISLNK(state.st_mode) and self.trusts_links:
                state = os.stat(name, dir_fd=self.descriptor)
            return state
        except FileNotFoundError:
            return None
        except OSError as error:
            raise explain(error, "look", self.join(name)) from error

    def has(self, name: str) -> bool:
        """Return whether an entry has that name, even a dangling link."""
        try:
            os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise explain(error, "look", self.join(name)) from error
        return True

    def open_file(self, name: str) -> Optional[int]:
        """Open a regular file for reading; return its descriptor, or ``None`` if it does not exist.

        :raises UnsafePathError: if it is not a regular file.
        """
        # O_NONBLOCK, because opening a pipe would wait for a writer.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if self.trusts_links else os.O_NOFOLLOW)
        try:
            descriptor = os.open(name, flags, dir_fd=self.descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise self._unsafe(name, "a symbolic link") from error
            raise explain(error, "read", self.join(name)) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._unsafe(name, "not a regular file")
        return descriptor

    def create_file(self, name: str, ownership: Ownership, *, keep: bool = False) -> int:
        """Open a regular file without other hard links for reading and writing; return its descriptor.

        :param keep: keep the content of an existing file, instead of replacing the file.
        """
        path = self.join(name)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with explained("write", path):
            if keep:
                try:
                    descriptor = os.open(name, flags, 0o600, dir_fd=self.descriptor)
                except PermissionError:
                    descriptor = -1  # another user's file: replace it
                except OSError as error:
                    if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
                        raise
                    descriptor = -1
                if descriptor >= 0:
                    state = os.fstat(descriptor)
                    if stat.S_ISREG(state.st_mode) and state.st_nlink == 1:
                        ownership.apply(descriptor, path)
                        return descriptor
                    os.close(descriptor)
            try:
                descriptor = os.open(name, flags | os.O_EXCL, 0o600, dir_fd=self.descriptor)
            except FileExistsError:
                self.remove(name)
                descriptor = os.open(name, flags | os.O_EXCL, 0o600, dir_fd=self.descriptor)
            ownership.apply(descriptor, path)
            return descriptor

    def write(self, name: str, content: bytes, ownership: Ownership) -> None:
        """Write a small file, and sync it to the disk."""
        descriptor = self.create_file(name, ownership)
        try:
            with explained("write", self.join(name)):
                view = memoryview(content)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, name: str, limit: int) -> Optional[bytes]:
        """Return the first ``limit`` bytes of a file; ``None`` if the file does not exist."""
        descriptor = self.open_file(name)
        if descriptor is None:
            return None
        with os.fdopen(descriptor, "rb") as file, explained("read", self.join(name)):
            return file.read(limit)

    def set_access(self, name: str, ownership: Ownership) -> bool:
        """Set owner, group and mode of an existing file; return whether any of them changed."""
        descriptor = self.open_file(name)
        if descriptor is None:
            return False
        try:
            if not self.trusts_links and os.fstat(descriptor).st_nlink > 1:
                raise self._unsafe(name, "a file with another hard link")
            before = os.fstat(descriptor)
            ownership.apply(descriptor, self.join(name))
            return _access(os.fstat(descriptor)) != _access(before)
        finally:
            os.close(descriptor)

    def move(self, name: str, target: Directory, new_name: str, *, lasting: bool = True) -> None:
        """Rename an entry, replace the target, and sync the new name to the disk.

        :param lasting: sync now; otherwise the caller must :meth:`sync` the target.
        """
        with explained("rename a file", target.join(new_name)):
            os.replace(name, new_name, src_dir_fd=self.descriptor, dst_dir_fd=target.descriptor)
            if lasting:
                target.sync()

    @property
    def device(self) -> int:
        """The device number of the directory's file system."""
        return os.fstat(self.descriptor).st_dev

    def can_move_to(self, target: Directory, name: str) -> bool:
        """Return whether a file of this directory can be renamed into another directory.

        Only a trial can show it: bind mounts of one file system have the same device number.

        :param name: the name of the empty file of the trial in both directories. A file with this name, which a killed
            process left, is replaced.
        """
        if self.device != target.device:
            return False
        self.remove(name)
        with explained("write", self.join(name)):
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self.descriptor))
        try:
            self.move(name, target, name, lasting=False)
        except DirectoryError as error:
            self.remove(name)
            if getattr(error.__cause__, "errno", None) == errno.EXDEV:
                return False
            raise
        target.remove(name)
        return True

    def remove(self, name: str) -> bool:
        """Remove a file or link; return whether it existed."""
        try:
            os.unlink(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise explain(error, "remove", self.join(name)) from error
        return True

    def must_be_writable(self, place: str = "") -> None:
        """Check the permission to create and remove entries.

        :param place: the path to create, for the message; by default the directory.
        :raises NotPermittedError: without that permission.
        """
        if os.access(".", os.W_OK | os.X_OK, dir_fd=self.descriptor, effective_ids=_EFFECTIVE):
            return
        with explained("write", place or self.path):
            if os.fstatvfs(self.descriptor).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    def remove_directory(self, name: str) -> bool:
        """Remove an empty subdirectory; return whether it no longer exists."""
        try:
            os.rmdir(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def sync(self) -> None:
        """Sync the names of the directory to the disk."""
        sync(self.descriptor, self.path)

    @property
    def trusts_links(self) -> bool:
        """Whether links in this directory are safe: the user is not root, or only root can create links here."""
        return _trusts_links(os.fstat(self.descriptor))

    def _must_trust_link(self, name: str) -> None:
        if not self.trusts_links:
            raise self._unsafe(name, "a symbolic link")

    def _unsafe(self, name: str, what: str) -> UnsafePathError:
        state = os.fstat(self.descriptor)
        owner = user_name(state.st_uid)
        if state.st_uid == os.geteuid():
            where, instead = "that others may write to", f"forbid it (chmod go-w {self.path})"
        else:
            where, instead = f"of user {owner}", f"run as {owner} (become_user)"
        return UnsafePathError(
            f"{self.join(name)} is {what}, in a directory {where}",
            remedy=f"Remove {name}, or use the real path, or {instead}",
            path=self.join(name),
        )


def persist(write: Callable[[], None]) -> None:
    """Call a function that writes and renames a file, and again if another process removes file or directory meanwhile.

    :raises DirectoryError: the last one, after several attempts; any other one at once.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            write()
            return
        except DirectoryError as error:
            if attempt == _ATTEMPTS or not isinstance(error.__cause__, FileNotFoundError):
                raise


def sync(descriptor: int, path: str) -> None:
    """Sync a directory, or a file that is open for reading, to the disk."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a directory, because they write names through.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise explain(error, "write", path) from error


def user_name(uid: int) -> str:
    """Return a user's name, or the number of a user without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return a group's name, or the number of a group without a name."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def barred(path: str, uid: int, gid: int) -> Optional[str]:
    """Return the first directory of a path, or the path itself, that a user may not enter; or ``None``.

    The check ignores access control lists.
    """
    groups = {gid, *os.getgrouplist(user_name(uid), gid)} if user_name(uid) != str(uid) else {gid}
    here = "/"
    for part in ("", *os.path.abspath(path).split("/")[1:]):
        here = os.path.join(here, part)
        try:
            state = os.stat(here)
        except OSError:
            return None
        shift = 6 if state.st_uid == uid else 3 if state.st_gid in groups else 0
        if stat.S_ISDIR(state.st_mode) and not state.st_mode >> shift & 0o1:
            return here
    return None


def _access(state: os.stat_result) -> tuple[int, int, int]:
    return state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)


def _described(uid: int, gid: int, mode: int) -> str:
    return f"{user_name(uid)}:{group_name(gid)} {mode:04o}"


def _walk(path: str) -> tuple[Directory, list[str]]:
    """Open the deepest existing directory of a path; return it and the missing names below it."""
    pending = [part for part in os.path.abspath(path).split("/") if part]
    here = Directory(os.open("/", _PASS), "/")
    links = 0
    try:
        while pending:
            name = pending.pop(0)
            try:
                if _is_link(here.descriptor, name):
                    here._must_trust_link(name)
                    links += 1
                    if links > _MAX_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    target = os.readlink(name, dir_fd=here.descriptor)
                    pending = [part for part in target.split("/") if part not in ("", ".")] + pending
                    if target.startswith("/"):
                        here.close()
                        here = Directory(os.open("/", _PASS), "/")
                    continue
                below = Directory(os.open(name, _PASS if pending else _ENTER, dir_fd=here.descriptor), here.join(name))
            except FileNotFoundError:
                return _entered(here), [name, *pending]
            except PermissionError as error:
                raise _barred(here, name) from error
            except OSError as error:
                raise explain(error, "enter the directory", here.join(name)) from error
            here.close()
            here = below
    except BaseException:
        here.close()
        raise
    return here, []


def _entered(here: Directory) -> Directory:
    """Open a directory again for reading, because an O_PATH descriptor cannot be synced."""
    with contextlib.suppress(PermissionError):
        entered = Directory(os.open(".", _ENTER, dir_fd=here.descriptor), here.path)
        here.close()
        return entered
    return here


def _barred(here: Directory, name: str) -> NotPermittedError:
    """Return an error that names the directory which the user may not enter: the entry or its parent."""
    try:
        state = os.stat(name, dir_fd=here.descriptor, follow_symlinks=False)
        path = here.join(name)
    except OSError:
        state = os.fstat(here.descriptor)
        path = here.path
    return NotPermittedError(
        f"User {user_name(os.geteuid())} may not enter {path} (mode {stat.S_IMODE(state.st_mode):04o}, "
        f"owner {user_name(state.st_uid)}:{group_name(state.st_gid)})",
        remedy=_permission_remedy()
        if os.geteuid() == 0
        else f"Give search permission on {path} (chmod o+x, or membership in its group), "
        "or run as root or as its owner (become, become_user)",
        path=path,
    )


def _is_link(directory: int, name: str) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)


def _trusts_links(directory: os.stat_result) -> bool:
    return os.geteuid() != 0 or (directory.st_uid == 0 and not directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _user_id(owner: str) -> int:
    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError as error:
        if owner.isdecimal():
            return int(owner)
        raise OwnershipError(f"There is no user {owner}", remedy="Create the user first, or correct owner") from error


def _group_id(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        if group.isdecimal():
            return int(group)
        raise OwnershipError(f"There is no group {group}", remedy="Create the group first, or correct group") from error


def _mode(mode: Union[str, int]) -> int:
    try:
        number = int(mode, 8) if isinstance(mode, str) else mode
    except ValueError:
        number = -1
    if not 0 <= number <= 0o777:
        raise OwnershipError(
            f"{mode!r} is not a mode", remedy="Write the mode in octal digits and in quotes, as '0640'"
        )
    return number

#!/bin/sh
# Runs while an image is built: customize.sh ROOT
set -eu
root=$1
files=$root/tmp/image

# Keys and identity are each host's own, made at its first boot.
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/machine-id"
: > "$root/etc/machine-id"
install -D -m 644 "$files/ssh-keys.conf" "$root/etc/systemd/system/ssh.service.d/keys.conf"
install -D -m 644 "$files/rshared.service" "$root/etc/systemd/system/rshared.service"
mkdir -p "$root/etc/systemd/system/sysinit.target.wants"
ln -s ../rshared.service "$root/etc/systemd/system/sysinit.target.wants/rshared.service"

# The administrator that Ansible connects as.
chroot "$root" useradd --create-home --shell /bin/bash admin
echo 'admin ALL=(ALL) NOPASSWD: ALL' > "$root/etc/sudoers.d/admin"
chmod 440 "$root/etc/sudoers.d/admin"
rm -rf "$files"
